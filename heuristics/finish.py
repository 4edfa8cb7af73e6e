"""From a climbed point to the best points around it: the LP over its region, a walk, MIPs over the regions around."""

from __future__ import annotations

import numpy as np

from omlt_ext.domain import Floats
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem

from .border import border_mip
from .elastic import Repairs
from .region import Local
from .sign_rows import Patterns
from .walk import Rules, Walks

RULES = Rules(("all_tight", "step"), epsilon=0.01, stop_gain=0.0, steps=None, memory=True, nodes=200)
NEAREST = 10  # neurons beside those at the border that a MIP frees
SMALL = 20_000  # columns times ReLUs up to which such MIPs are worth their time


class Finish:
    """Finishes points of one search; each region's LP is solved once."""

    def __init__(self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator) -> None:
        self.problem, self.incumbent = problem, incumbent
        self.walks = Walks(problem, incumbent, RULES, rng)
        self.repairs = Repairs(problem, RULES, rng)
        self.known: dict[bytes, tuple[Patterns, Local] | None] = {}
        self.walked: set[bytes] = set()
        self.widens = problem.n * sum(placed.network.n_relus for placed in problem.networks) <= SMALL

    def is_new(self, v: Floats) -> bool:
        """Whether no LP has seen the region of v."""
        return self._key(self.problem.inside(v)) not in self.known

    def polish(self, v: Floats) -> Local | None:
        """Solve the LP over the region of v, new or not; None where it has no point."""
        x = self.problem.inside(v)
        key = self._key(x)
        entered = self.known[key] if key in self.known else self._enter(x, key)
        return None if entered is None else entered[1]

    def walk(self, v: Floats) -> Local | None:
        """Walk from v as far as the value grows; None where that was done before, or leads to nothing."""
        x = self.problem.inside(v)
        key = self._key(x)
        if key in self.walked or not self.incumbent.goes_on():
            return None
        entered = self.known[key] if key in self.known else self._enter(x, key)
        self.walked.add(key)
        return None if entered is None else self._widen(self.walks.walk(x, *entered))

    def _widen(self, local: Local) -> Local:
        """Free the nearest neurons as well as those at the border, and walk on, as long as that leads further up."""
        while self.widens and self.incumbent.goes_on():
            regions, left = self.walks.regions, self.incumbent.left
            pattern = regions.pattern(local.v)
            found = border_mip(
                self.problem, regions, local, pattern, nodes=RULES.nodes, nearest=NEAREST, time_limit=left
            )
            if found is None:
                break
            self.incumbent.offer(found.v)
            local = self.walks.walk(found.v, regions.pattern(found.v), found)
        return local

    def _key(self, x: Floats) -> bytes:
        return self.walks.regions.key(self.walks.regions.pattern(x), x)

    def _enter(self, x: Floats, key: bytes) -> tuple[Patterns, Local] | None:
        entered = self.walks.enter(x)
        if entered is None and self.problem.n_rows and self.incumbent.v is None and self.incumbent.goes_on():
            entered = self.repairs.enter(x, self.walks, self.incumbent)
        self.known[key] = entered
        return entered
