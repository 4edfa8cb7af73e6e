"""Pruned surrogates: a sparse copy of the networks is searched, and every point is evaluated on the dense ones.

1. Prune the networks (`stand_in.py`); the rest of the problem stays. Start the sparse search from the best point known.
2. Each point that it proposes is evaluated on the dense networks in the dense problem. From those that are rated above
   all before, walk over the linear regions of the dense networks ("repair", `finish.py`).
3. Search the dense problem from the best point, for the time that is left or to its end. So value, bound and status are
   those of the dense problem, and the result is never worse than what the same search has of that time.

Source: "A surrogate within a surrogate", arXiv 2505.01985, which has step 1, evaluates, and ends there.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from omlt_ext.domain import Box, Polytope
from omlt_ext.encoding import Formulation
from omlt_ext.errors import BoundsError, NetworkError, OptionError
from omlt_ext.network import Network
from omlt_ext.options import check_choice, check_flag, check_number
from omlt_ext.plugins import HEURISTICS, names
from omlt_ext.plugins import formulation as find_formulation
from omlt_ext.pruning.method import Method, pruning_method
from omlt_ext.search import SearchResult
from omlt_ext.search.heuristic import Heuristic, heuristic
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.maximize import maximize_by, with_formulation
from omlt_ext.search.problem import Problem

from .milp import NODE_LIMIT, Milp, sample, solve
from .sparse_stage import Stage, leave
from .stand_in import Repair, stand_in, with_networks

logger = logging.getLogger("omlt_ext")

MODES = ("observe", "cut", "reoptimize")
SHARE = 0.5  # of the time, that sparse searches may take
PATIENCE = 0.15  # of the time, that a sparse search may go on without a better dense point


@dataclass(frozen=True, eq=False)
class PrunedSurrogate:
    """Search sparse copies of the networks, evaluate on the dense ones, end with the dense problem.

    `sparsity`: the share of the weights (of the neurons, where `method` prunes those) that goes, from 0 to 1; or
    several, searched one after the other; of several searches side by side (`executor`) each begins with another one.
    `method`, a name or an object: how to prune, as in `omlt_ext.pruning.prune`. `data`: what methods such as "cbs"
    learn from, X or (X, y); without, points drawn from the box. `pruned`: a network of your own, or one for each
    network of the model, that stands in as it is, trained after pruning for instance; the three others then say
    nothing.

    `inner` searches: "highs", "scip", "gurobi" by branch and bound on the model that `formulation` makes, of a sparse
    problem from where a walk over its regions ends; or any other heuristic, a name or an object. A round is one of the
    inner search's on each sparse problem and on the dense one.

    `mode`: "observe" evaluates what one sparse search finds. Two others, for branch and bound only, solve the sparse
    problem again and again: "cut" takes the activation pattern of its best point out each time, "reoptimize" first
    searches the dense problem within that pattern's region. `repair=False`: no walks.

    Sparse searches take half of the time at most, and each ends where 15 % of the time have brought nothing better for
    the dense networks. Without a time limit, each ends after 200 nodes or 4 rounds, and the same seed gives the same
    result.

    Raises `OptionError` for values that cannot be.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> best = pruned_surrogate(network, Box([-1], [1]), sparsity=0.5)
    >>> best.status, best.value, best.x
    ('optimal', 2.0, array([-1.]))
    """

    sparsity: float | Sequence[float] = 0.5
    method: str | Method = "magnitude"
    inner: str | Heuristic = "highs"
    mode: str = "observe"
    data: object = None
    repair: bool = True
    formulation: str | Formulation = "bigm"
    pruned: Network | Sequence[Network] | None = None

    def __post_init__(self) -> None:
        shares = self.sparsities
        if not shares:
            raise OptionError("sparsity is empty; give a number from 0 to 1, or several")
        for share in shares:
            check_number("sparsity", share, most=1.0)
        check_choice("mode", self.mode, MODES)
        check_flag("repair", self.repair)
        pruning_method(self.method)
        if not all(isinstance(network, Network) for network in self._ready()):
            raise OptionError(
                f"pruned is {self.pruned!r}; it must be a Network, such as prune(...).network, or one for each network "
                "of the model"
            )
        inner = self._inner()
        if self.mode != "observe" and not isinstance(inner, Milp):
            raise OptionError(
                f"mode is {self.mode!r}, which takes patterns out of a model; choose inner='highs', 'scip' or 'gurobi'"
            )

    @property
    def sparsities(self) -> tuple[float, ...]:
        """One after the other; with a network that is there already, the first stands for it."""
        several = isinstance(self.sparsity, Sequence | np.ndarray) and not isinstance(self.sparsity, str)
        shares = tuple(self.sparsity) if several else (self.sparsity,)  # type: ignore[arg-type]
        return shares if self.pruned is None else shares[:1]  # type: ignore[return-value]

    def nth(self, j: int) -> PrunedSurrogate:
        """The j-th of several searches side by side: it begins with the j-th sparsity."""
        first = j % len(self.sparsities)
        return replace(self, sparsity=self.sparsities[first:] + self.sparsities[:first])

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        """Sparse searches, then the dense one."""
        problem, inner = problem.with_bounds(), self._inner()
        repair = Repair(problem, incumbent, rng) if self.repair else leave
        if isinstance(inner, Milp):
            sample(problem, incumbent, rng)
        left = math.inf if incumbent.left is None else incumbent.left
        end = time.time() + SHARE * left
        for i, sparsity in enumerate(self.sparsities):
            if not incumbent.goes_on():
                return
            now = time.time()
            deadline = now + max(0.0, end - now) / (len(self.sparsities) - i)
            stage = Stage(problem, incumbent, repair, rng, rounds, deadline, PATIENCE * left)
            sparse = self._sparse(problem, sparsity, rng)
            if sparse is None:
                continue
            if not isinstance(inner, Milp):
                stage.by_heuristic(sparse, inner)
            elif self.mode == "observe":
                stage.by_solver(sparse, inner)
            else:
                stage.by_patterns(sparse, inner, reoptimize=self.mode == "reoptimize")
        if not incumbent.goes_on():
            return
        if isinstance(inner, Milp):
            formulation = find_formulation(inner.formulation)
            solve(problem, incumbent, formulation, name=inner.solver, see=lambda _, x: repair(x[: problem.n]))
        else:
            inner.search(problem, incumbent, rng, rounds)

    def _sparse(self, problem: Problem, sparsity: float, rng: np.random.Generator) -> Problem | None:
        """The sparse problem; None where nothing is pruned, and where its numbers overflow."""
        try:
            if self.pruned is None:
                sparse = stand_in(problem, pruning_method(self.method), sparsity, self.data, rng)
            else:
                sparse = with_networks(problem, self._ready())
        except (BoundsError, NetworkError) as error:
            logger.warning(f"no sparse problem, the dense one is searched alone: {error}")
            return None
        return None if sparse.networks == problem.networks else sparse

    def _ready(self) -> tuple[Any, ...]:
        """The networks that stand in as they are."""
        if self.pruned is None or isinstance(self.pruned, list | tuple):
            return tuple(self.pruned or ())
        return (self.pruned,)

    def _inner(self) -> Heuristic:
        """The search of the sparse problems and of the dense one."""
        if isinstance(self.inner, str) and self.inner in NODE_LIMIT:
            return Milp(self.formulation, self.inner)
        if isinstance(self.inner, str):
            check_choice("inner", self.inner, (*NODE_LIMIT, *names(HEURISTICS)))
        found = heuristic(self.inner)
        if isinstance(found, PrunedSurrogate):
            raise OptionError("inner is 'pruned_surrogate' itself; choose another search")
        return with_formulation(found, self.formulation) if isinstance(self.inner, str) else found


def pruned_surrogate(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    objective: ArrayLike | None = None,
    **options: Any,
) -> SearchResult:
    """The maximum of objective . f(x) over a box or polytope, by `PrunedSurrogate`.

    `options` are those of `PrunedSurrogate` and, as in `maximize`, `time_limit`, `rounds`, `seed`, `gap`, `effort`,
    `executor`, `searches` and `progress`. Arguments, result and errors are those of `maximize`.

    >>> from omlt_ext import Box, Layer, Network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)])
    >>> best = pruned_surrogate(network, Box([-1, -1], [1, 1]), sparsity=(0.6, 0.3))  # max (x + y)+ - 3 (x - y)+
    >>> best.status, round(best.value, 6), best.x
    ('optimal', 2.0, array([1., 1.]))
    """
    return maximize_by(PrunedSurrogate, network, domain, objective, options)
