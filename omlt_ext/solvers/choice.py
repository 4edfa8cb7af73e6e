"""A solver by its name."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import OptionError
from ..milp import MatrixModel
from .highs import HighsSolver
from .seam import Solver


def open_solver(name: str, model: MatrixModel, options: Mapping[str, object] | None = None) -> Solver:
    """The solver "highs", "scip" or "gurobi" on a model, with options of its own.

    Raises `MissingDependencyError` where the Python package of SCIP or Gurobi is not installed, `OptionError` for
    another name.
    """
    if name == "highs":
        return HighsSolver(model, options)
    if name == "scip":
        from .scip import ScipSolver  # pyscipopt is an extra

        return ScipSolver(model, options)
    if name == "gurobi":
        from .gurobi import GurobiSolver  # gurobipy is an extra

        return GurobiSolver(model, options)
    raise OptionError(f"solver is {name!r}; choose 'highs', 'scip' or 'gurobi'")
