"""Reduced space: affine layers and stable neurons substituted away, so that only unstable neurons have columns.

Symbols: v the columns that a layer is written in, h' = M v + d the outputs of the layer before, W, b weight and bias.

    z = W h' + b = (W M) v + (W d + b)

Linear neurons and active ones, h = z, stay expressions of v; inactive ones are 0. What `over` encodes is the layer of
the unstable neurons, with weight W M and bias W d + b; their outputs join v, and columns that no expression needs any
more leave it. In the last layer every neuron is encoded, so that each output that is not 0 has a column.

The rows get denser: a neuron behind a stable layer is written in the inputs of that layer. The LP relaxation is the one
of `over` on this layer, without the bounds of the columns that are gone. Sums W M are rounded to nearest.

Source: Schweidtmann and Mitsos, Deterministic global optimization with artificial neural networks embedded, JOTA 180
(2019), for reduced space, where no neuron keeps a column; here the unstable ones do, so that the model stays linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from omlt_ext.bounds import Bounds
from omlt_ext.domain import Floats, Ints
from omlt_ext.encoding import SUBSTITUTED, ZERO, Encoding, Formulation, LayerBounds, layer_bounds
from omlt_ext.errors import FormulationError
from omlt_ext.network import SPARSE_BELOW, Bools, Layer, Network, Weight
from omlt_ext.plugins import formulation
from omlt_ext.propagation.linear import LinearRanges


@dataclass(frozen=True)
class ReducedSpace:
    """Another formulation, `over`, a name or an object, for the unstable neurons alone; the rest is substituted.

    Raises `FormulationError` where `over` itself looks at all layers together or finds cuts.

    >>> from omlt_ext import Box, tighten_bounds
    >>> from omlt_ext.encoding import encode_network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [1.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[2.0, 3.0]], [0.5], relu=False)])
    >>> bounds = tighten_bounds(network, Box([0, 0], [1, 1]), effort="interval")
    >>> first, last = encode_network(network, bounds, ReducedSpace())
    >>> print(first)
    z[1] in [-1, 1]
    h[1] in [0, 1]
    sigma[1] in {0, ..., 1}
    affine[1]: -x[0] + x[1] + z[1] = 0
    relu_above[1]: 0 <= -z[1] + h[1]
    relu_active[1]: -z[1] + h[1] + 1 sigma[1] <= 1
    relu_inactive[1]: h[1] - 1 sigma[1] <= 0
    h[0] is substituted
    h[1] is h[1]
    >>> print(last)  # x[2] is h[1] of the layer before
    z[0] in [2.5, 9.5]
    affine[0]: -2 x[0] - 2 x[1] - 3 x[2] + z[0] = 2.5
    h[0] is z[0]
    """

    over: str | Formulation = "bigm"

    name = "reduced_space"

    def __post_init__(self) -> None:
        self._inner()

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        """One layer alone has nothing to substitute."""
        return self._inner().encode(layer, bounds)

    def encode_network(
        self, network: Network, bounds: Bounds, held: Sequence[Bools] | None = None
    ) -> tuple[Encoding, ...]:
        inner, space, encodings = self._inner(), Space.of(bounds), []
        for k, (layer, known) in enumerate(zip(network.layers, layer_bounds(network, bounds, held), strict=True)):
            decided = ~layer.relu | (known.lower >= 0.0) | (known.upper <= 0.0)
            chosen = ~decided if known.held is None else ~decided | known.held
            if k == len(network.layers) - 1:
                chosen = np.ones(layer.n_out, dtype=bool)
            encoding, space = space.step(layer, known, chosen, inner)
            encodings.append(encoding)
        return tuple(encodings)

    def _inner(self) -> Formulation:
        inner = formulation(self.over)
        if hasattr(inner, "encode_network") or getattr(inner, "separates", False):
            raise FormulationError(
                f"reduced_space cannot stand over {inner.name!r}, which needs the layers as they are; "
                "give a formulation that encodes one layer, such as 'bigm'"
            )
        return inner


@dataclass(frozen=True, eq=False)
class Space:
    """Where the substitution stands: h' = M v + d, lower <= v <= upper; `past` tells how v came about.

    `M` is None where nothing has been substituted: h' = v.
    """

    M: Weight | None
    d: Floats
    lower: Floats
    upper: Floats
    past: Past

    @classmethod
    def of(cls, bounds: Bounds) -> Space:
        box = bounds.box
        return cls(None, np.zeros(box.n), box.lower, box.upper, Past(bounds))

    def step(self, layer: Layer, known: LayerBounds, chosen: Bools, inner: Formulation) -> tuple[Encoding, Space]:
        """The encoding of the `chosen` neurons, and the space of the next layer's inputs."""
        W, c, neurons = layer.weight, layer.bias, np.flatnonzero(chosen)
        if self.M is not None:
            W, c = W @ self.M, W @ self.d + c
        whole = self.M is None and neurons.size == layer.n_out
        part = layer if whole else Layer(W[neurons], c[neurons], layer.relu[neurons])
        low, high = known.lower[neurons], known.upper[neurons]
        mask = None if known.held is None else known.held[neurons]
        ranges = self.past.ranges if self.past.steps else None
        encoding = _renumbered(
            inner.encode(part, LayerBounds(low, high, self.lower, self.upper, mask, ranges)), neurons
        )
        gone = ~chosen & ~(layer.relu & (known.upper <= 0.0) & (known.lower < 0.0))
        output = np.where(gone, SUBSTITUTED, ZERO)
        output[neurons] = encoding.output
        written = np.flatnonzero(encoding.output >= 0)
        needed = W[np.flatnonzero(gone)]
        kept = np.flatnonzero(abs(needed).sum(axis=0))
        if not kept.size and not written.size:
            kept = np.arange(1)  # a layer needs an input, also where it does not look at it
        carry = np.concatenate([kept, encoding.output[written]])
        same = whole and written.size == layer.n_out and not kept.size
        M = None if same else _next_map(needed[:, kept], np.flatnonzero(gone), neurons[written], layer.n_out)
        new_low, new_high = part.activation(low)[written], part.activation(high)[written]
        past = self.past.then(kept, self.lower.size, part, written, low, high)
        space = Space(
            M,
            np.where(gone, c, 0.0),
            np.concatenate([self.lower[kept], new_low]),
            np.concatenate([self.upper[kept], new_high]),
            past,
        )
        return replace(encoding, output=output, carry=carry), space


def _next_map(needed: Weight, gone: Ints, written: Ints, n_out: int) -> Weight:
    """M of the next layer: the rows `needed` at the neurons `gone`, then one new column for each one in `written`."""
    entries = sparse.coo_array(needed)
    at = np.arange(written.size)
    row = np.concatenate([gone[entries.row], written])
    column = np.concatenate([entries.col, needed.shape[1] + at])
    data = np.concatenate([entries.data, np.ones(at.size)])
    M = sparse.csr_array((data, (row, column)), shape=(n_out, needed.shape[1] + at.size))
    return M if M.nnz < SPARSE_BELOW * n_out * M.shape[1] else M.toarray()


def _renumbered(encoding: Encoding, neurons: Ints) -> Encoding:
    """The same encoding with the numbers that its neurons have in the whole layer."""

    def own(group: Any) -> Any:
        return replace(group, neuron=neurons[group.neuron])

    return replace(
        encoding,
        columns=tuple(map(own, encoding.columns)),
        rows=tuple(map(own, encoding.rows)),
        indicators=tuple(replace(part, rows=own(part.rows)) for part in encoding.indicators),
        pairs=tuple(map(own, encoding.pairs)),
    )


@dataclass(frozen=True, eq=False)
class Past:
    """The layers so far as a network whose outputs are v: kept columns pass through, unstable neurons are new."""

    bounds: Bounds
    steps: tuple[tuple[Ints, int, Layer, Ints, Floats, Floats], ...] = field(default=(), repr=False)

    def then(self, kept: Ints, n_in: int, part: Layer, written: Ints, low: Floats, high: Floats) -> Past:
        return Past(self.bounds, (*self.steps, (kept, n_in, part, written, low, high)))

    def ranges(self, C: Any, effort: str) -> tuple[Floats, Floats]:
        """Bounds of C v, as `LayerBounds.ranges`."""
        box = self.bounds.box
        layers, lower, upper, p, q = [], [], [], box.lower, box.upper
        for kept, n_in, part, written, low, high in self.steps:
            passing = sparse.csr_array((np.ones(kept.size), (np.arange(kept.size), kept)), shape=(kept.size, n_in))
            weight = sparse.vstack([passing, sparse.csr_array(part.weight[written])], format="csr")
            bias = np.concatenate([np.zeros(kept.size), part.bias[written]])
            relu = np.concatenate([np.zeros(kept.size, dtype=bool), part.relu[written]])
            layers.append(Layer(weight, bias, relu))
            lower.append(np.concatenate([p[kept], low[written]]))
            upper.append(np.concatenate([q[kept], high[written]]))
            p, q = layers[-1].activation(lower[-1]), layers[-1].activation(upper[-1])
        network = Network(layers)
        known = Bounds.of(network, box, lower, upper, polytope=self.bounds.polytope)
        return LinearRanges(network, known, len(layers))(C, effort)
