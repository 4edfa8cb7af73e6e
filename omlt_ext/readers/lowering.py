"""Lowering: a network's graph, multiplied out until only affine layers, ReLUs and smooth activations are left.

An *atom* is a number that the finished network can hold: an input, the output of one ReLU or of one smooth activation,
or a *held* linear value. A `Tensor` of s entries is the affine map M a + c of the atoms a: M (s, atoms) CSR, c (s,).
Affine operators multiply out at once; index operators pick rows; `relu` and `smooth` make new atoms. An atom's depth is
0 for inputs, else one more than the deepest atom of its definition; layer d of the network computes the atoms of depth
d and passes on earlier atoms that later layers still need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ..curves import TANH, Codes, evaluate
from ..domain import Box, Floats
from ..errors import ReadError
from ..mixed import AnyNetwork, MixedNetwork
from ..network import Layer, Network, compact
from .symbolic import (
    Ints,
    Matrix,
    Tensor,
    check_size,
    distinct_rows,
    product,
    select_columns,
    take_rows,
    units,
    used_columns,
    widen,
)

__all__ = ["Lowering", "Tensor"]

RELU, LINEAR = 0, -1  # kinds of neurons that are not smooth


class Lowering:
    """The atoms of one network while it is read: make inputs, combine tensors, and ask for the `Network`.

    `allows_smooth`: whether readers may use `smooth`; the network is then a `MixedNetwork` where they have.

    >>> graph = Lowering()
    >>> x = graph.input("x", (1, 2))
    >>> hidden = graph.relu(x.linear(np.array([[1.0, -1.0]]), (1, 1)))
    >>> network = graph.to_network({"y": hidden + x.pick(np.array([[0]]))}, source="a residual block")
    >>> network([3.0, 1.0])
    array([5.])
    >>> [(layer.n_out, int(layer.relu.sum())) for layer in network.layers]
    [(2, 1), (1, 0)]
    """

    def __init__(self, allows_smooth: bool = False) -> None:
        self.allows_smooth = allows_smooth
        self.n_inputs = 0
        self.input_slices: dict[str, slice] = {}
        self._depth: Ints = np.zeros(0, dtype=np.int64)
        self._held: NDArray[np.bool_] = np.zeros(0, dtype=bool)  # linear atoms
        self._code: Codes = np.zeros(0, dtype=np.int8)  # of atoms with a smooth activation, 0 for all others
        self._positive: NDArray[np.bool_] = np.zeros(0, dtype=bool)  # atoms that are never negative
        self._starts: list[int] = []  # first atom of each group, inputs aside
        self._definitions: list[tuple[Matrix, Floats]] = []
        self._known: dict[bytes, Ints] = {}

    def input(self, name: str, shape: Sequence[int]) -> Tensor:
        """A new input of `shape`; all inputs come before the first ReLU."""
        if self._starts:
            raise ReadError(f"input {name!r} was declared after the first ReLU")
        check_size(shape)
        size, start = int(np.prod(shape)), self.n_inputs
        self.n_inputs += size
        self.input_slices[name] = slice(start, self.n_inputs)
        self._grow(np.zeros(size, dtype=np.int64), held=False, positive=np.zeros(size, dtype=bool))
        matrix = units(start + np.arange(size), self.n_inputs)
        return Tensor(self, tuple(int(s) for s in shape), matrix, np.zeros(size))

    def constant(self, values: ArrayLike) -> Tensor:
        """A tensor that depends on no atom."""
        array = np.asarray(values, dtype=np.float64)
        return Tensor(self, array.shape, sparse.csr_array((array.size, self._depth.size)), array.ravel().copy())

    def concatenate(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """The tensors joined along `axis`."""
        starts = np.cumsum([0, *(t.size for t in tensors)])
        order = np.concatenate([t.index() + start for t, start in zip(tensors, starts, strict=False)], axis=axis)
        columns = max(t.matrix.shape[1] for t in tensors)
        rows = sparse.vstack([widen(t.matrix, columns) for t in tensors], format="csr")
        stacked = Tensor(self, (int(starts[-1]),), rows, np.concatenate([t.offset for t in tensors]))
        return stacked.pick(order)

    def relu(self, t: Tensor) -> Tensor:
        """max(0, t), entry by entry: new atoms, except for entries that are constant or never negative."""
        return self._replace(t, held=False)

    def smooth(self, t: Tensor, code: int) -> Tensor:
        """The smooth activation `code` of `omlt_ext.curves`, entry by entry: new atoms, except for constant entries."""
        return self._replace(t, held=False, code=code)

    def hold(self, t: Tensor) -> Tensor:
        """The same values, as linear atoms where that leaves later layers fewer numbers to pass on.

        Entries that are one plain atom or constant stay as they are. A held atom that no deeper layer uses costs
        nothing: it is multiplied out again.
        """
        wide = np.flatnonzero(np.diff(t.matrix.indptr) > 1)
        if used_columns(take_rows(t.matrix, wide)).size <= wide.size:
            return t
        return self._replace(t, held=True)

    def _replace(self, t: Tensor, *, held: bool, code: int = 0) -> Tensor:
        matrix, offset = self._inline(t.matrix, t.offset)
        matrix.sort_indices()
        lengths = np.diff(matrix.indptr)
        constant = lengths == 0
        if code:
            positive, kept = np.full(t.size, code != TANH), constant
            values = evaluate(np.full(t.size, code, dtype=np.int8), offset)
        else:
            positive = self._never_negative(matrix, offset)
            kept = lengths <= 1 if held else positive | constant
            values = offset if held else np.maximum(offset, 0.0)
        fresh = np.flatnonzero(~kept)
        atoms = self._atoms(take_rows(matrix, fresh), offset[fresh], held, positive[fresh], code)
        new = sparse.csr_array(
            (np.ones(fresh.size), (fresh, atoms)), shape=(t.size, self._depth.size)
        )  # row i: the new atom of entry i
        rows = np.flatnonzero(kept)
        keep = sparse.csr_array((np.ones(rows.size), (rows, rows)), shape=(t.size, t.size))
        old = np.where(kept, np.where(constant, values, offset), 0.0)
        return t._like(t.shape, widen(sparse.csr_array(keep @ matrix), self._depth.size) + new, old)

    def _never_negative(self, matrix: Matrix, offset: Floats) -> NDArray[np.bool_]:
        """Entries that are plain sums of atoms >= 0. Coefficients other than one are left to bound tightening."""
        plain = (matrix.data == 1.0) & self._positive[matrix.indices]
        others = sparse.csr_array((~plain, matrix.indices, matrix.indptr), shape=matrix.shape)
        return (np.asarray(others.sum(axis=1)).ravel() == 0) & (offset == 0.0)

    def _atoms(self, matrix: Matrix, offset: Floats, held: bool, positive: NDArray[np.bool_], code: int) -> Ints:
        """Atoms with these definitions, equal ones only once: their numbers, one for each row."""
        mark = blake2b(bytes([held, code]))
        for array in (matrix.indptr, matrix.indices, matrix.data, offset):
            mark.update(np.ascontiguousarray(array).data)
        key = mark.digest()
        if key in self._known:
            return self._known[key]
        first, which = distinct_rows(matrix, offset)
        rows = take_rows(matrix, first)
        depth = np.zeros(first.size, dtype=np.int64)
        if rows.nnz:
            np.maximum.at(depth, np.repeat(np.arange(first.size), np.diff(rows.indptr)), self._depth[rows.indices])
        start = self._depth.size
        if first.size:
            self._starts.append(start)
            self._definitions.append((rows, offset[first]))
            never = positive[first] if held or code else np.ones(first.size, dtype=bool)
            self._grow(depth + 1, held=held, positive=never, code=code)
        self._known[key] = start + which
        return self._known[key]

    def _grow(self, depth: Ints, *, held: bool, positive: NDArray[np.bool_], code: int = 0) -> None:
        self._depth = np.concatenate([self._depth, depth])
        self._held = np.concatenate([self._held, np.full(depth.size, held)])
        self._code = np.concatenate([self._code, np.full(depth.size, code, dtype=np.int8)])
        self._positive = np.concatenate([self._positive, positive])

    def _definition(self, atoms: Ints) -> tuple[Matrix, Floats]:
        """Definitions of `atoms`: (matrix (n, atoms), offset (n,)); no inputs among them."""
        group = np.searchsorted(self._starts, atoms, side="right") - 1
        order = np.argsort(group, kind="stable")
        parts, offsets = [sparse.csr_array((0, self._depth.size))], [np.zeros(0)]
        for g in np.unique(group):
            matrix, offset = self._definitions[g]
            rows = atoms[order][group[order] == g] - self._starts[g]
            parts.append(widen(take_rows(matrix, rows), self._depth.size))
            offsets.append(offset[rows])
        back = np.argsort(order, kind="stable")
        return take_rows(sparse.vstack(parts, format="csr"), back), np.concatenate(offsets)[back]

    def _inline(self, matrix: Matrix, offset: Floats) -> tuple[Matrix, Floats]:
        """Multiply out held atoms that lie deeper than every other atom used: they would only cost a layer."""
        matrix, offset = widen(matrix, self._depth.size), np.array(offset)
        while True:
            used = used_columns(matrix)
            fixed, held = used[~self._held[used]], used[self._held[used]]
            base = self._depth[fixed].max(initial=0)
            top = self._depth[held].max(initial=0)
            if top <= base:
                return matrix, offset
            deep = held[self._depth[held] == top]
            rows, shift = self._definition(deep)
            chosen = np.zeros(self._depth.size, dtype=bool)
            chosen[deep] = True
            coefficients = matrix[:, deep]
            others = np.where(chosen[matrix.indices], 0.0, matrix.data)
            rest = sparse.csr_array((others, matrix.indices, matrix.indptr), shape=matrix.shape)
            matrix = sparse.csr_array(rest + product(coefficients, rows))
            matrix.eliminate_zeros()
            offset = offset + coefficients @ shift

    def to_network(
        self,
        outputs: Mapping[str, Tensor],
        *,
        input_shape: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        input_box: Box | None = None,
        source: str = "arrays",
    ) -> AnyNetwork:
        """The `Network` from all inputs, in order, to the named outputs, one after the other.

        It is a `MixedNetwork` where an output needs a smooth activation.
        Atoms that no output needs are dropped. The last layer is that of the deepest ReLUs where every output is one of
        them or needs none of them, else one more affine layer. Raises `NetworkError` where a number is not finite.
        """
        everything = self.concatenate([t.reshape((t.size,)) for t in outputs.values()], axis=0)
        matrix, offset = self._inline(everything.matrix, everything.offset)
        ends = [0, *np.cumsum([t.size for t in outputs.values()]).tolist()]
        single = next(iter(outputs.values())).shape if len(outputs) == 1 else None
        layers, codes = self._layers(matrix, offset)
        network = Network(
            layers,
            input_shape=input_shape,
            output_shape=output_shape if output_shape is not None else single,
            input_box=input_box,
            input_slices=self.input_slices,
            output_slices={name: slice(*ab) for name, ab in zip(outputs, pairwise(ends), strict=True)},
            source=source,
        )
        return MixedNetwork(network, codes) if any(part.any() for part in codes) else network

    def _layers(self, matrix: Matrix, offset: Floats) -> tuple[list[Layer], list[Codes]]:
        """The layers that compute matrix a + offset, from the inputs on, and the codes of their neurons."""
        n = self._depth.size
        groups = [(sparse.csr_array((self.n_inputs, n)), np.zeros(self.n_inputs)), *self._definitions]
        definition = sparse.vstack([widen(rows, n) for rows, _ in groups], format="csr")
        constants = np.concatenate([offsets for _, offsets in groups])
        kind = np.where(self._held, LINEAR, self._code)  # RELU where neither
        final = int(self._depth[matrix.indices].max(initial=0))
        ends = self._deepest_atoms(matrix, offset, final)
        if ends is None:
            final, code = final + 1, np.full(offset.size, LINEAR)
        else:  # the deepest atoms are outputs: their definitions are the last layer
            at = np.flatnonzero(ends >= 0)
            rest = np.flatnonzero(ends < 0)
            order = np.argsort(np.r_[at, rest], kind="stable")
            matrix = take_rows(sparse.vstack([take_rows(definition, ends[at]), matrix[rest]], format="csr"), order)
            offset = np.r_[constants[ends[at]], offset[rest]][order]
            code = np.r_[kind[ends[at]], np.full(rest.size, LINEAR)][order]
        until = np.full(n, -1, dtype=np.int64)  # the last layer that reads each atom
        until[matrix.indices] = final
        for d in range(final - 1, 0, -1):
            used = take_rows(definition, np.flatnonzero((self._depth == d) & (until > d))).indices
            until[used] = np.maximum(until[used], d)
        layers: list[Layer] = []
        codes: list[Codes] = []
        before = np.arange(self.n_inputs)
        for d in range(1, final):
            new = np.flatnonzero((self._depth == d) & (until > d))
            new = np.r_[new[~self._held[new]], new[self._held[new]]]
            passed = np.flatnonzero((self._depth < d) & (until > d))
            passing = units(passed, n)
            weight = select_columns(sparse.vstack([take_rows(definition, new), passing], format="csr"), before)
            here = np.r_[kind[new], np.full(passed.size, LINEAR)]
            layers.append(Layer(compact(weight), np.r_[constants[new], np.zeros(passed.size)], here == RELU))
            codes.append(np.maximum(here, 0).astype(np.int8))
            before = np.r_[new, passed]
        layers.append(Layer(compact(select_columns(matrix, before)), offset, code == RELU))
        codes.append(np.maximum(code, 0).astype(np.int8))
        return layers, codes

    def _deepest_atoms(self, matrix: Matrix, offset: Floats, depth: int) -> Ints | None:
        """For each row the atom of this depth that it is, or -1 where it needs none; None where a row mixes them."""
        lengths = np.diff(matrix.indptr)
        deep = self._depth[matrix.indices] == depth
        row = np.repeat(np.arange(offset.size), lengths)[deep]
        atoms = matrix.indices[deep]
        plain = (lengths[row] == 1) & (matrix.data[deep] == 1.0) & (offset[row] == 0.0)
        if depth == 0 or not plain.all() or np.unique(atoms).size < atoms.size:
            return None
        ends = np.full(offset.size, -1, dtype=np.int64)
        ends[row] = atoms
        return ends
