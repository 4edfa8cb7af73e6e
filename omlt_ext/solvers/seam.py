"""What every solver takes and gives back: arrays in; status, value, dual bound, point and multipliers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..domain import Floats, Ints
from ..milp import MatrixModel

TOLERANCE = 1e-6  # of a dual bound, relative to max(1, |bound|): the solvers' feasibility tolerance
LOWER, BASIC, UPPER = 0, 1, 2  # states of columns and rows in a basis: at an end, or between

States: TypeAlias = NDArray[np.int8]
# (a better point or None, the dual bound) -> whether to stop
Watch: TypeAlias = Callable[["Floats | None", float], "bool | None"]


@dataclass(frozen=True, eq=False)
class SolveResult:
    """What a solve ended with.

    `status`: "optimal", "infeasible", "unbounded", "infeasible_or_unbounded", "time_limit", "limit" (another one),
    "stopped" (by `watch`) or "interrupted" (by Ctrl-C). `x` and `value` are the best feasible point, None without one.
    `bound` is the solver's *dual* bound on the optimum (not its incumbent), None where it has none.
    """

    status: str
    x: Floats | None
    value: float | None
    bound: float | None
    nodes: int
    seconds: float


class Solver(Protocol):
    """One model that lives across solves; `HighsSolver` says what each method does."""

    def __init__(
        self, model: MatrixModel, options: Mapping[str, object] | None = None, *, log: bool = False
    ) -> None: ...

    def replace(self, model: MatrixModel) -> None: ...

    def set_objective(self, c: Floats, *, maximize: bool, offset: float = 0.0) -> None: ...

    def set_bounds(self, columns: Ints, lower: ArrayLike, upper: ArrayLike) -> None: ...

    def start_from(self, columns: Ints, values: Floats) -> None: ...

    def start_basis(self, columns: States, rows: States) -> None: ...

    def basis(self) -> tuple[States, States]: ...

    def solve(
        self,
        *,
        time_limit: float | None = None,
        gap: float | None = None,
        absolute_gap: float | None = None,
        watch: Watch | None = None,
    ) -> SolveResult: ...

    def reduced_costs(self) -> Floats: ...

    def row_multipliers(self) -> Floats: ...


def lowered(bound: float) -> float:
    """A dual bound of a minimum, less the solver's tolerance.

    >>> lowered(1000.0)
    999.999
    """
    return bound - TOLERANCE * max(1.0, abs(bound))


def raised(bound: float) -> float:
    """A dual bound of a maximum, and the solver's tolerance.

    >>> raised(1000.0)
    1000.001
    """
    return -lowered(-bound)
