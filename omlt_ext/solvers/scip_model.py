"""The arrays of a model as the columns, rows and constraints of SCIP's own; pyscipopt has to be there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..logic import Logic
from ..milp import MatrixModel

INFINITE = 1e20  # SCIP's own


def add_columns(scip: Any, model: MatrixModel) -> list[Any]:
    """The columns; those that are 0 or 1 as binaries, which indicators ask for."""
    binary = model.integer & (model.lower >= 0.0) & (model.upper <= 1.0) & (model.lower <= model.upper)
    kinds = np.where(binary, "B", np.where(model.integer, "I", "C")).tolist()
    free = model.lower > model.upper  # crossed ends never reach SCIP
    low, high = np.where(free, -np.inf, model.lower), np.where(free, np.inf, model.upper)
    ends = zip(kinds, low.tolist(), high.tolist(), strict=True)
    return [scip.addVar(f"x{j}", kind, _end(least), _end(most)) for j, (kind, least, most) in enumerate(ends)]


def add_rows(scip: Any, x: list[Any], model: MatrixModel) -> list[Any]:
    """Row by row and entry by entry: PySCIPOpt's expressions cost more."""
    from pyscipopt.scip import Expr, ExprCons

    indices, data, ends = model.A.indices.tolist(), model.A.data.tolist(), model.A.indptr.tolist()
    sides = (
        np.clip(model.row_lower, -INFINITE, INFINITE).tolist(),
        np.clip(model.row_upper, -INFINITE, INFINITE).tolist(),
    )
    rows, add = [], scip.addCoefLinear
    for i, (low, high) in enumerate(zip(*sides, strict=True)):
        row = scip.addCons(ExprCons(Expr(), low, high))
        for k in range(ends[i], ends[i + 1]):
            add(row, x[indices[k]], data[k])
        rows.append(row)
    return rows


def add_logic(scip: Any, x: list[Any], logic: Logic) -> None:
    """Pairs as SOS1 sets, indicators as SCIP's own, one for each finite side of a row."""
    from pyscipopt import quicksum
    from pyscipopt.scip import ExprCons

    for first, second in zip(logic.first.tolist(), logic.second.tolist(), strict=True):
        scip.addConsSOS1([x[first], x[second]])
    for i, (binary, value) in enumerate(zip(logic.binary.tolist(), logic.value.tolist(), strict=True)):
        part = slice(logic.A.indptr[i], logic.A.indptr[i + 1])
        terms = list(zip(logic.A.indices[part].tolist(), logic.A.data[part].tolist(), strict=True))
        for sign, side in ((1.0, logic.upper[i]), (-1.0, -logic.lower[i])):
            if np.isfinite(side):
                body = quicksum(sign * a * x[j] for j, a in terms)
                scip.addConsIndicator(ExprCons(body, rhs=float(side)), x[binary], activeone=bool(value))


def set_ends(scip: Any, variable: Any, low: float, high: float) -> None:
    """Replace both ends of a column, in the order that never crosses them."""
    if variable.vtype() == "BINARY" and (low < 0.0 or high > 1.0):
        scip.chgVarType(variable, "I")
    changes = [(scip.chgVarLb, low), (scip.chgVarUb, high)]
    for change, end in changes[::-1] if low > variable.getUbOriginal() else changes:
        change(variable, _end(end))


def _end(value: float) -> float | None:
    return None if abs(value) >= INFINITE else value
