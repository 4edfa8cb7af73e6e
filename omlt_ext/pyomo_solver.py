"""SolverFactory("omlt_ext.highs"): a Pyomo model with networks in it, solved by HiGHS through arrays and checked.

The solve starts from a feasible point that a forward pass gives, and what it ends with is held against the networks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.collections import Bunch
from pyomo.opt import SolverResults, SolverStatus, TerminationCondition

from .bridge import CompiledModel, compile_model
from .cut_rounds import add_cuts
from .domain import Floats
from .encoding import ZERO
from .errors import OptionError, SolverError
from .milp import MatrixModel
from .pyomo_cuts import separation_of
from .solvers import HighsSolver, SolveResult
from .surroundings import check_surroundings

logger = logging.getLogger("omlt_ext")

CHECK_TOLERANCE = 1e-5
CUT_SHARE = 0.2  # of the time limit, that cuts may take before the search
START_SECONDS = 10.0
ABSOLUTE_GAP = 2e-6  # HiGHS's mip_abs_gap and a rounding
START_TOLERANCE = 1e-6  # how far a start may violate a row: HiGHS's own feasibility tolerance for integers

_TERMINATION = {
    "optimal": TerminationCondition.optimal,
    "infeasible": TerminationCondition.infeasible,
    "unbounded": TerminationCondition.unbounded,
    "infeasible_or_unbounded": TerminationCondition.infeasibleOrUnbounded,
    "time_limit": TerminationCondition.maxTimeLimit,
    "limit": TerminationCondition.other,
    "interrupted": TerminationCondition.userInterrupt,
}


@dataclass(frozen=True)
class CheckedPoint:
    """A point of the model, its objective, and its largest difference from a network (`EmbeddedNetwork.error`)."""

    x: Floats
    value: float
    error: float


@pyo.SolverFactory.register(
    "omlt_ext.highs", doc="HiGHS through arrays, for models with ReLUBlocks; solutions are checked"
)
class NetworkHighs:
    """`SolverFactory("omlt_ext.highs").solve(model)`: any mixed-integer linear Pyomo model, with or without networks.

    Keywords of `solve` (and of the constructor, as defaults): `time_limit` in seconds; `gap`, relative (HiGHS's 1e-4
    by default); `tee` prints HiGHS's log; `warmstart` (default True) starts from the variables' values where they
    have some, and else from a forward pass; `load_solutions`; `check_tolerance`; `options`, a dict of HiGHS's own
    options. An unknown keyword raises `TypeError`, an unknown option `SolverError`.

    The solution is compared with every network: |y - f(x)|_inf <= check_tolerance (1 + |f(x)|_inf). Where it is not
    within that, HiGHS solves again with the binaries fixed to the networks' own pattern at that point; if that does
    not help either, the status is `warning`, the message says by how much, and the same is logged.
    The results object has HiGHS's *dual* bound as the problem's other bound.

    Where a formulation has cuts ("ideal_cuts"), those that the LP relaxation violates are added first, within a fifth
    of the time limit. A network whose formulation is a relaxation is not compared: the optimum then bounds that of the
    network itself.

    Raises `ModelError` for models that are not mixed-integer linear.
    """

    def __init__(self, **defaults: Any) -> None:
        defaults.pop("type", None)
        self.options = Bunch()
        for name, value in (defaults.pop("options", None) or {}).items():
            self.options[name] = value
        self._defaults = {**_DEFAULTS, **_known(defaults)}

    def available(self, exception_flag: bool = True) -> bool:
        return True

    def license_is_valid(self) -> bool:
        return True

    def version(self) -> tuple[int, ...]:
        import highspy

        highs = highspy.Highs()
        return highs.versionMajor(), highs.versionMinor(), highs.versionPatch()

    def warm_start_capable(self) -> bool:
        return True

    def __enter__(self) -> NetworkHighs:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def solve(self, model: Any, *, options: Mapping[str, object] | None = None, **keywords: Any) -> SolverResults:
        """Solve `model`, load the best point into its variables and return Pyomo's results object."""
        settings = {**self._defaults, **_known(keywords)}
        _check_numbers(settings)
        begin = time.perf_counter()
        compiled = compile_model(model)
        check_surroundings(compiled.blocks, model)
        if compiled.contradiction is not None:
            result = SolveResult("infeasible", None, None, None, 0, 0.0)
            return _results(compiled, result, None, {**settings, "options": {}}, time.perf_counter() - begin)
        solver_options = {**self.options, **(options or {})}
        settings["options"] = solver_options
        limit = settings["time_limit"]
        deadline = None if limit is None else begin + float(limit)
        solver = HighsSolver(_with_cuts(compiled, deadline), solver_options, log=bool(settings["tee"]))
        if settings["warmstart"] and compiled.matrix.integer.any():
            start = find_start(compiled, deadline)
            if start is not None:
                solver.start_from(np.arange(start.size), start)
        result = _solve(solver, deadline, settings["gap"])
        if result.status == "infeasible" and compiled.matrix.networks:
            result = _confirmed(compiled.matrix, result, solver_options, deadline)
        point = None if result.x is None else check_point(compiled.matrix, result.x, settings["check_tolerance"])
        if point is not None and settings["load_solutions"]:
            compiled.load(point.x)
        elif point is None:
            logger.warning(
                f"omlt_ext.highs: {result.status.replace('_', ' ')}, no point found; variables stay as they are"
            )
        return _results(compiled, result, point, settings, time.perf_counter() - begin)


_DEFAULTS: dict[str, Any] = {
    "time_limit": None,
    "gap": None,
    "tee": False,
    "warmstart": True,
    "load_solutions": True,
    "check_tolerance": CHECK_TOLERANCE,
}


def _known(keywords: dict[str, Any]) -> dict[str, Any]:
    keywords = {("time_limit" if name == "timelimit" else name): value for name, value in keywords.items()}
    unknown = set(keywords) - set(_DEFAULTS)
    if unknown:
        raise TypeError(
            f"omlt_ext.highs: unknown keyword {sorted(unknown)[0]!r}; known: {', '.join(_DEFAULTS)}, options"
        )
    return keywords


def _check_numbers(settings: Mapping[str, Any]) -> None:
    for name in ("time_limit", "gap", "check_tolerance"):
        value = settings[name]
        if value is not None and not (isinstance(value, int | float) and value >= 0):
            raise OptionError(f"omlt_ext.highs: {name} is {value!r}; it must be a number of at least 0")


def _with_cuts(compiled: CompiledModel, deadline: float | None) -> MatrixModel:
    """The model with the cuts that its formulations have for the LP relaxation; itself where they have none."""
    separation = separation_of(compiled)
    if not separation:
        return compiled.matrix
    left = _left(deadline)
    return add_cuts(compiled.matrix, separation=separation, time_limit=None if left is None else CUT_SHARE * left).model


def _solve(solver: HighsSolver, deadline: float | None, gap: float | None) -> SolveResult:
    """The main solve; where HiGHS fails with presolve, which very wide ranges of numbers can do, once more without."""
    try:
        return solver.solve(time_limit=_left(deadline), gap=gap)
    except SolverError as error:
        logger.info(f"{error}; once more without presolve")
        solver.set_options({"presolve": "off"})
        return solver.solve(time_limit=_left(deadline), gap=gap)


def _confirmed(
    matrix: MatrixModel, result: SolveResult, options: Mapping[str, object], deadline: float | None
) -> SolveResult:
    """Ask again without presolve before a model with networks is called infeasible.

    HiGHS's presolve has been seen to lose feasible points where columns are narrower than its tolerances.
    """
    limit = min(max(START_SECONDS, 5.0 * result.seconds), np.inf if deadline is None else _left(deadline) or 0.0)
    again = HighsSolver(matrix, {**options, "presolve": "off"}).solve(time_limit=float(limit))
    return again if again.x is not None else result


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.perf_counter())


def _share(deadline: float | None) -> float:
    """Seconds that one step of the search for a start may take."""
    left = _left(deadline)
    return START_SECONDS if left is None else min(START_SECONDS, 0.2 * left)


def find_start(compiled: CompiledModel, deadline: float | None = None) -> Floats | None:
    """A feasible point: the model with every network held to its pattern at a candidate input, solved by HiGHS.

    Candidates: the variables' current values, the LP relaxation's point, the middle of the box. None where none of
    these patterns admits a point. With all binaries of the networks fixed only the user's own stay to be decided.
    Where the current values are a feasible point themselves, the start is never worse than they are.
    """
    matrix = compiled.matrix
    columns, values = compiled.values()
    given = _given(matrix, columns, values)
    if not matrix.networks:
        return _better(matrix, given, _complete(matrix, columns, values, deadline)) if columns.size else None
    for candidate in _candidates(matrix, columns, values, deadline):
        direct = _forward(matrix, candidate)
        if direct is not None:
            return _better(matrix, given, direct)
        point = _better(matrix, given, _complete(matrix, *pattern_columns(matrix, candidate), deadline))
        if point is not None:
            return point
    return None


def _forward(matrix: MatrixModel, candidate: Floats) -> Floats | None:
    """The forward pass itself, where the networks' columns are all there are and it is feasible."""
    point = np.full(matrix.n_columns, np.nan)
    for network in matrix.networks:
        low, high = matrix.lower[network.inputs], matrix.upper[network.inputs]
        columns, values = network.point(np.clip(candidate[network.inputs], low, high))
        point[columns] = values
        present = network.outputs != ZERO
        point[network.outputs[present]] = network.network(point[network.inputs])[present]
    return point if not np.isnan(point).any() and matrix.violation(point) <= START_TOLERANCE else None


def _attempt(matrix: MatrixModel, options: Mapping[str, object] | None = None, **keywords: Any) -> Floats | None:
    """The point of a solve that may help and need not: None where HiGHS finds none or fails."""
    try:
        return HighsSolver(matrix, options).solve(**keywords).x
    except SolverError as error:
        logger.info(f"a solve beside the main one failed: {error}")
        return None


def _given(matrix: MatrixModel, columns: np.ndarray[Any, Any], values: Floats) -> Floats | None:
    """The point that the variables' values are, None where some have none or where it is not feasible."""
    if columns.size < matrix.n_columns:
        return None
    point = np.empty(matrix.n_columns)
    point[columns] = values
    return point if matrix.violation(point) <= START_TOLERANCE else None


def _better(matrix: MatrixModel, one: Floats | None, other: Floats | None) -> Floats | None:
    if one is None or other is None:
        return other if one is None else one
    sign = -1.0 if matrix.maximize else 1.0
    return min(one, other, key=lambda x: sign * matrix.value(x))


def _candidates(
    matrix: MatrixModel, columns: np.ndarray[Any, Any], values: Floats, deadline: float | None
) -> Iterator[Floats]:
    low, high = np.maximum(matrix.lower, -1e6), np.minimum(matrix.upper, 1e6)
    middle = 0.5 * (low + high)
    inputs = np.concatenate([network.inputs for network in matrix.networks])
    if np.isin(inputs, columns).all():
        current = middle.copy()
        current[columns] = values
        yield current
    relaxed = _attempt(matrix.relax(), time_limit=_share(deadline))
    if relaxed is not None:
        yield relaxed
    yield middle


def pattern_columns(matrix: MatrixModel, x: Floats) -> tuple[np.ndarray[Any, Any], Floats]:
    """(columns, values) of the networks' binaries in their own patterns at the inputs in x."""
    columns, values = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for network in matrix.networks:
        low, high = matrix.lower[network.inputs], matrix.upper[network.inputs]
        at, what = network.point(np.clip(x[network.inputs], low, high))
        whole = matrix.integer[at] & ~np.isin(at, network.inputs)
        columns.append(at[whole])
        values.append(what[whole])
    return np.concatenate(columns), np.concatenate(values)


def _complete(
    matrix: MatrixModel, columns: np.ndarray[Any, Any], values: Floats, deadline: float | None
) -> Floats | None:
    """The best feasible point with the integer ones among `columns` fixed, None where there is none in time."""
    whole = matrix.integer[columns]
    fixed = matrix.fix(columns[whole], np.round(values[whole]))
    x = _attempt(fixed, time_limit=_share(deadline), gap=1e-2)
    return x if x is not None and matrix.violation(x) <= 10 * START_TOLERANCE * max(1.0, np.abs(x).max()) else None


def check_point(matrix: MatrixModel, x: Floats, tolerance: float) -> CheckedPoint:
    """Hold x against the networks; where it differs by more than `tolerance`, settle it by an LP on the pattern.

    That LP has every integer column fixed: the networks' binaries to the pattern at x, the others to their rounding.
    """
    point = CheckedPoint(x, matrix.value(x), _error(matrix, x))
    if point.error <= tolerance:
        return point
    whole = np.flatnonzero(matrix.integer)
    rounded = x.copy()
    rounded[whole] = np.round(x[whole])
    columns, values = pattern_columns(matrix, x)
    rounded[columns] = values
    settled = _attempt(matrix.fix(whole, rounded[whole]).relax(), {"primal_feasibility_tolerance": 1e-9})
    if settled is None:
        return point
    error = _error(matrix, settled)
    return CheckedPoint(settled, matrix.value(settled), error) if error < point.error else point


def _loosened(matrix: MatrixModel) -> bool:
    """Whether a network's columns or rows are not all there as they were encoded."""
    rows = sum(group.neuron.size for network in matrix.networks for e in network.encodings for group in e.rows)
    for network in matrix.networks:
        for encoding, groups in zip(network.encodings, network.groups, strict=True):
            if any(group.integer and not matrix.integer[groups[group.name]].all() for group in encoding.columns):
                return True
    return matrix.n_rows < rows


def _error(matrix: MatrixModel, x: Floats) -> float:
    """The largest difference from a network; relaxations are meant to differ."""
    return max((network.error(x) for network in matrix.networks if network.exact), default=0.0)


def _results(
    compiled: CompiledModel,
    result: SolveResult,
    point: CheckedPoint | None,
    settings: Mapping[str, Any],
    seconds: float,
) -> SolverResults:
    """Pyomo's results object: the value of the point that is returned, HiGHS's dual bound, status and counts."""
    matrix = compiled.matrix
    message = f"{result.status.replace('_', ' ')} after {result.nodes} nodes"
    wrong = point is not None and point.error > settings["check_tolerance"]
    if wrong:  # what HiGHS proved, it proved about a model that its point does not fit
        result = replace(result, bound=None)
    if result.status == "optimal" and point is not None and result.bound is not None:
        # HiGHS's own absolute gap and a settled point both have to close the gap that was asked for
        gap = (result.bound - point.value) * (1.0 if matrix.maximize else -1.0)
        allowed = max(1e-4 if settings["gap"] is None else settings["gap"], 1e-6) * abs(point.value) + ABSOLUTE_GAP
        if gap < -allowed:  # the point refutes the bound
            message = (
                f"HiGHS's bound {result.bound:.9g} contradicts the point's value {point.value:.9g}: no bound is given"
            )
            result = replace(result, status="limit", bound=None)
        elif gap > allowed and "mip_rel_gap" not in settings["options"] and "mip_abs_gap" not in settings["options"]:
            result = replace(result, status="limit")
            message = f"the value {point.value:.9g} and the bound {result.bound:.9g} lie further apart than asked for"
    results = SolverResults()
    problem, solver = results.problem, results.solver
    problem.name = getattr(compiled.objective, "name", "feasibility")
    problem.sense = pyo.maximize if matrix.maximize else pyo.minimize
    problem.number_of_variables, problem.number_of_constraints = matrix.n_columns, matrix.n_rows
    problem.number_of_binary_variables = int(matrix.integer.sum())
    problem.number_of_nonzeros = int(matrix.A.nnz)
    value = None if point is None or wrong else point.value
    infinity = float("inf")
    below, above = (value, result.bound) if matrix.maximize else (result.bound, value)
    problem.lower_bound = -infinity if below is None else below
    problem.upper_bound = infinity if above is None else above
    problem.number_of_solutions = 0 if point is None else 1
    solver.name = "omlt_ext.highs"
    solver.termination_condition = _TERMINATION[result.status]
    solver.status = {
        "optimal": SolverStatus.ok,
        "time_limit": SolverStatus.aborted if point is None else SolverStatus.ok,
        "interrupted": SolverStatus.aborted,
    }.get(result.status, SolverStatus.warning)
    solver.wallclock_time = seconds
    solver.statistics.branch_and_bound.number_of_bounded_subproblems = result.nodes
    solver.message = message
    if compiled.contradiction is not None:
        solver.message = compiled.contradiction
    if not all(network.exact for network in matrix.networks):
        solver.message += "; a network is relaxed: the point need not be its own, and the value is a bound"
    if point is not None and wrong:
        remedy = "tighten HiGHS's mip_feasibility_tolerance or the bounds of the inputs"
        if _loosened(matrix):
            remedy = "its binaries are relaxed, or rows of it are deactivated, so that the model does not force it to"
        message = (
            f"the solution differs from the network by {point.error:.3g} (relative), more than the tolerance "
            f"{settings['check_tolerance']:.3g}: {remedy}"
        )
        solver.status, solver.message = SolverStatus.warning, message
        solver.termination_condition = TerminationCondition.other
        logger.warning(message)
    return results
