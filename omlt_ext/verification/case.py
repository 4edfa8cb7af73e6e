"""One disjunct that crude bounds leave open: an ascent, better bounds, a tree that grows from round to round."""

from __future__ import annotations

import time
from typing import NamedTuple, NoReturn

import numpy as np
from tqdm.auto import tqdm

from ..bounds import Bounds
from ..errors import InfeasibleError
from ..search.explore import MEMORY, Exploration, by_solver, climb, suited
from ..search.problem import Problem
from ..tightening import Effort
from .roots import Roots
from .suspects import Judge, Suspects

KEPT = 16  # trees that are kept from round to round; others begin anew


class Clock(NamedTuple):
    """When the run began, a time of `time.time()`, how long it may take, and the bar that shows it."""

    begin: float
    limit: float | None
    bar: tqdm[NoReturn] | None

    @property
    def seconds(self) -> float:
        return time.time() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds left, None without a limit."""
        return None if self.limit is None else max(0.0, self.limit - self.seconds)


class Options(NamedTuple):
    """As in `verify`."""

    effort: str | Effort | None
    split: str
    seed: int


class Case:
    """Disjunct k: `suspects` is what is known of it, `exhausted` says that its tree has nothing left to split."""

    def __init__(self, k: int, roots: Roots, judge: Judge, clock: Clock, options: Options) -> None:
        self.k, self.roots, self.clock, self.options = k, roots, clock, options
        self.target = roots.target(k)
        problem = Problem.of_network(self.target.network, roots.domain)
        margin, times = roots.margin(k), (clock.limit, clock.begin, clock.bar)
        self.suspects = Suspects(problem, 0.0, *times, judge=judge, margin=margin, inner=roots.inner)
        self.suspects.prove(roots.bound(k), rigorous=True)
        self.rng = np.random.default_rng([options.seed, k])
        self.bounds: Bounds | None = None
        self.tree: Exploration | None = None
        self.exhausted = False
        self.room = MEMORY  # bytes of its tree's open nodes

    @property
    def boxes(self) -> bool:
        """Whether the tree will split boxes first, which it bounds anew, and whose corners are points to try."""
        return suited(self.target, self.options.split)[0] == "input"

    def look(self) -> None:
        """Take over what other disjuncts over the same domain have had found."""
        self._prove(self.roots.bound(self.k), self.roots.bounds)

    def attack(self) -> None:
        """One round of ascent."""
        self.suspects.offer(self.suspects.problem.box(0).center)
        climb(self.suspects, self.rng)

    def tighten(self) -> None:
        """Better bounds at the root."""
        suspects, effort = self.suspects, self.options.effort
        effort = ("crown" if self.boxes else "dual") if effort is None else effort
        self.roots.tighten(effort, self.clock.left)
        self.look()
        if suspects.goes_on():
            try:
                self.bounds = self.roots.target_bounds(self.target, self.k, effort, self.clock.left)
            except InfeasibleError:
                suspects.prove(-np.inf, rigorous=True)
            else:
                self._prove(float(self.bounds.upper[-1][0]), self.bounds)

    def _prove(self, bound: float, bounds: Bounds | None) -> None:
        self.suspects.prove(bound, rigorous=bounds is None or not by_solver(bounds))

    def grow(self, nodes: float, keep: bool) -> None:
        """Grow the tree by some nodes, and keep it for the next time, or only what is known from it."""
        if self.bounds is None:
            self.tighten()
        if self.bounds is None or not self.suspects.goes_on():
            return
        tree = self.tree
        if tree is None:
            tree = Exploration(self.target, self.bounds, self.suspects, self.rng, self.options.split, self.room)
        tree.run(nodes)
        self.exhausted = tree.done and not self.suspects.proved
        self.tree = tree if keep else None
