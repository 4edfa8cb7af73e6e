"""SCIP behind the same seam as HiGHS: one model that lives across solves. Needs the extra `scip`, and no licence."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..domain import Floats, Ints
from ..errors import MissingDependencyError, SolverError
from ..milp import MatrixModel
from .scaling import row_factors, scale_model
from .scip_model import INFINITE, add_columns, add_logic, add_rows, set_ends
from .scip_watch import watcher
from .seam import BASIC, LOWER, UPPER, SolveResult, States, Watch

try:
    import pyscipopt as _pyscipopt
except ImportError:
    _pyscipopt = None  # type: ignore[assignment, unused-ignore]
pyscipopt: Any = _pyscipopt

TIGHT = 1e-9  # an end that the point is as close to as this counts as reached
SETTINGS: dict[str, object] = {
    "lp/threads": 1,
    "numerics/epsilon": 1e-12,  # SCIP drops smaller coefficients; its own 1e-9 is too coarse for many large inputs
    "heuristics/completesol/maxunknownrate": 1.0,  # a start is completed however little is given of it
}
# Multipliers belong to the LP as it was given: nothing may take it apart before, or add to it.
LP_SETTINGS: dict[str, object] = {
    "presolving/maxrounds": 0,
    "propagating/maxrounds": 0,
    "propagating/maxroundsroot": 0,
    "separating/maxroundsroot": 0,
}

_STATUS = {
    "optimal": "optimal",
    "gaplimit": "optimal",
    "infeasible": "infeasible",
    "unbounded": "unbounded",
    "inforunbd": "infeasible_or_unbounded",
    "timelimit": "time_limit",
    "userinterrupt": "interrupted",
    "terminate": "interrupted",
    "nodelimit": "limit",
    "totalnodelimit": "limit",
    "stallnodelimit": "limit",
    "memlimit": "limit",
    "sollimit": "limit",
    "bestsollimit": "limit",
    "restartlimit": "limit",
    "primallimit": "limit",
    "duallimit": "limit",
}


class ScipSolver:
    """One SCIP model that lives across solves; methods and results are those of `HighsSolver`.

    SOS1 sets and indicators are SCIP's own constraints. `options` are SCIP's own parameters. One thread, and no random
    seed but SCIP's fixed one, so that a run can be repeated. SCIP neither takes a basis nor gives one. Raises
    `MissingDependencyError` where PySCIPOpt is not installed, `SolverError` for an unknown parameter and where a solve
    fails.
    """

    def __init__(self, model: MatrixModel, options: Mapping[str, object] | None = None, *, log: bool = False) -> None:
        if pyscipopt is None:
            raise MissingDependencyError("SCIP needs PySCIPOpt; install it with: pip install 'omlt-ext[scip]'")
        self._options, self._log = dict(options or {}), log
        self.replace(model)

    def replace(self, model: MatrixModel) -> None:
        """Take another model in place of this one; options stay."""
        numbers = (model.c, model.A.data, model.lower, model.upper, model.row_lower, model.row_upper)
        if any(np.isnan(part).any() for part in numbers) or not np.isfinite(model.A.data).all():
            raise SolverError("SCIP refuses the model; are there NaN or infinite coefficients in it?")
        self._given = model
        self._plain = not (model.integer.any() or model.logic)
        scaled, self._scaling = scale_model(model)
        self._row_scaling = row_factors(model, self._scaling)
        self._lower, self._upper = scaled.lower.copy(), scaled.upper.copy()
        nothing = np.diff(model.A.indptr) == 0
        self._crossed = bool(
            (model.row_lower > model.row_upper).any()
            or (nothing & ((model.row_lower > 0.0) | (model.row_upper < 0.0))).any()
        )
        self._start: tuple[Ints, Floats] | None = None
        self._partial = False
        self._multipliers: Floats | None = None
        scip = self._scip = pyscipopt.Model()
        if not self._log:
            scip.hideOutput()
        for name, value in (SETTINGS | (LP_SETTINGS if self._plain else {}) | self._options).items():
            self._set(name, value)
        self._watcher = watcher()
        scip.includeEventhdlr(self._watcher, "omlt_ext", "new points and bounds")
        with _errors():
            self._x = add_columns(scip, scaled)
            self._rows = [] if self._crossed else add_rows(scip, self._x, scaled)
            if scaled.logic:
                add_logic(scip, self._x, scaled.logic)
        self.set_objective(model.c, maximize=model.maximize, offset=model.offset)

    def _renew(self) -> None:
        """The same model anew: SCIP never forgets the part of a solution, and takes ten at most."""
        start, lower, upper = self._start, self._lower * self._scaling, self._upper * self._scaling
        maximize, offset = self._sign < 0.0, float(self._scip.getObjoffset())
        self.replace(replace(self._given, c=self._c, offset=offset, maximize=maximize, lower=lower, upper=upper))
        self._start = start

    def _set(self, name: str, value: object) -> None:
        try:
            self._scip.setParam(name, value)
        except Exception as error:  # PySCIPOpt raises all kinds
            raise SolverError(f"SCIP refuses the option {name!r} = {value!r} ({error}); see its parameters") from None

    def set_objective(self, c: Floats, *, maximize: bool, offset: float = 0.0) -> None:
        """Replace the objective."""
        self._c, self._sign = np.array(c, dtype=np.float64), -1.0 if maximize else 1.0
        costs = self._c * self._scaling
        at = np.flatnonzero(costs).tolist()
        with _errors():
            self._scip.freeTransform()
            terms = (cost * self._x[j] for j, cost in zip(at, costs[at].tolist(), strict=True))
            self._scip.setObjective(pyscipopt.quicksum(terms) + float(offset), "maximize" if maximize else "minimize")

    def set_bounds(self, columns: Ints, lower: ArrayLike, upper: ArrayLike) -> None:
        """Replace the bounds of some columns."""
        unit = self._scaling[columns]
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), columns.shape) / unit for end in (lower, upper))
        with _errors():
            self._scip.freeTransform()
            for j, least, most in zip(columns.tolist(), low.tolist(), high.tolist(), strict=True):
                if least <= most:  # crossed ones are noted, and never reach SCIP
                    set_ends(self._scip, self._x[j], least, most)
        self._lower[columns], self._upper[columns] = low, high

    def start_from(self, columns: Ints, values: Floats) -> None:
        """Give SCIP a start: values for some columns; those it does not have it finds by a small solve."""
        self._start = columns, np.asarray(values, dtype=np.float64)

    def start_basis(self, columns: States, rows: States) -> None:
        """SCIP takes no basis: nothing happens."""

    def basis(self) -> tuple[States, States]:
        """What the last point says of every column and row: at its lower end, at its upper end, or between (`BASIC`).

        This is a basis only where the point is not degenerate. Raises `SolverError` where there is no point.
        """
        if self._crossed or self._scip.getNSols() == 0:
            raise SolverError("SCIP has no point to tell a basis from; solve the model first")
        sol = self._scip.getBestSol()
        x = np.array([self._scip.getSolVal(sol, variable) for variable in self._x]) * self._scaling
        model, activity = self._given, self._given.A @ x
        columns = _states(x, self._lower * self._scaling, self._upper * self._scaling)
        return columns, _states(activity, model.row_lower, model.row_upper)

    def solve(
        self,
        *,
        time_limit: float | None = None,
        gap: float | None = None,
        absolute_gap: float | None = None,
        watch: Watch | None = None,
    ) -> SolveResult:
        """Solve; `time_limit` in seconds, `gap` relative to the value. Ctrl-C ends the solve, the best point is kept.

        `watch` is called while a model with integers is solved, as by `HighsSolver`. SCIP's relative gap is taken of
        the smaller of value and bound, its default is 0.
        """
        begin = time.perf_counter()
        self._multipliers = None
        if self._crossed or bool((self._lower > self._upper).any()):
            return SolveResult("infeasible", None, None, None, 0, 0.0)
        if self._partial:
            self._renew()
        scip, events = self._scip, self._watcher
        limit = INFINITE if time_limit is None else min(INFINITE, max(0.0, float(time_limit)))
        gaps = {"limits/gap": gap, "limits/absgap": absolute_gap}
        with _errors():
            scip.freeTransform()
            for name, value in ({"limits/time": limit} | gaps).items():
                if value is not None:
                    self._set(name, float(value))
            self._give_start()
            events.begin(self._x, self._scaling, None if self._plain else watch)
            scip.optimizeNogil()
        events.end()
        told = scip.getStatus()
        if told not in _STATUS:
            raise SolverError(f"SCIP failed with its status {told!r}")
        status = "stopped" if events.stopped and _STATUS[told] == "interrupted" else _STATUS[told]
        x = value = bound = None
        if scip.getNSols() > 0 and status not in ("infeasible", "unbounded", "infeasible_or_unbounded"):
            sol = scip.getBestSol()
            x = np.array([scip.getSolVal(sol, variable) for variable in self._x], dtype=np.float64) * self._scaling
            value = float(scip.getSolObjVal(sol))
        if self._plain:
            bound = value if status == "optimal" else None
        elif status != "infeasible":
            bound = _finite(scip.getDualbound())
        if x is not None and self._plain and status == "optimal":
            duals = np.array([scip.getDualsolLinear(row) for row in self._rows], dtype=np.float64)
            self._multipliers = self._on_single_rows(x, self._sign * duals / self._row_scaling)
        nodes = 0 if self._plain else int(scip.getNTotalNodes())
        return SolveResult(status, x, value, bound, nodes, time.perf_counter() - begin)

    def _give_start(self) -> None:
        """The start as a solution, whole or in part; SCIP itself tries what it has found in the solves before."""
        if self._start is None:
            return
        (columns, values), self._start = self._start, None
        self._partial = np.unique(columns).size < len(self._x)
        solution = self._scip.createPartialSol() if self._partial else self._scip.createSol()
        for j, value in zip(columns.tolist(), (values / self._scaling[columns]).tolist(), strict=True):
            self._scip.setSolVal(solution, self._x[j], value)
        self._scip.addSol(solution)

    def reduced_costs(self) -> Floats:
        """c - A' y with y the multipliers of the rows where the last solve ended; 0 where there are none."""
        if self._multipliers is None:
            return np.zeros_like(self._scaling)
        return self._c - np.asarray(self._given.A.T @ self._multipliers)

    def row_multipliers(self) -> Floats:
        """The multiplier of every row where the last solve ended, without integers only; 0 where there is none."""
        if self._multipliers is None:
            return np.zeros_like(self._row_scaling)
        return self._multipliers

    def _on_single_rows(self, x: Floats, y: Floats) -> Floats:
        """The multipliers y, with those of rows of one column: for SCIP these are ends of the column."""
        A = self._given.A
        r = self._c - np.asarray(A.T @ y)
        for i in np.flatnonzero(np.diff(A.indptr) == 1).tolist():
            j, a = int(A.indices[A.indptr[i]]), float(A.data[A.indptr[i]])
            down = self._sign * r[j] > 0.0  # the cost pushes x_j towards its lower end
            own = (self._lower if down else self._upper)[j] * self._scaling[j]
            side = (self._given.row_lower if down == (a > 0.0) else self._given.row_upper)[i]
            slack = TIGHT * (1.0 + abs(x[j]))
            if r[j] != 0.0 and abs(x[j] - own) > slack and abs(x[j] - side / a) <= slack:
                y[i], r[j] = y[i] + r[j] / a, 0.0
        return y


def _states(values: Floats, lower: Floats, upper: Floats) -> States:
    slack = TIGHT * (1.0 + np.abs(values))
    return np.select([values <= lower + slack, values >= upper - slack], [LOWER, UPPER], BASIC).astype(np.int8)


def _finite(bound: float) -> float | None:
    return float(bound) if abs(bound) < INFINITE else None


@contextmanager
def _errors() -> Iterator[None]:
    """PySCIPOpt's errors, which are of all kinds, as ours."""
    try:
        yield
    except SolverError:
        raise
    except Exception as error:
        raise SolverError(f"SCIP refuses: {error}") from None
