"""The best point of a search so far: what is known of it, when it was found, and whether the search goes on."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..domain import Floats
from .problem import TOLERANCE, Problem
from .result import SearchResult

logger = logging.getLogger("omlt_ext")


def bar_of(time_limit: float | None, progress: bool) -> tqdm[NoReturn]:
    """A bar of seconds, that a drawing of at most every tenth of a second keeps cheap; without `progress`, none."""
    total = None if time_limit is None or not np.isfinite(time_limit) else float(time_limit)
    end = " s{postfix}"
    shape = "{n:.1f}" + end if not total else "{percentage:3.0f}%|{bar:20}| {n:.1f}/{total:.4g}" + end
    return tqdm(total=total, disable=not progress, bar_format=shape, miniters=0, leave=True)


@dataclass(eq=False)
class Incumbent:
    """What a search has found: point, value and bound, in the sense of maximising.

    Offer it points and it keeps the best feasible one; tell it what was proved. `begin` and the deadline are times of
    `time.time()`, the one clock that workers on several machines share. `stopped_by` says what ended the search where
    neither the gap nor the time did.
    """

    problem: Problem
    gap: float = 0.0
    time_limit: float | None = None
    begin: float = field(default_factory=time.time)
    bar: tqdm[NoReturn] | None = None  # a worker has none: tqdm's lock would outlive it
    v: Floats | None = None
    value: float = -np.inf
    bound: float = np.inf
    propagated: float = np.inf  # the part of the bound that needs no trust in a solver
    nodes: int = 0
    stopped_by: str = "limit"
    rows: list[tuple[float, float | None, float | None]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.time() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds left, None without a limit."""
        return None if self.time_limit is None else max(0.0, self.time_limit - self.seconds)

    @property
    def closed(self) -> bool:
        """Whether value and bound lie as near to each other as was asked for."""
        return self.v is not None and self.bound - self.value <= self.gap * max(1.0, abs(self.value))

    @property
    def worth(self) -> float:
        """What a part of the domain must be able to reach to be worth a look."""
        return -np.inf if self.v is None else self.value + self.gap * max(1.0, abs(self.value))

    def goes_on(self) -> bool:
        """Whether there is something left to find or prove, and time to do it."""
        ended = self.stopped_by in ("interrupted", "infeasible")
        return not (ended or self.closed) and (self.left is None or self.left > 0.0)

    def offer(self, V: Floats) -> bool:
        """Keep the best feasible one of some points (n,) or (m, n), each moved into the columns' bounds first.

        Returns whether it is better than what there was.
        """
        inside = self.problem.inside(np.atleast_2d(V))
        Y = self.problem.outputs(inside)
        values = self.problem.values(inside, Y)
        if not self.problem.is_box:
            values = np.where(self.problem.violations(inside, Y) <= TOLERANCE, values, -np.inf)
        for i in np.argsort(-values, kind="stable"):
            if not values[i] > -np.inf or (self.v is not None and values[i] <= self.value):
                return False
            if self.problem.confirm is None or self.problem.confirm(inside[i]):
                return self._take(inside[i].copy())
        return False

    def _take(self, v: Floats) -> bool:
        value = self.problem.value(v)  # a product of matrices can differ in the last bits
        if self.v is not None and value <= self.value:
            return False
        self.v, self.value = v, value
        if self.stopped_by == "infeasible":
            self.stopped_by = "limit"  # what another search, or a solver, has said of the problem is not so
        if value > self.bound and self.bound < self.propagated:
            self.refute(f"no value above {self.bound}")
        self.record()
        return True

    def prove(self, bound: float, *, rigorous: bool = False) -> None:
        """Lower the bound; `rigorous` where it needs no trust in a solver's tolerances."""
        if rigorous:
            self.propagated = min(self.propagated, bound)
        if bound < self.bound:
            self.bound = bound
            self.record()

    def refute(self, claim: str) -> None:
        """Give up a bound of the solver's that the network's own value shows to be wrong."""
        self.bound = self.propagated
        where, cause = "a point of the box", "The numbers of the model span too wide a range: scale the network or"
        if self.problem.n_rows:
            where = f"a point that satisfies the rows to {TOLERANCE:g}"
            cause = "A steep network makes much of this tolerance: scale the rows, or"
        logger.warning(
            f"the solver says that there is {claim}, but the network has the value {self.value} at {where}; "
            f"the solver's bound is left out. {cause} give a smaller box"
        )

    def record(self) -> None:
        """Add a row to the history."""
        value = None if self.v is None else self.value
        # Rounding can put the value a few units in the last place above a tight bound; a larger bound is valid too.
        bound = max(self.bound, self.value) if np.isfinite(self.bound) else None
        self.rows.append((self.seconds, value, bound))
        self.show()

    def show(self) -> None:
        """Move the bar on, if there is one."""
        if self.bar is None:
            return
        self.bar.set_postfix_str(f"value {self.value:.6g}, bound {self.bound:.6g}", refresh=False)
        now = self.seconds if self.bar.total is None else min(self.seconds, self.bar.total)
        self.bar.update(now - self.bar.n)

    def result(self) -> SearchResult:
        """What the search ends with."""
        status = "time_limit" if self.left == 0.0 and self.stopped_by == "limit" else self.stopped_by
        status = "optimal" if self.v is not None and self.closed else status
        self.record()
        history = pd.DataFrame(self.rows, columns=["seconds", "value", "bound"], dtype=np.float64)
        seconds, value, bound = self.rows[-1]
        return SearchResult(self.v, value, bound, status, self.nodes, seconds, history)
