"""Symbolic tensors: affine functions M a + c of the atoms a of a `Lowering`, and the sparse algebra behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ..domain import Floats
from ..errors import ReadError, ShapeError

if TYPE_CHECKING:
    from .lowering import Lowering

Ints: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = Any  # scipy.sparse.csr_array
Linear: TypeAlias = Any  # a constant linear map: dense NDArray or scipy.sparse array

MAX_ENTRIES = 2**26  # entries of one tensor, past which a file is refused instead of filling the memory
MAX_NONZEROS = 2**28  # nonzeros of one map: about 3 GB
DENSE_WORK = 10**7  # multiplications from which a product of two well-filled maps goes through dense blocks


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of affine functions of the atoms of one `Lowering`: entry i (row-major) is matrix[i] a + offset[i].

    `shape` as in the source, `matrix` (size, atoms) CSR, `offset` (size,). Made by `Lowering.input` and by operations
    on other tensors; `+`, `-` and `*` broadcast as NumPy does, `*` and `/` take constants only.

    >>> from omlt_ext.readers.lowering import Lowering
    >>> graph = Lowering()
    >>> x = graph.input("x", (2,))
    >>> network = graph.to_network({"y": (2.0 * x + 1.0).sum((0,))})
    >>> network([1.0, 2.0])
    array([8.])
    """

    graph: Lowering
    shape: tuple[int, ...]
    matrix: Matrix
    offset: Floats

    __array_ufunc__ = None  # array + Tensor must call Tensor.__radd__, not loop over the array

    @property
    def size(self) -> int:
        return int(self.offset.size)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def index(self) -> Ints:
        """The row-major position of every entry, in the tensor's shape: what index operators act on."""
        return np.arange(self.size).reshape(self.shape)

    def pick(self, index: NDArray[np.integer[Any]], fill: float = 0.0) -> Tensor:
        """The tensor of index.shape whose entries are this tensor's flat entries `index`; -1 stands for `fill`."""
        rows = np.asarray(index, dtype=np.int64).ravel()
        if rows.size == self.size and (rows == np.arange(rows.size)).all():
            return Tensor(self.graph, index.shape, self.matrix, self.offset)
        outside = rows < 0
        if not outside.any():
            return self._like(index.shape, take_rows(self.matrix, rows), self.offset[rows])
        padded = sparse.vstack([self.matrix, sparse.csr_array((1, self.matrix.shape[1]))], format="csr")
        rows = np.where(outside, self.size, rows)
        return self._like(index.shape, padded[rows], np.append(self.offset, fill)[rows])

    def reshape(self, shape: Sequence[int]) -> Tensor:
        return self.pick(self.index().reshape(tuple(shape)))

    def transpose(self, axes: Sequence[int] | None = None) -> Tensor:
        return self.pick(self.index().transpose(axes))

    def broadcast_to(self, shape: Sequence[int]) -> Tensor:
        if tuple(shape) == self.shape:
            return self
        check_size(shape)
        return self.pick(np.broadcast_to(self.index(), tuple(shape)))

    def linear(self, K: Linear, shape: Sequence[int]) -> Tensor:
        """The tensor K t of `shape` for a constant K (size of shape, size of t), dense or sparse."""
        if K.shape != (int(np.prod(shape)), self.size):
            raise ShapeError(f"a map of shape {K.shape} does not take {self.size} entries to the shape {tuple(shape)}")
        return self._like(shape, product(K, self.matrix), np.asarray(K @ self.offset))

    def sum(self, axes: Sequence[int], keepdims: bool = False) -> Tensor:
        """The sum over `axes`."""
        kept = np.moveaxis(self.index(), tuple(axes), tuple(range(-len(axes), 0)))
        count = int(np.prod([self.shape[a] for a in axes]))
        shape = reduced_shape(self.shape, axes, keepdims)
        columns = kept.reshape(-1)
        starts = np.arange(0, columns.size + 1, count)
        K = sparse.csr_array((np.ones(columns.size), columns, starts), shape=(len(starts) - 1, self.size))
        return self.linear(K, shape)

    def __add__(self, other: Tensor | ArrayLike) -> Tensor:
        if not isinstance(other, Tensor):
            values = np.asarray(other, dtype=np.float64)
            shape = np.broadcast_shapes(self.shape, values.shape)
            wide = self.broadcast_to(shape)
            return Tensor(self.graph, shape, wide.matrix, wide.offset + np.broadcast_to(values, shape).ravel())
        shape = np.broadcast_shapes(self.shape, other.shape)
        left, right = self.broadcast_to(shape), other.broadcast_to(shape)
        columns = max(left.matrix.shape[1], right.matrix.shape[1])
        matrix = widen(left.matrix, columns) + widen(right.matrix, columns)
        return left._like(shape, matrix, left.offset + right.offset)

    __radd__ = __add__

    def __neg__(self) -> Tensor:
        return Tensor(self.graph, self.shape, -self.matrix, -self.offset)

    def __sub__(self, other: Tensor | ArrayLike) -> Tensor:
        return self + (-other if isinstance(other, Tensor) else -np.asarray(other, dtype=np.float64))

    def __rsub__(self, other: ArrayLike) -> Tensor:
        return -self + other

    def __mul__(self, other: ArrayLike) -> Tensor:
        values = np.asarray(other, dtype=np.float64)
        shape = np.broadcast_shapes(self.shape, values.shape)
        wide, factors = self.broadcast_to(shape), np.broadcast_to(values, shape).ravel()
        scaled = wide.matrix.copy()
        scaled.data = scaled.data * np.repeat(factors, np.diff(scaled.indptr))
        return wide._like(shape, scaled, wide.offset * factors)

    __rmul__ = __mul__

    def __truediv__(self, other: ArrayLike) -> Tensor:
        return self * (1.0 / np.asarray(other, dtype=np.float64))

    def _like(self, shape: Sequence[int], matrix: Matrix, offset: Floats) -> Tensor:
        clean = sparse.csr_array(matrix)
        clean.eliminate_zeros()
        return Tensor(self.graph, tuple(int(s) for s in shape), clean, offset)


def check_size(shape: Sequence[int]) -> None:
    """Raise `ReadError` for a shape of more than `MAX_ENTRIES` entries, before it is built."""
    count = math.prod(int(s) for s in shape)
    if count > MAX_ENTRIES:
        raise ReadError(f"a tensor of shape {tuple(shape)} has {count} entries; at most {MAX_ENTRIES} can be lowered")


def product(K: Linear, M: Matrix) -> Matrix:
    """K M as CSR, for K (m, s) dense or sparse and M (s, n) CSR; through dense blocks where both are well filled."""
    left = sparse.csr_array(K)
    work = int(np.diff(M.indptr)[left.indices].sum(dtype=np.int64))
    if work > DENSE_WORK:
        columns = used_columns(M)
        if left.shape[0] * left.shape[1] < 8 * left.nnz and M.shape[0] * columns.size < 8 * M.nnz:
            block = left.toarray() @ M[:, columns].toarray()
            found = sparse.csr_array(block)
            return sparse.csr_array((found.data, columns[found.indices], found.indptr), (left.shape[0], M.shape[1]))
    if work > 8 * MAX_NONZEROS:
        raise ReadError(f"multiplying out two neighbouring linear maps takes {work} products; it is too large to lower")
    return sparse.csr_array(left @ M)


def units(columns: Ints, n: int) -> Matrix:
    """Rows of the n x n identity: row i has a one in column columns[i]."""
    return sparse.csr_array((np.ones(columns.size), columns, np.arange(columns.size + 1)), shape=(columns.size, n))


def widen(matrix: Matrix, columns: int) -> Matrix:
    """The same rows over more atoms."""
    if matrix.shape[1] == columns:
        return matrix
    return sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], columns))


def used_columns(matrix: Matrix) -> Ints:
    """The columns with a stored entry, in order."""
    used = np.zeros(matrix.shape[1], dtype=bool)
    used[matrix.indices] = True
    return np.flatnonzero(used)


def take_rows(matrix: Matrix, rows: Ints) -> Matrix:
    """matrix[rows]; without a copy where the rows follow each other, as those of a whole layer do."""
    if rows.size == 0 or rows[-1] - rows[0] != rows.size - 1 or (np.diff(rows) != 1).any():
        return matrix[rows]
    first, last = int(rows[0]), int(rows[-1]) + 1
    start, end = matrix.indptr[first], matrix.indptr[last]
    parts = (matrix.data[start:end], matrix.indices[start:end], matrix.indptr[first : last + 1] - start)
    return sparse.csr_array(parts, shape=(rows.size, matrix.shape[1]))


def select_columns(matrix: Matrix, columns: Ints) -> Matrix:
    """The columns `columns`, in that order, of a matrix that has nonzeros in no others."""
    place = np.full(matrix.shape[1], -1, dtype=np.int64)
    place[columns] = np.arange(columns.size)
    clean = sparse.csr_array(matrix)
    indices = place[clean.indices]
    if (indices < 0).any():
        raise ReadError("internal error of the lowering: a layer needs a value that the layer before does not hold")
    return sparse.csr_array((clean.data, indices, clean.indptr), shape=(matrix.shape[0], columns.size))


def distinct_rows(matrix: Matrix, offset: Floats) -> tuple[Ints, Ints]:
    """(first, which) with row i equal to row first[which[i]]: equal affine functions only once, in order.

    Equal rows are found by a random projection and then compared entry by entry. `matrix` has sorted indices.
    """
    n = offset.size
    probe = np.random.default_rng(0).standard_normal(matrix.shape[1])
    marks = np.asarray(matrix @ probe)
    by_mark = np.lexsort((np.arange(n), offset, marks))
    new = np.ones(n, dtype=bool)
    new[1:] = (np.diff(marks[by_mark]) != 0) | (np.diff(offset[by_mark]) != 0)
    first = by_mark[new]  # of each group the earliest row
    group = np.empty(n, dtype=np.int64)
    group[by_mark] = np.cumsum(new) - 1
    order = np.argsort(first)
    first, which = first[order], np.argsort(order)[group]
    if first.size < n and (matrix - matrix[first[which]]).nnz:
        return np.arange(n), np.arange(n)  # a collision of the projection: keep every row
    return first, which


def reduced_shape(shape: Sequence[int], axes: Sequence[int], keepdims: bool) -> tuple[int, ...]:
    """`shape` after a reduction over `axes` (not negative)."""
    if keepdims:
        return tuple(1 if a in axes else s for a, s in enumerate(shape))
    return tuple(s for a, s in enumerate(shape) if a not in axes)
