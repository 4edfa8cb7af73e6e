"""Optimisation-based bound tightening: the range of chosen columns of a model, by one minimum for each side.

Each side of a column j is min x_j or min -x_j over the model. Without integers a side is what the solver's multipliers
prove (`solvers.safe`); with integers it is the solver's dual bound, lowered by its tolerance. A side that a point found
on the way attains is left out.

Source: Gleixner, Berthold, Mueller and Weltge, Three enhancements for optimization-based bound tightening, J. Global
Optim. 67 (2017), section 3 (left-out sides: greedy ordering and filtering).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from .domain import Floats, Ints
from .errors import InfeasibleError, SolverError
from .milp import MatrixModel
from .solvers import HighsSolver, SolveResult, lowered
from .solvers.safe import safe_lower

logger = logging.getLogger("omlt_ext")

LP_OPTIONS = {"presolve": "off", "solver": "simplex", "parallel": "off", "threads": 1}
MILP_OPTIONS = {"random_seed": 0}
ATTAINED = 1e-6  # of max(1, |end|): a point this close to an end leaves nothing to gain


@dataclass(frozen=True, eq=False)
class ColumnTask:
    """Bound `columns` of `model`, an LP where it has no integers; `gap` is relative to the widths.

    Columns without finite ends may be there as long as no row has them. `deadline` is a time of `time.time()`.
    """

    model: MatrixModel
    columns: Ints
    gap: float
    seconds_per_solve: float | None = None
    deadline: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())


class ColumnRanges(NamedTuple):
    """Valid ends of every column asked for, arrays (n,); `finished` is False where a limit ended the task early."""

    lower: Floats
    upper: Floats
    seconds: Floats
    finished: bool


def column_ranges(task: ColumnTask) -> ColumnRanges:
    """The range of every column, never wider than the model's own bounds of it.

    Raises `InfeasibleError` where the model is proved to have no point.
    """
    search = _Search(task)
    try:
        finished = search.run()
    except KeyboardInterrupt:
        finished = False
    return ColumnRanges(search.low, search.high, search.seconds, finished)


class _Search:
    """The ends that are known of each column, and how far points of the model reach."""

    def __init__(self, task: ColumnTask) -> None:
        self.task, self.columns = task, task.columns
        self.low, self.high = task.model.lower[task.columns].copy(), task.model.upper[task.columns].copy()
        self.seen_low, self.seen_high = np.full(task.columns.size, np.inf), np.full(task.columns.size, -np.inf)
        self.seconds = np.zeros(task.columns.size)
        self.whole = bool(task.model.integer.any())
        self.slack = ATTAINED * np.maximum(1.0, np.maximum(np.abs(self.low), np.abs(self.high)))
        if self.whole:
            self.slack = np.maximum(self.slack, task.gap * (self.high - self.low))

    def run(self) -> bool:
        """One solve for each side that no point attains when its turn comes; False where a limit ended the run."""
        solver = HighsSolver(self.task.model, MILP_OPTIONS if self.whole else LP_OPTIONS)
        forth = range(self.columns.size)
        for side, at in [(1.0, i) for i in forth] + [(-1.0, i) for i in reversed(forth)]:
            left = self.seen_low[at] - self.low[at] if side > 0.0 else self.high[at] - self.seen_high[at]
            if left <= self.slack[at]:
                continue
            if self.task.seconds_left == 0.0:
                return False
            begin = time.perf_counter()
            try:
                bound, interrupted = self.minimum(solver, at, side)
            except SolverError as error:
                logger.info(f"a solve for a bound failed ({error}); the bound stays")
                continue
            if side > 0.0:
                self.low[at] = max(self.low[at], bound)
            else:
                self.high[at] = min(self.high[at], -bound)
            self.seconds[at] += time.perf_counter() - begin
            if interrupted:
                return False
        return True

    def minimum(self, solver: HighsSolver, at: int, side: float) -> tuple[float, bool]:
        """A valid bound on min side x_at, and whether Ctrl-C ended the solve."""
        task, cost = self.task, np.zeros(self.task.model.n_columns)
        cost[self.columns[at]] = side
        limits = [limit for limit in (task.seconds_left, task.seconds_per_solve) if limit is not None]
        solver.set_objective(cost, maximize=False)
        result = solver.solve(time_limit=min(limits, default=None), gap=task.gap if self.whole else None)
        if result.status == "infeasible":
            _confirm_infeasible(task)
            return -np.inf, False
        if self.whole:
            bound = -np.inf if result.bound is None else lowered(result.bound)
        else:
            bound = float(safe_lower(task.model, cost, solver.row_multipliers())[0])
        if result.x is not None:
            found = result.x[self.columns]
            self.seen_low, self.seen_high = np.minimum(self.seen_low, found), np.maximum(self.seen_high, found)
            if bound > side * found[at] + self.slack[at]:
                logger.warning("HiGHS's dual bound lies above a point of its own; it is left out")
                bound = -np.inf
        return bound, result.status == "interrupted"


def _confirm_infeasible(task: ColumnTask) -> None:
    """Raise `InfeasibleError` where an LP proves it, or where HiGHS says so of a MILP again, without presolve."""
    if proves_empty(task.model.relax()):
        raise InfeasibleError("its linear relaxation has no point")
    if task.model.integer.any() and _second_opinion(task).status == "infeasible":
        raise InfeasibleError("HiGHS finds no point, with and without presolve")
    logger.warning("HiGHS calls the model infeasible, which its multipliers do not prove; the bounds stay")


def _second_opinion(task: ColumnTask) -> SolveResult:
    return HighsSolver(task.model, MILP_OPTIONS | {"presolve": "off"}).solve(time_limit=task.seconds_left)


def proves_empty(model: MatrixModel) -> bool:
    """Whether the multipliers of min t, where every row may be violated by t >= 0, prove that t = 0 is impossible.

    >>> model = MatrixModel(c=np.zeros(1), offset=0.0, maximize=False, A=sparse.csr_array([[1.0]]),
    ...     row_lower=np.array([2.0]), row_upper=np.array([np.inf]), lower=np.zeros(1), upper=np.ones(1),
    ...     integer=np.zeros(1, dtype=bool))
    >>> proves_empty(model), proves_empty(replace(model, row_lower=np.array([0.5])))
    (True, False)
    """
    below, above = np.isfinite(model.row_lower), np.isfinite(model.row_upper)
    A = sparse.csr_array(model.A)
    t = sparse.csr_array(np.concatenate([np.ones(int(below.sum())), -np.ones(int(above.sum()))])[:, None])
    rows = sparse.hstack([sparse.vstack([A[below], A[above]]), t], format="csr")
    middle = np.clip(0.0, model.lower, model.upper)
    activity = A @ middle
    gaps = np.concatenate([(model.row_lower - activity)[below], (activity - model.row_upper)[above]])
    worst = float(np.max(gaps, initial=0.0))
    elastic = replace(
        model,
        c=np.append(np.zeros(model.n_columns), 1.0),
        offset=0.0,
        maximize=False,
        A=sparse.csr_array(rows),
        row_lower=np.concatenate([model.row_lower[below], np.full(int(above.sum()), -np.inf)]),
        row_upper=np.concatenate([np.full(int(below.sum()), np.inf), model.row_upper[above]]),
        lower=np.append(model.lower, 0.0),
        upper=np.append(model.upper, 2.0 * worst + 1.0),
        integer=np.zeros(model.n_columns + 1, dtype=bool),
        networks=(),
    )
    solver = HighsSolver(elastic, LP_OPTIONS)
    try:
        solver.solve()
    except SolverError:
        return False
    return bool(safe_lower(elastic, elastic.c, solver.row_multipliers())[0] > 0.0)
