"""What a formulation returns for one layer: columns and sparse rows, read by Pyomo and by the solvers alike.

Symbols: W weight, b bias, z = W h' + b pre-activation with h' the layer's inputs, h post-activation, l <= z <= u
bounds, sigma binary (1: active). A layer's local columns are its inputs 0 .. n_in - 1, then the columns it adds, group
after group. Three kinds of neurons never need a binary: linear ones and ReLUs with l >= 0 have h = z (one column for
both), ReLUs with u <= 0 have h = 0 (no column, no row).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from .bounds import REMEDY, Bounds
from .domain import Floats, check_interval
from .network import Bools, Layer, Network

Ints = NDArray[np.int64]
ZERO = -1  # in `Encoding.output`: this neuron's h is 0 everywhere, there is no column for it


@dataclass(frozen=True, eq=False)
class Columns:
    """A group of columns that a layer adds; column i belongs to neuron `neuron[i]`.

    `lower` and `upper` are finite and valid at every point of the network; `integer` columns take whole values.
    """

    name: str
    neuron: Ints
    lower: Floats
    upper: Floats
    integer: bool = False


@dataclass(frozen=True, eq=False)
class Rows:
    """A group of rows lower <= matrix @ columns <= upper (an end may be infinite); row i belongs to `neuron[i]`."""

    name: str
    neuron: Ints
    matrix: Any  # scipy.sparse.csr_array (m, number of local columns)
    lower: Floats
    upper: Floats


@dataclass(frozen=True, eq=False)
class Encoding:
    """One layer as columns and rows. `output[j]` is the local column that carries h_j, or `ZERO`.

    `str(encoding)` writes it out as algebra, a line for each column and row.
    """

    n_in: int
    columns: tuple[Columns, ...]
    rows: tuple[Rows, ...]
    output: Ints

    @property
    def n_columns(self) -> int:
        """Columns that the layer adds."""
        return sum(group.neuron.size for group in self.columns)

    def names(self) -> list[str]:
        """The name of every local column: x[i] for the inputs, then z[j], h[j], sigma[j], ..."""
        own = [f"{group.name}[{j}]" for group in self.columns for j in group.neuron]
        return [f"x[{i}]" for i in range(self.n_in)] + own

    def __str__(self) -> str:
        names = self.names()
        lines = []
        for group in self.columns:
            for j, low, high in zip(group.neuron, group.lower, group.upper, strict=True):
                domain = f"in {{{low:g}, ..., {high:g}}}" if group.integer else f"in [{low:g}, {high:g}]"
                lines.append(f"{group.name}[{j}] {domain}")
        for rows in self.rows:
            for i, j in enumerate(rows.neuron):
                start, stop = rows.matrix.indptr[i : i + 2]
                terms = zip(rows.matrix.indices[start:stop], rows.matrix.data[start:stop], strict=True)
                body = _algebra([(names[column], float(value)) for column, value in sorted(terms)])
                lines.append(f"{rows.name}[{j}]: {_between(rows.lower[i], body, rows.upper[i])}")
        lines += [f"h[{j}] is {'0' if column == ZERO else names[column]}" for j, column in enumerate(self.output)]
        return "\n".join(lines)

    def __deepcopy__(self, memo: object) -> Encoding:
        return self  # frozen


@dataclass(frozen=True, eq=False)
class LayerBounds:
    """Bounds that one layer's encoding may use: of its pre-activations and of its inputs.

    `held` (n_out,), where given, marks neurons whose range does not follow from the ranges of the layer's inputs (it
    comes from the model around the network): the encoding has to enforce it. A `Draft` does.
    """

    lower: Floats
    upper: Floats
    input_lower: Floats
    input_upper: Floats
    held: Bools | None = None


class Formulation(Protocol):
    """A way to write h = max(0, z): a frozen object with a name and one method that encodes one layer."""

    @property
    def name(self) -> str: ...

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding: ...


class Draft:
    """The part of an encoding that every formulation shares: the states, z and h columns and the rows z = W h' + b.

    A formulation takes the neurons `unstable`, their column numbers `z[unstable]` and `h[unstable]`, adds columns
    and rows with `add_columns` and `add_rows`, and returns `encoding()`. Raises `BoundsError` on missing, infinite or
    crossed bounds.
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
        self._rows: list[tuple[str, Ints, list[tuple[Any, Any]], Floats, Floats]] = []
        self._size = layer.n_in
        self.z = np.full(layer.n_out, ZERO)
        self.z[present] = self.add_columns("z", present, self.lower[present], self.upper[present])
        self.h = self.z.copy()
        j = self.unstable
        self.h[j] = self.add_columns("h", j, np.zeros(j.size), self.upper[j])
        self._present = present
        self._held = neurons[:0] if bounds.held is None else neurons[bounds.held]

    def add_columns(
        self, name: str, neuron: Ints, lower: ArrayLike, upper: ArrayLike, *, integer: bool = False
    ) -> Ints:
        """Add a group of columns, one for each entry of `neuron`, and return their local numbers."""
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), neuron.shape) for end in (lower, upper))
        self._columns.append(Columns(name, neuron, low, high, integer))
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
    ) -> None:
        """Add a group of rows lower <= sum of coefficient * column <= upper, one for each entry of `neuron`.

        Each term is (column of every row, coefficient of every row or one for all).
        """
        parts = [
            (columns, np.broadcast_to(np.asarray(value, dtype=np.float64), neuron.shape)) for columns, value in terms
        ]
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), neuron.shape) for end in (lower, upper))
        self._rows.append((name, neuron, parts, low, high))

    def encoding(self) -> Encoding:
        """The finished encoding; the rows z - W h' = b come first, those of held neurons, l <= z <= u, last."""
        rows = [self._affine()]
        for name, neuron, parts, low, high in self._rows:
            at = np.arange(neuron.size)
            triplets = (np.concatenate([v for _, v in parts]), (np.tile(at, len(parts)), np.concatenate(_first(parts))))
            rows.append(Rows(name, neuron, sparse.csr_array(triplets, shape=(neuron.size, self._size)), low, high))
        if self._held.size:
            rows.append(self._range())
        return Encoding(self.layer.n_in, tuple(self._columns), tuple(rows), self.h)

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
        W = self.layer.csr_weight()[j]
        entries = np.diff(W.indptr)
        indptr = np.concatenate([[0], np.cumsum(entries + 1)])
        last = indptr[1:] - 1  # each row: -W, then 1 for its own z
        own = np.zeros(int(indptr[-1]), dtype=bool)
        own[last] = True
        indices = np.empty(own.size, dtype=np.int64)
        data = np.empty(own.size)
        indices[own], data[own] = self.z[j], 1.0
        indices[~own], data[~own] = W.indices, -W.data
        matrix = sparse.csr_array((data, indices, indptr), shape=(j.size, self._size))
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


def encode_network(
    network: Network, bounds: Bounds, formulation: Formulation, held: Sequence[Bools] | None = None
) -> tuple[Encoding, ...]:
    """The encoding of every layer of `network` under `bounds`; `held[k]` as in `LayerBounds`."""
    bounds.check_network(network)
    low, high = bounds.box.lower, bounds.box.upper
    encodings = []
    for k, layer in enumerate(network.layers):
        z_low, z_high = bounds.lower[k], bounds.upper[k]
        check_interval(z_low, z_high, lambda j, k=k: f"layer {k}, neuron {j}", REMEDY)
        mask = held[k] if held is not None and held[k].any() else None
        encodings.append(formulation.encode(layer, LayerBounds(z_low, z_high, low, high, mask)))
        low, high = layer.activation(z_low), layer.activation(z_high)
    return tuple(encodings)


def _first(parts: Iterable[tuple[Any, Any]]) -> list[Any]:
    return [columns for columns, _ in parts]


def _algebra(terms: Sequence[tuple[str, float]]) -> str:
    text = ""
    for name, value in terms:
        sign = "-" if value < 0 else "+"
        size = "" if abs(value) == 1 else f"{abs(value):g} "
        text += f"{'-' if sign == '-' else ''}{size}{name}" if not text else f" {sign} {size}{name}"
    return text or "0"


def _between(lower: float, body: str, upper: float) -> str:
    if lower == upper:
        return f"{body} = {lower:g}"
    left = "" if lower == -np.inf else f"{lower:g} <= "
    right = "" if upper == np.inf else f" <= {upper:g}"
    return f"{left}{body}{right}"
