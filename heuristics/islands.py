"""Populations of climbed points that live apart: what one settles on does not crowd out what another may still find.

One generation, on each island: starts made from its elites (`elites.py`), a climb from all of them, and the best that
differ stay. An island whose best point has stood still for some generations is given up: its best join a hall of fame,
and it begins anew, from points drawn at random or, every other time, from members of the hall, which came from
different islands and so bring together what each has found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from omlt_ext.domain import Floats
from omlt_ext.search.problem import Problem

from .ascent import FIRST, Ascent
from .elites import NEAR, Elites
from .region import Local

ISLANDS, SIZE, ELITES = 4, 32, 12
FIRST_STEPS, STEPS = 100, 60
STANDSTILL = 4  # generations without a better point after which an island is given up
FAMOUS = 8  # points of an island given up that join the hall
HALL = 64
GAIN = 1e-6  # relative: what counts as better


class Islands:
    """The islands of one problem; `generation` climbs once on each and yields those about to be given up."""

    def __init__(self, problem: Problem, ascent: Ascent, rng: np.random.Generator) -> None:
        self.problem, self.ascent, self.rng = problem, ascent, rng
        self.elites = [Elites(problem, ELITES) for _ in range(ISLANDS)]
        self.still = [0] * ISLANDS
        self.hall = Elites(problem, HALL)
        self.given_up = 0

    def generation(self, goes_on: Callable[[], bool] = lambda: True) -> Iterator[int]:
        """One generation on each island; yields each one that is about to be given up."""
        for i, elites in enumerate(self.elites):
            near, far = elites.starts(SIZE, 0.0, self.rng)
            V, steps, first = (near, STEPS, NEAR) if near.size else (far, FIRST_STEPS, FIRST)
            V = self.ascent.climb(V, steps, first=first, goes_on=goes_on)
            best = elites.best
            elites.add(V, self.ascent.merits(V))
            self.still[i] = 0 if elites.best > best + GAIN * abs(best) else self.still[i] + 1
            if not goes_on():
                return
            if self.still[i] >= STANDSTILL:
                yield i
                self._begin_anew(i)

    def _begin_anew(self, i: int) -> None:
        old, self.elites[i], self.still[i] = self.elites[i], Elites(self.problem, ELITES), 0
        self.hall.add(old.V[:FAMOUS], old.merits[:FAMOUS])
        self.given_up += 1
        if self.given_up % 2 == 0:
            some = self.rng.permutation(self.hall.merits.size)[:ELITES]
            self.elites[i].add(self.hall.V[some], self.hall.merits[some])

    @property
    def champions(self) -> list[int]:
        """The islands that have a point, the one with the best first."""
        there = [i for i, elites in enumerate(self.elites) if elites.merits.size]
        return sorted(there, key=lambda i: -self.elites[i].best)

    def best(self, i: int) -> Floats:
        """The best point (n,) of an island."""
        return self.elites[i].V[0]

    def settle(self, i: int, local: Local | None) -> None:
        """Let the point that an LP has found, if any, take its place on the island whose best it came from."""
        if local is not None:
            self.elites[i].add(local.v[None, :], np.array([local.value]))
