"""All weights of a network as one vector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import sparse

from ..domain import Floats, Ints
from ..network import Bools, Layer, Network, compact, dense


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of `network` as one vector w (d,): layer by layer, row by row, without the biases.

    `rows` and `columns` say for each layer where they stand: where the network that is pruned has a nonzero weight.

    >>> from omlt_ext import Layer
    >>> weights = Weights.of(Network([Layer([[1.0, 0.0], [3.0, 4.0]], [5.0, 6.0], relu=False)]))
    >>> weights.vector, weights.masks(weights.vector > 2.0)[0].tolist()
    (array([1., 3., 4.]), [[False, False], [True, True]])
    """

    network: Network
    rows: tuple[Ints, ...]
    columns: tuple[Ints, ...]

    @classmethod
    def of(cls, network: Network) -> Weights:
        """All weights of a network."""
        places = [_places(layer) for layer in network.layers]
        return cls(network, tuple(rows for rows, _ in places), tuple(columns for _, columns in places))

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The part of w that is each layer's."""
        ends = np.cumsum([0, *(rows.size for rows in self.rows)]).tolist()
        return tuple(slice(first, last) for first, last in pairwise(ends))

    @property
    def d(self) -> int:
        return self.slices[-1].stop

    @cached_property
    def vector(self) -> Floats:
        """w (d,), read-only."""
        w = np.concatenate([np.empty(0), *map(_values, self.network.layers, self.rows, self.columns)])
        w.setflags(write=False)
        return w

    def at(self, network: Network) -> Weights:
        """The same places in a network as wide as this one, whose weights may be 0 there and have moved."""
        return replace(self, network=network)

    def network_with(self, w: Floats) -> Network:
        """The network with these weights in place of its own: as many neurons, the same biases."""
        layers = []
        for layer, rows, columns, part in zip(self.network.layers, self.rows, self.columns, self.slices, strict=True):
            W = sparse.csr_array((w[part], (rows, columns)), shape=layer.weight.shape)
            layers.append(Layer(compact(W), layer.bias, layer.relu))
        return with_layers(self.network, layers)

    def masks(self, keep: Bools) -> tuple[Bools, ...]:
        """For each layer (n_out, n_in), True where a weight stands that is kept."""
        found = []
        for layer, rows, columns, part in zip(self.network.layers, self.rows, self.columns, self.slices, strict=True):
            mask = np.zeros(layer.weight.shape, dtype=bool)
            mask[rows, columns] = keep[part]
            found.append(mask)
        return tuple(found)


def with_layers(network: Network, layers: list[Layer]) -> Network:
    """The same network with other layers: shapes, names, box and source stay."""
    return Network(
        layers,
        input_shape=network.input_shape,
        output_shape=network.output_shape,
        input_box=network.input_box,
        input_slices=network.input_slices,
        output_slices=network.output_slices,
        source=network.source,
    )


def _places(layer: Layer) -> tuple[Ints, Ints]:
    """(rows, columns) of the nonzero weights, row by row."""
    if layer.is_sparse:
        W = layer.weight
        rows = np.repeat(np.arange(layer.n_out), np.diff(W.indptr))
        return rows, W.indices.astype(np.int64)
    rows, columns = np.nonzero(layer.weight)
    return rows, columns


def _values(layer: Layer, rows: Ints, columns: Ints) -> Floats:
    """The weights at some places."""
    return np.asarray(dense(layer.weight[rows, columns])).ravel()  # SciPy's answer to no places is sparse
