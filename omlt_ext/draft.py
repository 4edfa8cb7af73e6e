"""The part of an encoding that every formulation shares: states of neurons, z and h columns, rows z = W h' + b."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from .domain import Floats, Ints, check_interval
from .encoding import ZERO, Columns, Encoding, Indicators, LayerBounds, Pairs, Rows, Separator
from .network import Bools, Layer


class Draft:
    """The part of an encoding that every formulation shares: the states, z and h columns and the rows z = W h' + b.

    A formulation takes the neurons `unstable`, their column numbers `z[unstable]` and `h[unstable]`, adds columns,
    rows and logic with `add_columns`, `add_rows`, `add_indicators` and `add_pairs`, and returns `encoding()`. Local
    column i < n_in is the layer's input i. Raises `BoundsError` on missing, infinite or crossed bounds.
    """

    def __init__(self, layer: Layer, bounds: LayerBounds) -> None:
        self.layer = layer
        self.lower = np.asarray(bounds.lower, dtype=np.float64)
        self.upper = np.asarray(bounds.upper, dtype=np.float64)
        check_interval(self.lower, self.upper, "neuron")
        neurons = np.arange(layer.n_out)
        inactive: Bools = layer.relu & (self.upper <= 0) & (self.lower < 0)
        active: Bools = layer.relu & (self.lower >= 0)
        present = neurons[~inactive]
        self.unstable: Ints = neurons[layer.relu & ~inactive & ~active]
        self._columns: list[Columns] = []
        self._rows: list[Callable[[], Rows]] = []  # made at the end, when all columns are known
        self._indicators: list[tuple[Callable[[], Rows], Ints, int]] = []
        self._pairs: list[Pairs] = []
        self._size = layer.n_in
        self.z = np.full(layer.n_out, ZERO)
        self.z[present] = self.add_columns("z", present, self.lower[present], self.upper[present])
        self.h = self.z.copy()
        j = self.unstable
        self.h[j] = self.add_columns("h", j, np.zeros(j.size), self.upper[j])
        self._present = present
        self._held = neurons[:0] if bounds.held is None else neurons[bounds.held]

    def add_columns(
        self,
        name: str,
        neuron: Ints,
        lower: ArrayLike,
        upper: ArrayLike,
        *,
        integer: bool = False,
        key: Ints | None = None,
    ) -> Ints:
        """Add a group of columns, one for each entry of `neuron`, and return their local numbers.

        `key`: a second index, where the group has several columns for one neuron.
        """
        low, high = _ends(neuron, lower, upper)
        self._columns.append(Columns(name, neuron, low, high, integer, key))
        first, self._size = self._size, self._size + neuron.size
        return np.arange(first, self._size)

    def add_rows(
        self,
        name: str,
        neuron: Ints,
        terms: Sequence[tuple[Ints, ArrayLike]],
        *,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        key: Ints | None = None,
    ) -> None:
        """Add a group of rows lower <= sum of coefficient * column <= upper, one for each entry of `neuron`.

        Each term is (column of every row, coefficient of every row or one for all).
        """
        self._rows.append(lambda: self._from_terms(name, neuron, terms, lower, upper, key))

    def add_matrix(
        self,
        name: str,
        neuron: Ints,
        matrix: Any,
        *,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        key: Ints | None = None,
    ) -> None:
        """Add a group of rows lower <= matrix @ columns <= upper: `matrix` (m, any number of columns so far) CSR."""
        low, high = _ends(neuron, lower, upper)

        def rows() -> Rows:
            wide = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(neuron.size, self._size))
            return Rows(name, neuron, wide, low, high, key)

        self._rows.append(rows)

    def add_entries(
        self,
        name: str,
        neuron: Ints,
        terms: Sequence[tuple[Ints, Ints, ArrayLike]],
        *,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        key: Ints | None = None,
    ) -> None:
        """Add a group of rows lower <= sum of coefficient * column <= upper that differ in length.

        Each term is (row, column, coefficient) of its entries; entries at the same place add up.
        """
        low, high = _ends(neuron, lower, upper)
        place = [np.concatenate([term[side] for term in terms]).astype(np.int32) for side in (0, 1)]
        data = np.concatenate([np.broadcast_to(np.asarray(value, dtype=float), at.shape) for at, _, value in terms])

        def rows() -> Rows:
            matrix = sparse.csr_array((data, tuple(place)), shape=(neuron.size, self._size))
            return Rows(name, neuron, matrix, low, high, key)

        self._rows.append(rows)

    def add_indicators(
        self,
        name: str,
        neuron: Ints,
        binary: Ints,
        value: int,
        terms: Sequence[tuple[Ints, ArrayLike]],
        *,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
    ) -> None:
        """Add a group of rows as `add_rows` does that hold only where the column `binary` has the value 0 or 1."""
        self._indicators.append((lambda: self._from_terms(name, neuron, terms, lower, upper), binary, value))

    def add_pairs(self, name: str, neuron: Ints, first: Ints, second: Ints, kind: str) -> None:
        """Add pairs of columns >= 0 of which at most one is not 0; `kind` is "sos1" or "complements"."""
        self._pairs.append(Pairs(name, neuron, first, second, kind))

    def without_affine(self, neuron: Ints) -> None:
        """Leave out the rows z - W h' = b of some neurons: the formulation writes others that imply them."""
        self._present = np.setdiff1d(self._present, neuron)

    def encoding(
        self, *, carry: Ints | None = None, exact: bool = True, separator: Separator | None = None
    ) -> Encoding:
        """The finished encoding; the rows z - W h' = b come first, those of held neurons, l <= z <= u, last."""
        rows = [self._affine(), *(make() for make in self._rows)]
        if self._held.size:
            rows.append(self._range())
        indicators = tuple(Indicators(make(), binary, value) for make, binary, value in self._indicators)
        columns, pairs = tuple(self._columns), tuple(self._pairs)
        return Encoding(self.layer.n_in, columns, tuple(rows), self.h, indicators, pairs, carry, exact, separator)

    def _from_terms(
        self,
        name: str,
        neuron: Ints,
        terms: Sequence[tuple[Ints, ArrayLike]],
        lower: ArrayLike,
        upper: ArrayLike,
        key: Ints | None = None,
    ) -> Rows:
        n, count = neuron.size, len(terms)
        data, indices = np.empty((n, count)), np.empty((n, count), dtype=np.int32)
        for t, (columns, values) in enumerate(terms):
            indices[:, t], data[:, t] = columns, values
        matrix = sparse.csr_array(
            (data.ravel(), indices.ravel(), np.arange(n + 1, dtype=np.int32) * count), shape=(n, self._size)
        )
        matrix.sum_duplicates()
        if not data.all():
            matrix.eliminate_zeros()
        return Rows(name, neuron, matrix, *_ends(neuron, lower, upper), key)

    def _affine(self) -> Rows:
        j, b = self._present, self.layer.bias[self._present]
        if not self.layer.is_sparse:
            dense = self.layer.weight if j.size == self.layer.n_out else self.layer.weight[j]
            if np.count_nonzero(dense) == dense.size:  # no zeros to leave out: every row has the same shape
                indices, data = (np.empty((j.size, dense.shape[1] + 1), dtype=kind) for kind in (np.int32, np.float64))
                indices[:, :-1], indices[:, -1] = np.arange(dense.shape[1]), self.z[j]
                np.negative(dense, out=data[:, :-1])
                data[:, -1] = 1.0
                indptr = np.arange(j.size + 1, dtype=np.int32) * data.shape[1]
                matrix = sparse.csr_array((data.ravel(), indices.ravel(), indptr), shape=(j.size, self._size))
                return Rows("affine", j, matrix, b, b)
        W = own_minus(self.z[j], self.layer.csr_weight()[j])
        matrix = sparse.csr_array((W.data, W.indices, W.indptr), shape=(j.size, self._size))
        return Rows("affine", j, matrix, b, b)

    def _range(self) -> Rows:
        """l <= z <= u on the z column, or on W h' where an inactive neuron has none."""
        j = self._held
        at = np.arange(j.size)
        own = self.z[j] != ZERO
        W = self.layer.csr_weight()[j[~own]]
        row = np.concatenate([at[own], np.repeat(at[~own], np.diff(W.indptr))])
        column = np.concatenate([self.z[j[own]], W.indices])
        data = np.concatenate([np.ones(int(own.sum())), W.data])
        shift = np.where(own, 0.0, self.layer.bias[j])
        low, high = self.lower[j] - shift, self.upper[j] - shift
        low = np.where(shift == 0.0, low, np.nextafter(low, -np.inf))  # outward: the subtraction may have rounded
        high = np.where(shift == 0.0, high, np.nextafter(high, np.inf))
        return Rows("range", j, sparse.csr_array((data, (row, column)), shape=(j.size, self._size)), low, high)


def own_minus(own: Ints, W: Any) -> Any:
    """The rows column own_i - W h' as CSR, for W (m, n) CSR and columns `own` (m,) after its own."""
    last = W.indptr[1:] + np.arange(own.size)  # each row: -W, then 1 for its own column
    mine = np.zeros(W.nnz + own.size, dtype=bool)
    mine[last] = True
    indices, data = np.empty(mine.size, dtype=np.int32), np.empty(mine.size)
    indices[last], data[last] = own, 1.0
    indices[~mine], data[~mine] = W.indices, -W.data
    indptr = np.concatenate([[0], last + 1])
    return sparse.csr_array((data, indices, indptr), shape=(own.size, int(own.max(initial=W.shape[1])) + 1))


def _ends(neuron: Ints, lower: ArrayLike, upper: ArrayLike) -> tuple[Floats, Floats]:
    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), neuron.shape) for end in (lower, upper))
    return low, high
