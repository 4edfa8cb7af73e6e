"""HiGHS through arrays: one persistent, warm-started model; status, value, dual bound and point."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import highspy
import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ..domain import Floats, Ints
from ..errors import SolverError
from ..milp import MatrixModel
from .scaling import factors, row_factors, scale_model
from .seam import BASIC, TOLERANCE, SolveResult, States, Watch

SMALLEST = 1e-12  # HiGHS drops smaller coefficients; its own default of 1e-9 is too coarse for large inputs
FEWEST, PER_LINE = 1_000, 20  # simplex iterations of an LP that is on its way, and more for each row and column
_STATES = np.array([highspy.HighsBasisStatus(code) for code in range(5)], dtype=object)  # 3, 4: free
_Status = highspy.HighsModelStatus
_STATUS = {
    _Status.kOptimal: "optimal",
    _Status.kModelEmpty: "optimal",
    _Status.kInfeasible: "infeasible",
    _Status.kUnbounded: "unbounded",
    _Status.kUnboundedOrInfeasible: "infeasible_or_unbounded",
    _Status.kTimeLimit: "time_limit",
    _Status.kIterationLimit: "limit",
    _Status.kSolutionLimit: "limit",
    _Status.kObjectiveBound: "limit",
    _Status.kObjectiveTarget: "limit",
    _Status.kMemoryLimit: "limit",
    _Status.kInterrupt: "interrupted",
}


class HighsSolver:
    """One HiGHS model that lives across solves.

    Change its objective or column bounds and solve again: HiGHS starts from the basis it has. Models with large
    numbers are scaled on the way in and back on the way out (`scaling`).
    `options` are HiGHS's own; an unknown name or value raises `SolverError`.

    >>> import numpy as np; from scipy import sparse
    >>> free = dict(row_lower=np.array([-np.inf]), row_upper=np.array([1.5]), integer=np.array([True, True]))
    >>> A = sparse.csr_array([[1.0, 1.0]])
    >>> model = MatrixModel(c=np.array([1.0, 1.0]), offset=0.0, maximize=True, A=A, lower=np.zeros(2),
    ...     upper=np.ones(2), **free)
    >>> result = HighsSolver(model).solve()
    >>> result.status, result.value, result.bound
    ('optimal', 1.0, 1.0)
    """

    def __init__(self, model: MatrixModel, options: Mapping[str, object] | None = None, *, log: bool = False) -> None:
        self._highs = highspy.Highs()
        self._own_limit = "simplex_iteration_limit" in (options or {})
        self.set_options({"output_flag": log, "small_matrix_value": SMALLEST} | dict(options or {}))
        self.replace(model)

    def replace(self, model: MatrixModel) -> None:
        """Take another model in place of this one; options stay. `SolverError` for logic, which HiGHS does not know."""
        if model.logic:
            raise SolverError(
                f"HiGHS knows no SOS1 sets and no indicators, and the model has {model.logic.n_pairs} and "
                f"{model.logic.n_indicators}; use a formulation of rows alone, such as 'bigm', or the solver 'scip' or "
                "'gurobi'"
            )
        self.maximize = model.maximize
        self._crossed = bool((model.lower > model.upper).any() or (model.row_lower > model.row_upper).any())
        self._has_integers = bool(model.integer.any())
        self._started = False
        scaled, self._scaling = scale_model(model)
        self._row_scaling = row_factors(model, self._scaling)
        self._pass(scaled)

    @property
    def _capped(self) -> bool:
        """Whether an LP gets a limit of iterations, past which it is solved again from nothing.

        From the basis of another LP the simplex method of HiGHS 1.15 has been seen to go in circles without end.
        """
        return not self._has_integers and not self._own_limit

    def set_options(self, options: Mapping[str, object]) -> None:
        """Set HiGHS options by name."""
        for name, value in options.items():
            if self._highs.setOptionValue(name, value) == highspy.HighsStatus.kError:
                raise SolverError(f"HiGHS refuses the option {name!r} = {value!r}; see its list of options")

    def _pass(self, model: MatrixModel) -> None:
        sense = highspy.ObjSense.kMaximize if model.maximize else highspy.ObjSense.kMinimize
        ends = [_ends(end) for end in (model.lower, model.upper, model.row_lower, model.row_upper)]
        A = model.A
        status = self._highs.passModel(
            *(model.n_columns, model.n_rows, A.nnz, int(highspy.MatrixFormat.kRowwise), int(sense), model.offset),
            *(model.c, *ends, A.indptr.astype(np.int32), A.indices.astype(np.int32, copy=False), A.data),
            model.integer.astype(np.int32),
        )
        if status == highspy.HighsStatus.kError and not self._crossed:
            raise SolverError("HiGHS refuses the model; are there NaN or infinite coefficients in it?")

    def set_objective(self, c: Floats, *, maximize: bool, offset: float = 0.0) -> None:
        """Replace the objective."""
        columns = np.arange(c.size, dtype=np.int32)
        self._highs.changeColsCost(c.size, columns, c * self._scaling)
        self._highs.changeObjectiveOffset(offset)
        sense = highspy.ObjSense.kMaximize if maximize else highspy.ObjSense.kMinimize
        self._highs.changeObjectiveSense(sense)
        self.maximize = maximize

    def set_bounds(self, columns: Ints, lower: ArrayLike, upper: ArrayLike) -> None:
        """Replace the bounds of some columns."""
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), columns.shape) for end in (lower, upper))
        self._crossed = bool((low > high).any())
        unit = self._scaling[columns]
        self._highs.changeColsBounds(columns.size, columns.astype(np.int32), _ends(low / unit), _ends(high / unit))

    def add_rows(self, A: Any, lower: Floats, upper: Floats) -> None:
        """Add rows lower <= A x <= upper, A (m, columns) CSR; the next LP starts from the basis of the last one."""
        unit = factors(A, self._scaling)
        scaled = sparse.csr_array(sparse.diags_array(1.0 / unit) @ A @ sparse.diags_array(self._scaling))
        self._row_scaling = np.concatenate([self._row_scaling, unit])
        self._crossed = self._crossed or bool((lower > upper).any())
        status = self._highs.addRows(
            *(unit.size, _ends(lower / unit), _ends(upper / unit), scaled.nnz),
            *(scaled.indptr[:-1].astype(np.int32), scaled.indices.astype(np.int32), scaled.data),
        )
        if status == highspy.HighsStatus.kError and not self._crossed:
            raise SolverError("HiGHS refuses the rows; are there NaN or infinite coefficients in them?")

    def remove_rows(self, rows: Ints) -> None:
        """Take rows out, by number; those after them move up. The basis stays where all of them are basic in it."""
        self._highs.deleteRows(rows.size, rows.astype(np.int32))
        self._row_scaling = np.delete(self._row_scaling, rows)

    def start_from(self, columns: Ints, values: Floats) -> None:
        """Give HiGHS a start: values for some columns; those it does not have it finds by a small solve."""
        start = np.asarray(values, dtype=np.float64) / self._scaling[columns]
        self._highs.setSolution(columns.size, columns.astype(np.int32), start)
        self._started = True

    def start_basis(self, columns: States, rows: States) -> None:
        """Start the next LP from a basis, the state of every column and row; left out where it cannot be one."""
        if np.count_nonzero(columns == BASIC) + np.count_nonzero(rows == BASIC) == rows.size:
            basis = highspy.HighsBasis()
            basis.col_status, basis.row_status = _STATES[columns].tolist(), _STATES[rows].tolist()
            basis.valid = True
            self._highs.setBasis(basis)

    def basis(self) -> tuple[States, States]:
        """The state of every column and row where the last LP ended."""
        basis = self._highs.getBasis()
        columns, rows = (np.array(list(map(int, part)), dtype=np.int8) for part in (basis.col_status, basis.row_status))
        return columns, rows

    def solve(
        self,
        *,
        time_limit: float | None = None,
        gap: float | None = None,
        absolute_gap: float | None = None,
        watch: Watch | None = None,
    ) -> SolveResult:
        """Solve; `time_limit` in seconds, `gap` relative to the value. Ctrl-C ends the solve, the best point is kept.

        `watch` is called while a model with integers is solved, maybe from another thread: with each better point and
        the dual bound (infinite while there is none), and, often, with None and the dual bound. Once it returns True,
        the solve ends soon, with the status "stopped".
        """
        begin = time.perf_counter()
        if self._crossed:
            return SolveResult("infeasible", None, None, None, 0, 0.0)
        limit = highspy.kHighsInf if time_limit is None else max(0.0, float(time_limit))
        # HiGHS (1.11 to 1.15) counts an LP's time from the first solve on, a mixed-integer model's from this one.
        limit += 0.0 if self._has_integers else self._highs.getRunTime()
        if self._capped:
            size = self._highs.getNumRow() + self._highs.getNumCol()
            self.set_options({"simplex_iteration_limit": FEWEST + PER_LINE * size})
        gaps = {"mip_rel_gap": gap, "mip_abs_gap": absolute_gap}
        self.set_options({"time_limit": limit} | {name: float(g) for name, g in gaps.items() if g is not None})
        stop = threading.Event()
        with self._watched(watch, stop):
            self._run(stop)
            if self._highs.getModelStatus() == _Status.kIterationLimit and self._capped:
                self._highs.clearSolver()
                self.set_options({"simplex_iteration_limit": highspy.kHighsIInf})
                self._run(stop)
            before = None
            if self._took_the_start() and not stop.is_set():
                before = self._point()
                self._run_without_presolve(stop, limit - (time.perf_counter() - begin))
        model_status = self._highs.getModelStatus()
        if model_status not in _STATUS:
            raise SolverError(f"HiGHS failed: {self._highs.modelStatusToString(model_status)}")
        status = "interrupted" if stop.is_set() and model_status != _Status.kOptimal else _STATUS[model_status]
        if status == "interrupted" and not stop.is_set():
            status = "stopped"
        info = self._highs.getInfo()
        x = value = bound = None
        if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible or status == "optimal":
            x, value = self._point()
            if before is not None and abs(before[1] - value) <= TOLERANCE * max(1.0, abs(value)):
                x, value = before  # what one was started from is the more exact of two equal points
        if self._has_integers and status != "infeasible":
            bound = float(info.mip_dual_bound)
        elif status == "optimal":
            bound = value
        if bound is not None and not np.isfinite(bound):
            bound = None
        nodes = max(0, int(info.mip_node_count)) if self._has_integers else 0
        return SolveResult(status, x, value, bound, nodes, time.perf_counter() - begin)

    def _point(self) -> tuple[Floats, float]:
        """The point that HiGHS has, and its value."""
        x = np.array(self._highs.getSolution().col_value, dtype=np.float64) * self._scaling
        return x, float(self._highs.getInfo().objective_function_value)

    def _took_the_start(self) -> bool:
        """Whether HiGHS has called a start optimal, or a point near it, before it solved any LP.

        Where presolve leaves no objective, HiGHS 1.15 does so for any start, and calls its value the bound.
        """
        info, started = self._highs.getInfo(), self._started
        self._started = False
        solved = self._highs.getModelStatus() == _Status.kOptimal
        return started and self._has_integers and solved and info.simplex_iteration_count <= 0

    def _run_without_presolve(self, stop: threading.Event, limit: float) -> None:
        """Run HiGHS again from the point that it has."""
        presolve = self._highs.getOptionValue("presolve")[1]
        self.set_options({"presolve": "off", "time_limit": max(0.0, limit)})
        self._run(stop)
        self.set_options({"presolve": presolve})

    def reduced_costs(self) -> Floats:
        """The reduced cost of every column where the last solve ended, without integers only.

        At a minimum: what the objective grows by for each unit that a column is raised from its lower end.
        """
        costs = np.array(self._highs.getSolution().col_dual, dtype=np.float64)
        return costs / self._scaling if costs.size else np.zeros_like(self._scaling)

    def row_multipliers(self) -> Floats:
        """The multiplier of every row where the last solve ended, without integers only.

        At a minimum: what the objective grows by for each unit that the row's active side is raised.
        """
        multipliers = np.array(self._highs.getSolution().row_dual, dtype=np.float64)
        return multipliers / self._row_scaling if multipliers.size else np.zeros_like(self._row_scaling)

    @contextmanager
    def _watched(self, watch: Watch | None, stop: threading.Event) -> Iterator[None]:
        """Call `watch` during a solve, and end the solve once `stop` is set or `watch` has returned True."""
        enough, scaling = threading.Event(), self._scaling

        def at_point(event: highspy.HighsCallbackEvent) -> None:
            x = np.array(event.data_out.mip_solution, dtype=np.float64) * scaling
            if watch is not None and watch(x, float(event.data_out.mip_dual_bound)):
                enough.set()

        def at_check(event: highspy.HighsCallbackEvent) -> None:
            if watch is not None and watch(None, float(event.data_out.mip_dual_bound)):
                enough.set()
            at_stop(event)

        def at_stop(event: highspy.HighsCallbackEvent) -> None:
            event.interrupt(stop.is_set() or enough.is_set())  # HiGHS keeps this flag from one solve to the next

        highs = self._highs
        calls = [(highs.cbSimplexInterrupt, at_stop), (highs.cbIpmInterrupt, at_stop), (highs.cbMipInterrupt, at_check)]
        calls += [] if watch is None else [(highs.cbMipImprovingSolution, at_point)]
        calls = calls if self._has_integers else []
        for event, call in calls:
            event.subscribe(call)
        try:
            yield
        finally:
            for event, call in calls:
                event.unsubscribe(call)

    def _run(self, stop: threading.Event) -> None:
        """Run HiGHS; Ctrl-C sets `stop`. Only the main thread receives Ctrl-C, so only it waits for another."""
        if not self._has_integers or threading.current_thread() is not threading.main_thread():
            self._highs.run()
            return
        self._highs.startSolve()
        done = False
        while not done:
            try:
                done, _ = self._highs.wait(0.1)
            except KeyboardInterrupt:
                stop.set()


def _ends(values: Floats) -> Floats:
    return np.clip(values, -highspy.kHighsInf, highspy.kHighsInf)
