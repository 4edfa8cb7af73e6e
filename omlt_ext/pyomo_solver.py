"""SolverFactory("omlt_ext.highs"): a Pyomo model with networks in it, solved by HiGHS through arrays and checked.

The solve starts from a feasible point that a forward pass gives, and what it ends with is held against the networks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.opt import SolverResults, SolverStatus, TerminationCondition

from .bridge import CompiledModel, compile_model
from .cut_rounds import add_cuts
from .domain import Floats
from .errors import OptionError, SolverError
from .milp import MatrixModel
from .pyomo_cuts import separation_of
from .pyomo_door import TERMINATION, PyomoSolver, renamed
from .pyomo_results import results_of
from .pyomo_search import SearchSettings, search_model
from .pyomo_start import START_SECONDS, CheckedPoint, check_point, find_start, seconds_left
from .search.heuristic import Heuristic, heuristic
from .solvers import HighsSolver, SolveResult
from .surroundings import check_surroundings

logger = logging.getLogger("omlt_ext")

CHECK_TOLERANCE = 1e-5
CUT_SHARE = 0.2  # of the time limit, that cuts may take before the search
HEURISTIC_SHARE = 0.25  # of the time limit, that a heuristic may take before the search
ABSOLUTE_GAP = 2e-6  # HiGHS's mip_abs_gap and a rounding


@pyo.SolverFactory.register(
    "omlt_ext.highs", doc="HiGHS through arrays, for models with ReLUBlocks; solutions are checked"
)
class NetworkHighs(PyomoSolver):
    """`SolverFactory("omlt_ext.highs").solve(model)`: any mixed-integer linear Pyomo model, with or without networks.

    Keywords of `solve` (and of the constructor, as defaults): `time_limit` in seconds; `gap`, relative (HiGHS's 1e-4
    by default); `tee` prints HiGHS's log; `warmstart` (default True) starts from the variables' values where they
    have some, and else from a forward pass; `load_solutions`; `check_tolerance`; `options`, a dict of HiGHS's own
    options. An unknown keyword raises `TypeError`, an unknown option `SolverError`.

    The solution is compared with every network: |y - f(x)|_inf <= check_tolerance (1 + |f(x)|_inf). Where it is not
    within that, HiGHS solves again with the binaries fixed to the networks' own pattern at that point; if that does
    not help either, the status is `warning`, the message says by how much, and the same is logged.
    The results object has HiGHS's *dual* bound as the problem's other bound.

    `heuristic`, a name ("auto", "relaxing_walk", ...) or an object, searches for a start first, for `heuristic_time`
    seconds (by default a quarter of the time limit, or 10 s); what is returned is never worse than what it found. Where
    the model has no networks there is nothing for it to search.

    Where a formulation has cuts ("ideal_cuts"), those that the LP relaxation violates are added first, within a fifth
    of the time limit. A network whose formulation is a relaxation is not compared: the optimum then bounds that of the
    network itself.

    Raises `ModelError` for models that are not mixed-integer linear.
    """

    def __init__(self, **defaults: Any) -> None:
        self._defaults = {**_DEFAULTS, **_known(self.take_options(defaults))}

    def version(self) -> tuple[int, ...]:
        import highspy

        highs = highspy.Highs()
        return highs.versionMajor(), highs.versionMinor(), highs.versionPatch()

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
        start = _searched(compiled, settings, deadline)
        found = start
        if start is None and settings["warmstart"] and compiled.matrix.integer.any():
            start = find_start(compiled, deadline)
        if start is not None:
            solver.start_from(np.arange(start.size), start)
        result = _solve(solver, deadline, settings["gap"])
        if result.status == "infeasible" and compiled.matrix.networks:
            result = _confirmed(compiled.matrix, result, solver_options, deadline)
        result = _at_least(compiled.matrix, result, found)
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
    "heuristic": None,
    "heuristic_time": None,
}


def _known(keywords: dict[str, Any]) -> dict[str, Any]:
    keywords = renamed(keywords)
    unknown = set(keywords) - set(_DEFAULTS)
    if unknown:
        raise TypeError(
            f"omlt_ext.highs: unknown keyword {sorted(unknown)[0]!r}; known: {', '.join(_DEFAULTS)}, options"
        )
    return keywords


def _check_numbers(settings: Mapping[str, Any]) -> None:
    for name in ("time_limit", "gap", "check_tolerance", "heuristic_time"):
        value = settings[name]
        if value is not None and not (isinstance(value, int | float) and value >= 0):
            raise OptionError(f"omlt_ext.highs: {name} is {value!r}; it must be a number of at least 0")


def _searched(compiled: CompiledModel, settings: Mapping[str, Any], deadline: float | None) -> Floats | None:
    """The best point that the heuristic finds, where one is asked for; no time limit cuts off more than there is."""
    if settings["heuristic"] is None:
        return None
    chosen: Heuristic = heuristic(settings["heuristic"])
    if not compiled.matrix.networks:
        return None
    left, seconds = seconds_left(deadline), settings["heuristic_time"]
    if seconds is None:
        seconds = START_SECONDS if left is None else HEURISTIC_SHARE * left
    search = SearchSettings(float(seconds if left is None else min(seconds, left)), warmstart=settings["warmstart"])
    return search_model(compiled, chosen, search).x


def _at_least(matrix: MatrixModel, result: SolveResult, start: Floats | None) -> SolveResult:
    """The result, with the start in place of a point that is worse than it."""
    if start is None:
        return result
    value, sign = matrix.value(start), 1.0 if matrix.maximize else -1.0
    if result.x is not None and sign * matrix.value(result.x) >= sign * value:
        return result
    status, bound = ("limit", None) if result.status == "infeasible" else (result.status, result.bound)
    return replace(result, x=start, value=value, status=status, bound=bound)


def _with_cuts(compiled: CompiledModel, deadline: float | None) -> MatrixModel:
    """The model with the cuts that its formulations have for the LP relaxation; itself where they have none."""
    separation = separation_of(compiled)
    if not separation:
        return compiled.matrix
    left = seconds_left(deadline)
    return add_cuts(compiled.matrix, separation=separation, time_limit=None if left is None else CUT_SHARE * left).model


def _solve(solver: HighsSolver, deadline: float | None, gap: float | None) -> SolveResult:
    """The main solve; where HiGHS fails with presolve, which very wide ranges of numbers can do, once more without."""
    try:
        return solver.solve(time_limit=seconds_left(deadline), gap=gap)
    except SolverError as error:
        logger.info(f"{error}; once more without presolve")
        solver.set_options({"presolve": "off"})
        return solver.solve(time_limit=seconds_left(deadline), gap=gap)


def _confirmed(
    matrix: MatrixModel, result: SolveResult, options: Mapping[str, object], deadline: float | None
) -> SolveResult:
    """Ask again without presolve before a model with networks is called infeasible.

    HiGHS's presolve has been seen to lose feasible points where columns are narrower than its tolerances.
    """
    limit = min(max(START_SECONDS, 5.0 * result.seconds), np.inf if deadline is None else seconds_left(deadline) or 0.0)
    again = HighsSolver(matrix, {**options, "presolve": "off"}).solve(time_limit=float(limit))
    return again if again.x is not None else result


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
    value = None if point is None or wrong else point.value
    results = results_of(compiled, "omlt_ext.highs", value, result.bound, 0 if point is None else 1, seconds)
    solver = results.solver
    solver.termination_condition = TERMINATION.get(result.status, TerminationCondition.other)
    solver.status = {
        "optimal": SolverStatus.ok,
        "time_limit": SolverStatus.aborted if point is None else SolverStatus.ok,
        "interrupted": SolverStatus.aborted,
    }.get(result.status, SolverStatus.warning)
    solver.statistics.branch_and_bound.number_of_bounded_subproblems = result.nodes
    solver.message = message
    if compiled.contradiction is not None:
        solver.message = compiled.contradiction
    if not all(network.exact for network in matrix.networks):
        solver.message += "; a network is relaxed: the point need not be its own, and the value is a bound"
    if point is not None and wrong:
        remedy = "tighten HiGHS's mip_feasibility_tolerance or the bounds of the inputs"
        if compiled.loosened:
            remedy = "its binaries are relaxed, or rows of it are deactivated, so that the model does not force it to"
        message = (
            f"the solution differs from the network by {point.error:.3g} (relative), more than the tolerance "
            f"{settings['check_tolerance']:.3g}: {remedy}"
        )
        solver.status, solver.message = SolverStatus.warning, message
        solver.termination_condition = TerminationCondition.other
        logger.warning(message)
    return results
