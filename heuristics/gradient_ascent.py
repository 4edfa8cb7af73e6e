"""Multi-start projected gradient ascent, restarted from perturbed elites and finished by LPs over linear regions.

One round: draw starts, climb from all of them at once (`ascent.py`), solve the LP over the regions of the best few
that no LP has seen yet (`region.py`), and keep the best points as elites. A start is drawn anew (uniformly, as a
corner, or half and half), or made from elites: some coordinates drawn anew, two elites crossed, or all coordinates
moved a little. How far a start lies from its elite is drawn as well, so that no size has to be right. Elites around
which nothing better is found any more are forgotten, and the search begins anew; the best point stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from omlt_ext.domain import Box, Floats, Polytope
from omlt_ext.network import Network
from omlt_ext.options import check_count, check_number
from omlt_ext.search import SearchResult
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.maximize import maximize_by
from omlt_ext.search.problem import Problem

from .ascent import FIRST, Ascent
from .elites import NEAR, Elites
from .region import Regions
from .sign_rows import Patterns

STALE = 8  # rounds without a better elite, after which other elites are found
NUMBERS = 2**22  # coordinates of all starts at most
FEW = 32  # starts of the first round; twice as many in the next, up to all


@dataclass(frozen=True)
class GradientAscent:
    """Multi-start gradient ascent with LP polish.

    `starts` are climbed in each round for `steps`; the LPs of at most `polish` regions follow. `fresh` is the share of
    the starts that are drawn anew, `elites` how many points are kept to make the others from. Without a limit it ends
    after `patience` rounds without a better point.
    """

    starts: int = 256
    steps: int = 100
    polish: int = 4
    fresh: float = 0.25
    elites: int = 16
    patience: int = 20

    def __post_init__(self) -> None:
        for name, least in (("starts", 1), ("steps", 1), ("polish", 0), ("elites", 1), ("patience", 1)):
            check_count(name, getattr(self, name), least)
        check_number("fresh", self.fresh, most=1.0)

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        """Rounds until the limit; without one, until `patience` of them brought nothing."""
        run = Climbs(problem, incumbent, rng, self)
        done = idle = 0
        while incumbent.goes_on() and (rounds is None or done < rounds):
            before = incumbent.value
            run.round()
            done += 1
            idle = 0 if incumbent.value > before else idle + 1
            if rounds is None and incumbent.time_limit is None and idle >= self.patience:
                return


class Climbs:
    """The rounds of one search: its elites, and the regions that LPs have seen."""

    def __init__(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, options: GradientAscent
    ) -> None:
        self.problem, self.incumbent, self.rng, self.options = problem, incumbent, rng, options
        self.ascent, self.regions = Ascent(problem), Regions(problem)
        self.elites = Elites(problem, options.elites)
        self.solved: set[bytes] = set()
        self.most = int(np.clip(NUMBERS // problem.n, 1, options.starts))
        self.best, self.stale, self.done = -np.inf, 0, 0
        if incumbent.v is not None:
            self.elites.add(incumbent.v[None, :], self.ascent.merits(incumbent.v[None, :]))

    def round(self) -> None:
        """One round of `GradientAscent`."""
        self.climb(FEW << min(self.done, 20))  # a first point early, on large networks too
        self.polish()
        self.done += 1

    def climb(self, count: int) -> None:
        """Climb from at most `count` starts, near the elites and far from them."""
        near, far = self.elites.starts(min(count, self.most), self.options.fresh, self.rng)
        for V, first in ((near, NEAR), (far, FIRST)):
            if V.size:
                climbed = self.ascent.climb(V, self.options.steps, first=first, goes_on=self.incumbent.goes_on)
                self.incumbent.offer(climbed)
                self.elites.add(climbed, self.ascent.merits(climbed))

    def polish(self) -> None:
        """Solve the LPs of the best elites' regions that are new; begin with new elites where these are exhausted."""
        tried = reached = 0
        for v in self.problem.inside(self.elites.V):
            if tried == self.options.polish or not self.incumbent.goes_on():
                break
            pattern = self.regions.pattern(v)
            key = self.regions.key(pattern, v)
            if key in self.solved:
                continue
            self.solved.add(key)
            tried += 1
            reached += self._solve(pattern, v)
        if tried and not reached and self.ascent.charge_more():
            self.elites.judge(self.ascent.merits)
        self.stale = 0 if self.elites.best > self.best else self.stale + 1
        self.best = self.elites.best
        if self.stale >= STALE:
            self.elites.clear()
            self.best, self.stale = -np.inf, 0

    def _solve(self, pattern: Patterns, v: Floats) -> bool:
        """Whether the region has a feasible point: with the whole columns at those of v, else with others."""
        local = None
        if self.problem.integer.any():
            local = self.regions.solve(pattern, whole=v, time_limit=self.incumbent.left)
        if local is None:
            local = self.regions.solve(pattern, time_limit=self.incumbent.left)
        if local is None:
            return False
        self.incumbent.offer(local.v)
        self.elites.add(local.v[None, :], np.array([local.value]))
        return True


def gradient_ascent(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    objective: ArrayLike | None = None,
    **options: Any,
) -> SearchResult:
    """The maximum of objective . f(x) over a box or polytope, by `GradientAscent`.

    `options` are those of `GradientAscent` and, as in `maximize`, `time_limit`, `rounds`, `seed`, `gap`, `effort`,
    `executor`, `searches` and `progress`. Arguments, result and errors are those of `maximize`.

    >>> from omlt_ext import Box, Layer, Network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)])
    >>> best = gradient_ascent(network, Box([-1, -1], [1, 1]), rounds=1, starts=8)  # max (x + y)+ - 3 (x - y)+
    >>> round(best.value, 6), best.x
    (2.0, array([1., 1.]))
    """
    return maximize_by(GradientAscent, network, domain, objective, options)
