"""The cases of a formula as a property: boxes and rows as arrays, shared where cases share them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..domain import Box, Floats, Polytope
from ..errors import ReadError
from ..network import Bools
from .formula import Case, Row
from .property import Disjunct, Property


def property_of(base: Case, cases: Sequence[Case], n_inputs: int, n_outputs: int) -> Property:
    """The property whose disjuncts are `base` together with each of `cases`.

    Raises `ReadError` where an input has no lower or no upper bound.
    """
    lower, upper = np.full(n_inputs, -np.inf), np.full(n_inputs, np.inf)
    _fill(lower, base.lower, np.maximum)
    _fill(upper, base.upper, np.minimum)
    boxes: dict[tuple[int, int], Box] = {}
    systems: dict[tuple[int, ...], _System] = {}
    disjuncts = []
    for k, case in enumerate(cases):
        bounds = id(case.lower) if case.lower else 0, id(case.upper) if case.upper else 0
        if bounds not in boxes:
            ends = lower.copy(), upper.copy()
            _fill(ends[0], case.lower, np.maximum)
            _fill(ends[1], case.upper, np.minimum)
            boxes[bounds] = _box(*ends, k, len(cases))
        key = tuple(id(row) for row in case.rows)
        if key not in systems:
            systems[key] = _System(base.rows + case.rows, n_inputs, n_outputs)
        disjuncts.append(systems[key].disjunct(boxes[bounds]))
    return Property(disjuncts, n_inputs, n_outputs)


class _System:
    """Rows as arrays: those over inputs alone belong to the domain, unless they are strict."""

    def __init__(self, rows: Sequence[Row], n_inputs: int, n_outputs: int) -> None:
        inner = [row for row in rows if not row.y and not row.strict]
        mixed = [row for row in rows if row.y or row.strict]
        self.A = _matrix([row.x for row in inner], n_inputs)
        self.b = _sides(inner)
        self.Gx, self.Gy = _matrix([row.x for row in mixed], n_inputs), _matrix([row.y for row in mixed], n_outputs)
        self.g = _sides(mixed)
        self.strict: Bools = np.array([row.strict for row in mixed], dtype=bool)

    def disjunct(self, box: Box) -> Disjunct:
        domain = Polytope(box, self.A, self.b) if self.b.size else box
        return Disjunct(domain, self.Gy, self.g, self.Gx, self.strict)


def _matrix(rows: Sequence[tuple[tuple[int, float], ...]], n: int) -> Floats:
    matrix = np.zeros((len(rows), n))
    for i, row in enumerate(rows):
        for j, value in row:
            matrix[i, j] = value
    matrix.setflags(write=False)
    return matrix


def _sides(rows: Sequence[Row]) -> Floats:
    sides = np.array([row.side for row in rows], dtype=np.float64)
    sides.setflags(write=False)
    return sides


def _fill(end: Floats, bounds: dict[int, float], tighter: np.ufunc) -> None:
    """Put bounds into `end` where they are tighter than what stands there."""
    if not bounds:
        return
    places, values = np.fromiter(bounds, dtype=np.intp), np.fromiter(bounds.values(), dtype=np.float64)
    end[places] = tighter(end[places], values)


def _box(lower: Floats, upper: Floats, k: int, count: int) -> Box:
    for end, side in ((lower, "lower"), (upper, "upper")):
        missing = np.flatnonzero(~np.isfinite(end))
        if missing.size:
            where = f" in case {k} of {count}" if count > 1 else ""
            raise ReadError(f"input X_{missing[0]} has no {side} bound{where}; assert one, a number")
    return Box(lower, upper)
