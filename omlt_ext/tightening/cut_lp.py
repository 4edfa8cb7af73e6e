"""The LP rung with cuts: an LP over another relaxation for each bound, whose separators cut it down round by round.

Symbols: W, b weight and bias of the last layer, h' its inputs; row r < n is v = z_r, row n + j is v = -z_j: each is
minimised. `known` <= v are the bounds so far.

It comes after `lp_rung`, for what that leaves open. All rows share one LP over the layers before (`prefix`), which
keeps the cuts that are tight at one row's end for the next: they hold for all of them.

Validity. A cut holds at every point of the network, by its separator; the LP's value is never used, but what its
multipliers prove about the LP with its cuts (`solvers.safe`), also where a limit cut the solve off.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import numpy as np

from ..cut_rounds import CutLP
from ..domain import Floats
from ..encoding import Formulation
from ..errors import SolverError
from ..separation import Separation
from ..solvers.safe import safe_lower
from .lp import lp_rung, open_sides
from .prefix import Prefix, inside, row_of
from .task import Outcome, Task

logger = logging.getLogger("omlt_ext")


def cut_rung(task: Task, relus: Formulation) -> Outcome:
    """Bounds of the last layer by `lp_rung`, then by LPs over `relus` and the cuts of its separators.

    What `lp_rung` leaves out is left out here as well. The LPs with cuts are solved by HiGHS, whatever the solver.
    """
    first = lp_rung(task)
    bounds = task.bounds
    if not first.finished or not any(mask.any() for mask in bounds.unstable[:-1]):
        return first
    lower = (*bounds.lower[:-1], np.maximum(bounds.lower[-1], first.lower))
    upper = (*bounds.upper[:-1], np.minimum(bounds.upper[-1], first.upper))
    points = np.concatenate([task.points, first.points])
    run = Run(replace(task, bounds=replace(bounds, lower=lower, upper=upper), points=points), relus)
    try:
        finished = run.bound()
    except KeyboardInterrupt:
        finished = False
    n, seconds = run.n, first.seconds + run.seconds
    low, high = np.maximum(first.lower, run.value[:n]), np.minimum(first.upper, -run.value[n:])
    return Outcome(low, high, seconds, np.concatenate([first.points, run.points()]), finished)


class Run:
    """The rows of one task: their values, the LPs' points, and the time spent."""

    def __init__(self, task: Task, relus: Formulation) -> None:
        self.task, self.layer = task, task.network.layers[-1]
        self.n = self.layer.n_out
        self.value = np.full(2 * self.n, -np.inf)
        self.seconds = np.zeros(self.n)
        self.found: list[Floats] = []
        self.prefix = Prefix.of(task.network, task.bounds, relus)
        self.lp = CutLP(self.prefix.model, Separation(self.prefix.model))

    def points(self) -> Floats:
        """The LPs' points that lie in the domain."""
        none = np.empty((0, self.task.network.n_inputs))
        return inside(np.concatenate([none, *self.found]), self.task.bounds)

    def bound(self) -> bool:
        """One bound after another; False where the deadline cut them short."""
        for row in np.flatnonzero(open_sides(self.task)).tolist():
            if self.task.seconds_left == 0.0:
                return False
            if self.decided(row % self.n):
                continue
            begin = time.perf_counter()
            status = self.solve(row)
            self.seconds[row % self.n] += time.perf_counter() - begin
            if status == "infeasible":
                return True  # no point at all: there is nothing to bound
            self.lp.drop_slack()
        return True

    def decided(self, j: int) -> bool:
        """Whether nothing more is asked of neuron j."""
        signs = self.task.effort.stop_at_sign and self.layer.relu[j]
        return bool(signs and max(self.value[j], self.value[self.n + j]) >= 0.0)

    def solve(self, row: int) -> str:
        """Minimise one row's v, round by round; return the last LP's status."""
        j, sign = row % self.n, 1.0 if row < self.n else -1.0
        cost, lp = self.prefix.cost(sign * row_of(self.layer, j)), self.lp
        lp.solver.set_objective(cost, maximize=False)
        rounds = lp.separation.rounds
        for turn in range(rounds + 1):
            limits = [s for s in (self.task.seconds_left, self.task.effort.seconds_per_solve) if s is not None]
            try:
                result = lp.solve(min(limits, default=None))
            except SolverError as error:
                logger.warning(f"{error}; the bound known before stands")
                return "failed"
            if result.status != "optimal" or result.x is None or turn == rounds or lp.separate(result.x) == 0:
                break
        if result.x is not None:
            self.found.append(result.x[None, self.prefix.inputs])
        multipliers = lp.solver.row_multipliers()
        if not result.status.startswith("infeasible"):
            proven = safe_lower(lp.model, cost, multipliers)[0]
            self.value[row] = np.nextafter(proven + sign * self.layer.bias[j], -np.inf)
        return result.status
