"""Pyomo's results object for a compiled model: sizes, the value of the point that is returned, and what is proved."""

from __future__ import annotations

import pyomo.environ as pyo
from pyomo.opt import SolverResults

from .bridge import CompiledModel


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
