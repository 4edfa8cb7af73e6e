"""Pyomo's results object for a compiled model: sizes, the value of the point that is returned, and what is proved."""

from __future__ import annotations

import pyomo.environ as pyo
from pyomo.opt import SolverResults, SolverStatus, TerminationCondition

from .bridge import CompiledModel
from .pyomo_door import TERMINATION
from .pyomo_search import Found


def results_of(
    compiled: CompiledModel, name: str, value: float | None, bound: float | None, solutions: int, seconds: float
) -> SolverResults:
    """The results of the solver `name`, without status and termination.

    `value` is that of the point, `bound` what is proved on the other side, both in the model's own sense; None: none.
    """
    results = SolverResults()
    problem, matrix = results.problem, compiled.matrix
    problem.name = getattr(compiled.objective, "name", "feasibility")
    problem.sense = pyo.maximize if matrix.maximize else pyo.minimize
    problem.number_of_variables, problem.number_of_constraints = matrix.n_columns, matrix.n_rows
    problem.number_of_binary_variables = int(matrix.integer.sum())
    problem.number_of_nonzeros = int(matrix.A.nnz)
    below, above = (value, bound) if matrix.maximize else (bound, value)
    problem.lower_bound = -float("inf") if below is None else below
    problem.upper_bound = float("inf") if above is None else above
    problem.number_of_solutions = solutions
    results.solver.name = name
    results.solver.wallclock_time = seconds
    return results


def results_of_search(compiled: CompiledModel, name: str, found: Found, seconds: float) -> SolverResults:
    """The results of the solver `name`, which ended with `found`."""
    point = found.x is not None
    results = results_of(compiled, name, found.value, found.bound, int(point), seconds)
    solver = results.solver
    ended = TerminationCondition.feasible if point else TerminationCondition.noSolution
    solver.termination_condition = TERMINATION.get(found.status, ended)
    solver.status = SolverStatus.ok if point else SolverStatus.warning
    if found.status == "interrupted" or (found.status == "time_limit" and not point):
        solver.status = SolverStatus.aborted
    solver.statistics.branch_and_bound.number_of_bounded_subproblems = found.nodes
    solver.message = ending(found)
    return results


def ending(found: Found) -> str:
    """A sentence on how a search ended."""
    what = {
        "optimal": "the gap is closed",
        "infeasible": "the model is infeasible",
        "time_limit": "the time limit was reached",
        "interrupted": "interrupted",
    }.get(found.status, "the search has ended")
    point = "" if found.x is not None or found.status == "infeasible" else ", no point found"
    return f"{what}{point}" + (f"; {found.message}" if found.message else "")
