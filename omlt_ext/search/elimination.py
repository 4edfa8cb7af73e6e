"""Columns that an equation gives away, taken out of a linear model.

    row_lower <= A w <= row_upper,   lower <= w <= upper;   afterwards   w = T u + t,   the rows written in u

Symbols: w (n,) the columns, u (k,) those that stay. A column goes where it is a copy or a scaled one of another
(a w_j + b w_k = r), or where it stands in one equation only; its own bounds become a row, and a row of one entry
becomes bounds. So a search moves u freely, where it would hardly ever meet the equations by proposing w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ..domain import Floats, Ints
from ..errors import InfeasibleError
from ..network import Bools
from .problem import TOLERANCE

LEAST_PIVOT = 1e-3  # of a row's largest coefficient: dividing by less would blow up rounding errors
PASSES = 20


@dataclass(frozen=True, eq=False)
class Affine:
    """w = T u + t: `T` (n, k) CSR, `t` (n,); `kept` (k,) are the columns of w that u consists of."""

    T: Any  # scipy.sparse.csr_array
    t: Floats
    kept: Ints


@dataclass(frozen=True, eq=False)
class LinearRows:
    """lower <= A w <= upper, A CSR."""

    A: Any  # scipy.sparse.csr_array
    lower: Floats
    upper: Floats

    def of(self, T: Any, t: Floats) -> LinearRows:
        """The same rows with w = T u + t."""
        shift = self.A @ t
        A = sparse.csr_array(self.A @ T)
        A.eliminate_zeros()
        return LinearRows(A, self.lower - shift, self.upper - shift)

    def and_rows(self, A: Any, lower: Floats, upper: Floats) -> LinearRows:
        """More of them."""
        ends = np.concatenate([self.lower, lower]), np.concatenate([self.upper, upper])
        return LinearRows(sparse.csr_array(sparse.vstack([self.A, A], format="csr")), *ends)

    def only(self, which: Any) -> LinearRows:
        """Some of them."""
        return LinearRows(self.A[which], self.lower[which], self.upper[which])


def eliminate(rows: LinearRows, free: Bools, copied: Bools) -> tuple[Affine, LinearRows]:
    """Take columns out, pass by pass; the rows that are left, in u, are without those that say how they went.

    `free` (n,): columns that may become anything; `copied` (n,): columns that may become another one as it is, which is
    not a free one. Bounds are not looked at: those of a column that has gone are rows of T still to be added.
    """
    n = free.size
    T, t, gone = sparse.csr_array(sparse.eye_array(n, format="csr")), np.zeros(n), np.zeros(n, dtype=bool)
    for _ in range(PASSES):
        found = list(_definitions(rows, free & ~gone, copied & ~gone))
        if not found:
            break
        taken, places, coefficients, constants, used = zip(*found, strict=True)
        E = sparse.lil_array((n, n))
        E.setdiag(1.0)
        e = np.zeros(n)
        for j, at, what, constant in zip(taken, places, coefficients, constants, strict=True):
            E[j, j] = 0.0
            E[j, at] = what
            e[j] = constant
            gone[j] = True
        E = sparse.csr_array(E)
        rows = rows.only(np.setdiff1d(np.arange(rows.lower.size), used)).of(E, e)
        T, t = sparse.csr_array(T @ E), t + T @ e
    kept = np.flatnonzero(~gone)
    return Affine(sparse.csr_array(T[:, kept]), t, kept), LinearRows(rows.A[:, kept], rows.lower, rows.upper)


def _definitions(rows: LinearRows, free: Bools, copied: Bools) -> Iterable[tuple[int, Ints, Floats, float, int]]:
    """(column, other columns, their coefficients, constant, row) of columns that go in this pass.

    None of them stands in the definition of another one: each row takes the columns that it touches for itself.
    """
    A = rows.A
    entries, alone = np.diff(A.indptr), np.bincount(A.indices, minlength=A.shape[1]) == 1
    touched = np.zeros(A.shape[1], dtype=bool)
    for i in np.flatnonzero((rows.lower == rows.upper) & (entries >= 2)).tolist():
        part = slice(A.indptr[i], A.indptr[i + 1])
        at, what = A.indices[part], A.data[part]
        if touched[at].any():
            continue
        can = free[at] & (np.abs(what) >= LEAST_PIVOT * np.abs(what).max())
        if at.size == 2 and not can.any() and what[0] == -what[1] and rows.lower[i] == 0.0:
            can = copied[at] & copied[at][::-1]
        elif at.size > 2:
            can &= alone[at]
        if not can.any():
            continue
        pivot = int(np.argmax(np.where(can, np.abs(what), -1.0)))
        others = np.arange(at.size) != pivot
        touched[at] = True
        scale = what[pivot]
        yield int(at[pivot]), at[others], -what[others] / scale, float(rows.lower[i] / scale), i


def as_bounds(
    rows: LinearRows, lower: Floats, upper: Floats, integer: Bools, name: Callable[[int], str]
) -> tuple[LinearRows, Floats, Floats]:
    """Rows with one entry as bounds of that column; rows with none, or without an end, left out.

    Ends of whole columns become whole. Raises `InfeasibleError` where an empty row cannot hold or the ends of column j,
    which is called `name(j)`, cross.
    """
    lower, upper = lower.copy(), upper.copy()
    entries = np.diff(rows.A.indptr)
    empty = entries == 0
    missed = np.where(empty, np.maximum(rows.lower, -rows.upper), 0.0)
    if (missed > TOLERANCE).any():
        raise InfeasibleError(f"a constraint is left without variables and cannot hold, by {float(missed.max()):g}")
    single = np.flatnonzero(entries == 1)
    at = rows.A.indptr[single]
    columns, scale = rows.A.indices[at], rows.A.data[at]
    ends = rows.lower[single] / scale, rows.upper[single] / scale
    np.maximum.at(lower, columns, np.minimum(*ends))
    np.minimum.at(upper, columns, np.maximum(*ends))
    lower[integer], upper[integer] = np.ceil(lower[integer] - TOLERANCE), np.floor(upper[integer] + TOLERANCE)
    crossed = lower > upper
    size = np.maximum(1.0, np.minimum(np.abs(lower), np.abs(upper)))
    if (lower - upper > TOLERANCE * size)[crossed].any():
        j = int(np.flatnonzero(crossed)[np.argmax((lower - upper)[crossed])])
        raise InfeasibleError(f"no value is left for {name(j)}: it must be at least {lower[j]} and at most {upper[j]}")
    middle = 0.5 * (lower[crossed] + upper[crossed])
    lower[crossed] = upper[crossed] = middle
    bound = np.isfinite(rows.lower) | np.isfinite(rows.upper)
    return rows.only(np.flatnonzero((entries > 1) & bound)), lower, upper
