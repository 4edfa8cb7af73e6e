"""Gurobi behind the same seam as HiGHS: one model that lives across solves. Needs the extra `gurobi`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ..domain import Floats, Ints
from ..errors import LicenceError, MissingDependencyError, SolverError
from ..logic import Logic
from ..milp import MatrixModel
from ..separation import Separation
from .scaling import factors, row_factors, scale_model
from .seam import BASIC, LOWER, UPPER, SolveResult, States, Watch

try:
    import gurobipy as _gurobipy
except ImportError:
    _gurobipy = None  # type: ignore[assignment, unused-ignore]
gurobipy: Any = _gurobipy
GRB: Any = None if gurobipy is None else gurobipy.GRB

STATUS = {
    2: "optimal",
    3: "infeasible",
    4: "infeasible_or_unbounded",
    5: "unbounded",
    7: "limit",
    8: "limit",
    9: "time_limit",
    10: "limit",
    11: "interrupted",
    13: "limit",
    15: "limit",
    16: "limit",
    17: "limit",
}
NO_LICENCE, TOO_LARGE = 10009, 10010


class GurobiSolver:
    """One Gurobi model that lives across solves; methods and results are those of `HighsSolver`.

    `options` are Gurobi's own parameters. One thread unless they say otherwise, so that a run can be repeated. Raises
    `MissingDependencyError` where gurobipy is not installed; `LicenceError` where there is no licence, or where the
    model is larger than it allows (2,000 columns and 2,000 rows for the one that comes with gurobipy); `SolverError`
    for an unknown parameter and where a solve fails.

    Where separators in the model ask for a callback, Gurobi gets the cuts that its nodes' relaxations violate, with its
    parameter PreCrush set; at each node after the root once. `cuts` counts those of the last solve.
    """

    def __init__(self, model: MatrixModel, options: Mapping[str, object] | None = None, *, log: bool = False) -> None:
        if gurobipy is None:
            raise MissingDependencyError("Gurobi needs gurobipy; install it with: pip install 'omlt-ext[gurobi]'")
        with _errors(model):
            self._env: Any = gurobipy.Env(params={"OutputFlag": int(log)})
            for name, value in ({"Threads": 1} | dict(options or {})).items():
                self._env.setParam(name, value)
        self.replace(model)

    def replace(self, model: MatrixModel) -> None:
        """Take another model in place of this one; options stay."""
        self._given, self.cuts = model, 0
        self._separation = Separation(model)
        scaled, self._scaling = scale_model(model)
        self._row_scaling = row_factors(model, self._scaling)
        low, high = scaled.row_lower, scaled.row_upper
        between = np.flatnonzero((low < high) & np.isfinite(low) & np.isfinite(high))  # a column each: A x - s = 0
        self._ranges = between.size
        own = sparse.csr_array((-np.ones(between.size), (between, np.arange(between.size))), (low.size, between.size))
        A = sparse.hstack([scaled.A, own], format="csr")
        senses = np.where(np.isfinite(high), "<", ">")
        senses[low == high] = "="
        sides = np.where(np.isfinite(high), high, low)
        senses[between], sides[between] = "=", 0.0
        ends = [np.concatenate([scaled.lower, low[between]]), np.concatenate([scaled.upper, high[between]])]
        kinds = np.where(
            np.concatenate([model.integer, np.zeros(between.size, dtype=bool)]), GRB.INTEGER, GRB.CONTINUOUS
        )
        with _errors(model):
            self._model: Any = gurobipy.Model(env=self._env)
            self._x: Any = self._model.addMVar(A.shape[1], lb=ends[0], ub=ends[1], vtype=kinds)
            self._rows: Any = self._model.addMConstr(A, self._x, senses, sides)
            if scaled.logic:
                add_logic(self._model, self._x.tolist(), scaled.logic)
            self._model.update()
        self.set_objective(model.c, maximize=model.maximize, offset=model.offset)

    def set_objective(self, c: Floats, *, maximize: bool, offset: float = 0.0) -> None:
        """Replace the objective."""
        self._x.Obj = np.concatenate([c * self._scaling, np.zeros(self._ranges)])
        self._model.ObjCon = offset
        self._model.ModelSense = GRB.MAXIMIZE if maximize else GRB.MINIMIZE

    def set_bounds(self, columns: Ints, lower: ArrayLike, upper: ArrayLike) -> None:
        """Replace the bounds of some columns."""
        chosen, unit = self._x[columns], self._scaling[columns]
        chosen.LB, chosen.UB = (np.broadcast_to(end, columns.shape) / unit for end in (lower, upper))

    def start_from(self, columns: Ints, values: Floats) -> None:
        """Give Gurobi a start: values for some columns."""
        self._x[columns].Start = np.asarray(values, dtype=np.float64) / self._scaling[columns]

    def start_basis(self, columns: States, rows: States) -> None:
        """Start the next LP from a basis; a wrong number of basic columns and rows is left out."""
        if self._ranges or np.count_nonzero(columns == BASIC) + np.count_nonzero(rows == BASIC) != rows.size:
            return
        self._x.VBasis = np.choose(columns, [GRB.NONBASIC_LOWER, GRB.BASIC, GRB.NONBASIC_UPPER])
        self._rows.CBasis = np.where(rows == BASIC, GRB.BASIC, GRB.NONBASIC_LOWER)

    def basis(self) -> tuple[States, States]:
        """The state of every column and row where the last LP ended; a row that is tight counts as its lower end."""
        known = {GRB.BASIC: BASIC, GRB.NONBASIC_LOWER: LOWER, GRB.NONBASIC_UPPER: UPPER, GRB.SUPERBASIC: LOWER}
        states = [np.array([known[int(code)] for code in part], dtype=np.int8) for part in self._codes()]
        return states[0][: self._scaling.size], states[1]

    def _codes(self) -> tuple[Any, Any]:
        with _errors(self._given):
            return self._x.VBasis, self._rows.CBasis

    def solve(
        self,
        *,
        time_limit: float | None = None,
        gap: float | None = None,
        absolute_gap: float | None = None,
        watch: Watch | None = None,
    ) -> SolveResult:
        """Solve; `time_limit` in seconds, `gap` relative to the value. Ctrl-C ends the solve, the best point is kept.

        `watch` is called while a model with integers is solved, as by `HighsSolver`.
        """
        begin = time.perf_counter()
        model, stopped = self._model, False
        separates = model.IsMIP and self._separation.callback
        its_turn = turns(self._separation.rounds)
        self.cuts = 0

        def call(running: Any, where: int) -> None:
            nonlocal stopped
            if where == GRB.Callback.MIPSOL:
                x = np.asarray(running.cbGetSolution(self._x))[: self._scaling.size] * self._scaling
                enough = watch is not None and watch(x, _known(running.cbGet(GRB.Callback.MIPSOL_OBJBND)))
            elif where == GRB.Callback.MIP:
                enough = watch is not None and watch(None, _known(running.cbGet(GRB.Callback.MIP_OBJBND)))
            elif where == GRB.Callback.MIPNODE and separates:
                if its_turn(running):
                    self._cut(running)
                return
            else:
                return
            if enough:
                stopped = True
                running.terminate()

        limits = {"TimeLimit": time_limit, "MIPGap": gap, "MIPGapAbs": absolute_gap}
        with _errors(self._given):
            for name, value in limits.items():
                if value is not None:
                    model.setParam(name, max(0.0, float(value)))
                elif name == "TimeLimit":
                    model.setParam(name, GRB.INFINITY)
            if separates:
                model.setParam("PreCrush", 1)
            model.optimize(*([call] if separates or watch is not None else []))
        if model.Status not in STATUS:
            raise SolverError(f"Gurobi failed with its status {model.Status}")
        status = "stopped" if stopped and STATUS[model.Status] == "interrupted" else STATUS[model.Status]
        x = value = bound = None
        if model.SolCount > 0 and status not in ("infeasible", "unbounded", "infeasible_or_unbounded"):
            x = np.asarray(self._x.X)[: self._scaling.size] * self._scaling
            value = float(model.ObjVal)
        if model.IsMIP and status != "infeasible":
            bound = _finite(model.ObjBound)
        elif status == "optimal":
            bound = value
        nodes = int(model.NodeCount) if model.IsMIP else 0
        return SolveResult(status, x, value, bound, nodes, time.perf_counter() - begin)

    def _cut(self, running: Any) -> None:
        """Give Gurobi the cuts that the relaxation of the node at hand violates, in its units."""
        unit = self._scaling
        cuts = self._separation(np.asarray(running.cbGetNodeRel(self._x))[: unit.size] * unit)
        rows = factors(cuts.A, unit)
        A = sparse.csr_array(sparse.diags_array(1.0 / rows) @ cuts.A @ sparse.diags_array(unit))
        for _, row, sense, side in sides(A, self._x.tolist(), cuts.lower / rows, cuts.upper / rows):
            running.cbCut(row, sense, side)
        self.cuts += cuts.size

    def reduced_costs(self) -> Floats:
        """The reduced cost of every column where the last solve ended, without integers only; 0 where there is none."""
        return self._multipliers(self._x, "RC", self._scaling)

    def row_multipliers(self) -> Floats:
        """The multiplier of every row where the last solve ended, without integers only; 0 where there is none."""
        return self._multipliers(self._rows, "Pi", self._row_scaling)

    def _multipliers(self, part: Any, name: str, unit: Floats) -> Floats:
        try:
            values = np.asarray(getattr(part, name), dtype=np.float64)
        except (gurobipy.GurobiError, AttributeError):  # a solve that was cut off
            return np.zeros_like(unit)
        return values[: unit.size] / unit


def add_rows(model: Any, A: Any, variables: list[Any], low: Floats, high: Floats) -> list[Any]:
    """Add every finite side of the rows low <= A x <= high to a Gurobi model, an equation once; return what was added.

    `A` (rows, variables) CSR.
    """
    even, added = low == high, []
    sides = {"=": (even, high), "<": (~even & np.isfinite(high), high), ">": (~even & np.isfinite(low), low)}
    for sense, (chosen, side) in sides.items():
        if chosen.any():
            added += model.addMConstr(A[chosen], variables, sense, side[chosen]).tolist()
    return added


def add_logic(model: Any, variables: list[Any], logic: Logic) -> list[Any]:
    """Add pairs as SOS1 sets and indicators as general constraints to a Gurobi model; return what was added."""
    pairs = zip(logic.first.tolist(), logic.second.tolist(), strict=True)
    added = [model.addSOS(GRB.SOS_TYPE1, [variables[a], variables[b]]) for a, b in pairs]
    binary, value = logic.binary.tolist(), logic.value.tolist()
    for i, row, sense, side in sides(logic.A, variables, logic.lower, logic.upper):
        added.append(model.addGenConstrIndicator(variables[binary[i]], bool(value[i]), row, sense, side))
    return added


def sides(A: Any, variables: list[Any], lower: Floats, upper: Floats) -> Iterator[tuple[int, Any, str, float]]:
    """(i, expression, sense, side) for every finite side of the rows lower <= A x <= upper, an equation once."""
    for i, (low, high) in enumerate(zip(lower.tolist(), upper.tolist(), strict=True)):
        part = slice(A.indptr[i], A.indptr[i + 1])
        row = gurobipy.LinExpr(A.data[part].tolist(), [variables[c] for c in A.indices[part].tolist()])
        ends = [(GRB.EQUAL, low)] if low == high else [(GRB.GREATER_EQUAL, low), (GRB.LESS_EQUAL, high)]
        yield from ((i, row, sense, side) for sense, side in ends if np.isfinite(side))


def turns(rounds: int) -> Callable[[Any], bool]:
    """Says in a MIPNODE callback whether to look for cuts: `rounds` times at the root, once at any other node."""
    left = {0: rounds}

    def its_turn(running: Any) -> bool:
        if running.cbGet(GRB.Callback.MIPNODE_STATUS) != GRB.OPTIMAL:
            return False
        node = int(running.cbGet(GRB.Callback.MIPNODE_NODCNT))
        left[node] = left.get(node, 1) - 1
        return left[node] >= 0

    return its_turn


@contextmanager
def _errors(model: MatrixModel) -> Iterator[None]:
    """Gurobi's errors as ours."""
    try:
        yield
    except gurobipy.GurobiError as error:
        if error.errno == TOO_LARGE:
            size = f"{model.n_columns} columns and {model.n_rows} rows"
            raise LicenceError(
                f"Gurobi's licence here does not allow a model of {size} (the one that comes with gurobipy: 2,000 of "
                "each); use the solver 'highs', or install a full licence"
            ) from None
        kind = LicenceError if error.errno == NO_LICENCE else SolverError
        raise kind(f"Gurobi refuses: {error}") from None


def _known(bound: float) -> float:
    return float(bound) if abs(bound) < GRB.INFINITY else float(np.copysign(np.inf, bound))


def _finite(bound: float) -> float | None:
    return float(bound) if abs(bound) < GRB.INFINITY else None
