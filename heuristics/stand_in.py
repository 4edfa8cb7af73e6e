"""A sparse problem that stands in for a dense one, and what is found there, judged by the dense one.

Symbols: f the dense networks, g their pruned copies, v the columns, the same in both problems.

    sparse   max  c v + d g(v) + offset   where   row_lower <= R v + S g(v) <= row_upper,   lower <= v <= upper
    dense    the same with f

A point of the sparse problem is a proposal: the dense networks say what it is worth, and whether the rows hold. What is
proved of the sparse problem says nothing of the dense one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from omlt_ext.domain import Floats
from omlt_ext.errors import OptionError
from omlt_ext.network import Network
from omlt_ext.pruning import Data, prune
from omlt_ext.pruning.method import Method
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import TOLERANCE, Problem

from .finish import Finish


def stand_in(problem: Problem, method: Method, sparsity: float, data: object, rng: np.random.Generator) -> Problem:
    """The problem with every network pruned to `sparsity`, above 0, and bounds of its own.

    A network without ReLUs stays.

    `data` as in `prune`, for a problem with one network; None: points drawn from the box, for methods that need some.

    >>> from omlt_ext import Box, Layer, Network
    >>> hidden = Layer([[1.0, 0.2], [0.1, 2.0], [0.1, 0.0]], [0.0, 0.0, 1.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 2.0, 3.0]], [0.0], relu=False)])
    >>> problem = Problem.of_network(network, Box([-1, -1], [1, 1]))
    >>> from omlt_ext.pruning.magnitude import Magnitude
    >>> sparse = stand_in(problem, Magnitude(), 0.4, None, np.random.default_rng(0))
    >>> sparse.networks[0].network, sparse.value(np.ones(2)), round(problem.value(np.ones(2)), 6)
    (<Network 2-2-1 from arrays>, 8.0, 8.7)

    Raises `OptionError` for data beside several networks.
    """
    if data is not None and len(problem.networks) > 1:
        raise OptionError(
            f"data are the samples of one network, and the model has {len(problem.networks)}; leave them out: points "
            "are drawn from each network's box then"
        )
    networks = [placed.network for placed in problem.networks]
    for b, network in enumerate(networks):
        samples = Data.drawn(network, problem.box(b), rng) if data is None and method.needs_data else data
        if network.n_relus and sparsity > 0.0:
            networks[b] = prune(network, method, sparsity, samples, seed=int(rng.integers(2**31))).network
    return with_networks(problem, networks)


def with_networks(problem: Problem, networks: Sequence[Network]) -> Problem:
    """The problem with other networks, and bounds of its own; `OptionError` where their inputs or outputs differ."""
    if len(networks) != len(problem.networks):
        raise OptionError(f"pruned has {len(networks)} networks, and the model has {len(problem.networks)}")
    parts = []
    for b, (placed, network) in enumerate(zip(problem.networks, networks, strict=True)):
        wanted, has = ((n.n_inputs, n.n_outputs) for n in (placed.network, network))
        if wanted != has:
            raise OptionError(f"pruned[{b}] has {has} inputs and outputs; the network it stands in for has {wanted}")
        parts.append(placed if network is placed.network else replace(placed, network=network))
    # `confirm` asks the dense model, and `held` neurons are those of the dense networks.
    return replace(problem, networks=tuple(parts), bounds=None, held=None, confirm=None).with_bounds()


@dataclass(eq=False, kw_only=True)
class Relay(Incumbent):
    """The incumbent of a problem that proposes points for another: what is offered here is offered to `dense` as well.

    `found` is called with each point that is the best here so far. Values, bounds and endings of this search stay here.
    It ends where `patience` seconds have brought the dense search nothing better, too.
    """

    dense: Incumbent
    found: Callable[[Floats], None]
    patience: float = np.inf
    known: float = field(default=-np.inf, init=False)  # the dense value, and since when
    since: float = field(default_factory=time.time, init=False)

    def goes_on(self) -> bool:
        """Whether this search has something left to do, and the dense one as well."""
        if self.dense.value > self.known:
            self.known, self.since = self.dense.value, time.time()
        waits = time.time() - self.since <= self.patience
        return waits and super().goes_on() and self.dense.goes_on()

    def offer(self, V: Floats) -> bool:
        """Keep the best of some points for this problem; the dense one judges all of them by itself."""
        self.dense.offer(V)
        better = super().offer(V)
        if better and self.v is not None and self.dense.goes_on():
            self.found(self.v)
        return better

    def refute(self, claim: str) -> None:
        """Give up a bound of a solver's; nobody hears of it, since nobody hears of the bound."""
        self.bound = self.propagated

    def show(self) -> None:
        """Move the bar on: that of the dense search."""
        self.dense.show()


class Repair:
    """Walks on the dense problem from points of a sparse one, where the dense networks rate them above earlier starts.

    Points that break the dense rows are compared among themselves: a walk begins with the best point of the dense
    region that they lie in, where the rows hold.
    """

    def __init__(self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator) -> None:
        self.problem = problem
        self.finish = Finish(problem, incumbent, rng)
        self.best = {True: -np.inf, False: -np.inf}

    def __call__(self, v: Floats) -> None:
        """Walk from v (n,), if it is worth it."""
        x = self.problem.inside(v)
        value, feasible = self.problem.value(x), bool(self.problem.violations(x[None])[0] <= TOLERANCE)
        if value > self.best[feasible]:
            self.best[feasible] = value
            self.finish.walk(x)
