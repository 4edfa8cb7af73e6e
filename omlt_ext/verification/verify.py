"""Does a network have a counterexample to a property, or is there a proof that it has none?

    crude bounds of the slacks of all disjuncts, domain by domain or many at once; those that stay negative are proved
    for each disjunct left, the largest bound first: one ascent for a counterexample; better bounds
    until all are proved, one has a counterexample, or the time is over, for each disjunct left, the best first:
        grow its tree by some nodes, by more each time

A counterexample counts where the source's own evaluator confirms it, and a proof where every leaf of the tree has a
negative bound of the least slack.
"""

from __future__ import annotations

import time
from os import PathLike

import numpy as np
import pandas as pd

from ..domain import Floats
from ..errors import OptionError
from ..mixed import piecewise_linear
from ..network import Network
from ..options import check_choice
from ..readers import load_network
from ..search.explore import MEMORY, SPLITS
from ..search.incumbent import bar_of
from ..search.maximize import check_options
from ..tightening import Effort
from .case import KEPT, Case, Clock, Options
from .crude import crude_bounds
from .property import Property
from .roots import Roots, above, shared_roots
from .suspects import Judge
from .verdict import Verdict
from .vnnlib import read_vnnlib

CRUDE = "crown"
FIRST, MORE = 4096, 4  # nodes of each tree in the first round, and how many times as many in each later one
TASTE = 128  # boxes that are looked at before an ascent


def verify(
    network: object,
    property: str | PathLike[str] | Property,
    *,
    time_limit: float | None = 60.0,
    effort: str | Effort | None = None,
    seed: int = 0,
    split: str = "auto",
    progress: bool = False,
) -> Verdict:
    """Whether some x is a counterexample to `property`: "sat" with one, "unsat" with a proof, else "unknown".

    `network` is a `Network` or what `load_network` takes: a file's name, a PyTorch or Keras model, ...; `property` a
    `Property` or the name of a VNN-LIB file. "sat" is said only where the source's own evaluator confirms the point in
    its own precision (`confirm`); "unsat" where it is proved of the real numbers. See `Verdict` for the rest.

    `effort`, as in `tighten_bounds`, bounds neurons before the search; where it is not given, "crown" where boxes are
    split, else "dual". `split`: "relu" divides at the signs of neurons, "input" divides the box, "auto" is that of
    `branch_and_bound`. `seed` is that of the ascents. `time_limit` in seconds covers everything; it is looked at
    between steps. Ctrl-C ends the search as well. With `time_limit=None` the verdict, its nodes and its counterexample
    are the same again for the same arguments. `progress` draws a bar on standard error.

    Raises `ShapeError` for a property of a network of another size, `ReadError` for files that cannot be read,
    `OptionError` for other arguments, `BoundsError` where the network overflows on a domain.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.verification import Disjunct
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])  # (x + y)+ + (x - y)+ <= 2
    >>> box = [-1, -1], [1, 1]
    >>> verify(network, Property([Disjunct(box, Gy=[[-1.0]], g=[-2.5])])).verdict  # is it ever 2.5 or more?
    'unsat'
    >>> verify(network, Property([Disjunct(box, Gy=[[-1.0]], g=[-1.5])])).verdict  # 1.5 or more?
    'sat'
    """
    begin = time.time()
    check_options(time_limit, None, seed, 0.0, CRUDE if effort is None else effort, None)
    check_choice("split", split, SPLITS)
    if not isinstance(property, Property | str | PathLike):
        raise OptionError(f"the property is of type {type(property).__name__}; give a Property or a file's name")
    unsafe = property if isinstance(property, Property) else read_vnnlib(property)
    loaded = network if isinstance(network, Network) else load_network(network)
    piecewise_linear(loaded)
    unsafe.check(loaded)
    judge = Judge(network, unsafe)
    with bar_of(time_limit, progress) as bar:
        run = Verification(loaded, judge, Clock(begin, time_limit, bar), Options(effort, split, seed))
        try:
            run.settle()
        except KeyboardInterrupt:
            run.interrupted = True
    return run.verdict()


class Verification:
    """One run: what is known of each disjunct."""

    def __init__(self, network: Network, judge: Judge, clock: Clock, options: Options) -> None:
        self.network, self.judge, self.clock, self.options = network, judge, clock, options
        n = len(judge.property.disjuncts)
        self.bounds: Floats = np.full(n, np.inf)
        self.nodes = np.zeros(n, dtype=np.int64)
        self.proved = np.zeros(n, dtype=bool)
        self.cases: list[Case] = []
        self.trusts = self.interrupted = False

    def goes_on(self) -> bool:
        """Whether there is something left to prove or to find, and time to do it."""
        return self.judge.found is None and not self.proved.all() and self.clock.left != 0.0

    def settle(self) -> None:
        """The loop in the head of this file."""
        cases = self.cases
        for members, bounds in crude_bounds(self.network, self.judge.property, lambda: self.clock.left):
            self.bounds[members], self.proved[members] = bounds, bounds < 0.0
        for roots in shared_roots(self.network, self.judge.property, np.flatnonzero(~self.proved).tolist()):
            if self.goes_on():
                roots.tighten(CRUDE, self.clock.left)
                cases += self._cases(roots)
        for case in cases:
            case.room = MEMORY // min(len(cases), KEPT)
        for i, case in enumerate(self._open(cases)):
            if self.goes_on():
                self._begin(case, keep=i < KEPT)
        nodes = FIRST
        while self.goes_on() and any(not case.exhausted for case in self._open(cases)):
            left = [case for case in self._open(cases) if not case.exhausted]
            left.sort(key=lambda case: -case.suspects.value)
            for i, case in enumerate(left):
                if self.goes_on():
                    case.grow(nodes if len(left) > 1 else np.inf, keep=i < KEPT)
                    self._note(case)
            nodes *= MORE

    def _begin(self, case: Case, keep: bool) -> None:
        """The first look at a disjunct: an ascent and better bounds, or where boxes are split some of those first."""
        if case.boxes:
            case.grow(TASTE, keep)
        case.look()
        if self.goes_on() and not case.suspects.proved:
            case.attack()
        if self.goes_on() and not case.suspects.proved:
            case.tighten()
        self._note(case)

    def _cases(self, roots: Roots) -> list[Case]:
        """The disjuncts that crude bounds leave open."""
        cases = []
        for k in roots.members:
            margin = roots.margin(k)
            self.bounds[k] = above(roots.bound(k), margin)
            self.proved[k] = self.bounds[k] < 0.0
            if not self.proved[k]:
                cases.append(Case(k, roots, self.judge, self.clock, self.options))
        return cases

    def _open(self, cases: list[Case]) -> list[Case]:
        """Those that are not proved, the largest bound first."""
        return sorted((case for case in cases if not self.proved[case.k]), key=lambda case: -self.bounds[case.k])

    def _note(self, case: Case) -> None:
        """Take over what is known of a disjunct."""
        self.bounds[case.k] = above(case.suspects.bound, case.suspects.margin)
        self.nodes[case.k] = case.suspects.nodes
        self.proved[case.k] = case.suspects.proved
        self.trusts |= case.suspects.trusts

    def verdict(self) -> Verdict:
        """What is known."""
        for case in self.cases:
            self._note(case)
        found = self.judge.found
        state = np.where(self.proved, "proved", "open").astype(object)
        if found is not None:
            word, status = "sat", "confirmed"
            state[found.disjunct] = "violated"
        elif self.proved.all():
            word, status = "unsat", "proved"
        else:
            word = "unknown"
            status = "interrupted" if self.interrupted else "time_limit" if self.clock.left == 0.0 else "tolerance"
        table = pd.DataFrame({"state": state, "bound": self.bounds, "nodes": self.nodes})
        bound = float(self.bounds.max(initial=-np.inf))
        nodes = int(self.nodes.sum())
        return Verdict(word, found, bound, status, self.trusts, nodes, self.clock.seconds, table)
