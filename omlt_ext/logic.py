"""What a model says beyond rows: pairs of columns of which one is 0, and rows that hold where a binary has a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from .domain import Floats, Ints


@dataclass(frozen=True, eq=False)
class Logic:
    """The pairs and indicators of a `MatrixModel`, over its columns.

    Columns `first[i]` and `second[i]` (p,) are >= 0 and at most one of them is not 0. Row i of `A` (r, columns), CSR,
    lower[i] <= A_i x <= upper[i], holds wherever the integer column `binary[i]` is `value[i]`, 0 or 1.
    """

    first: Ints
    second: Ints
    binary: Ints
    value: Ints
    A: Any
    lower: Floats
    upper: Floats

    @property
    def n_pairs(self) -> int:
        return int(self.first.size)

    @property
    def n_indicators(self) -> int:
        return int(self.binary.size)

    def __bool__(self) -> bool:
        return bool(self.n_pairs or self.n_indicators)

    def violation(self, x: Floats) -> float:
        """The largest violation at x: of a pair, its smaller value; of an indicator's row, where the binary says so."""
        activity = self.A @ x
        on = np.round(x[self.binary]) == self.value
        gaps = [np.minimum(x[self.first], x[self.second])]
        gaps += [(self.lower - activity)[on], (activity - self.upper)[on]]
        return max((float(gap.max()) for gap in gaps if gap.size), default=0.0)

    def scaled(self, rows: Floats, columns: Floats) -> Logic:
        """The same in columns x' = x / columns and rows divided by `rows` (r,). Pairs are the same in any units."""
        A = sparse.csr_array(sparse.diags_array(1.0 / rows) @ self.A @ sparse.diags_array(columns))
        return replace(self, A=A, lower=self.lower / rows, upper=self.upper / rows)


def no_logic(n_columns: int) -> Logic:
    """No pairs and no indicators."""
    none = np.empty(0, dtype=np.int64)
    return Logic(none, none, none, none, sparse.csr_array((0, n_columns)), np.empty(0), np.empty(0))
