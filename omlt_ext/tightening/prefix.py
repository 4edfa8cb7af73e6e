"""The layers before the one to bound, as the model that the MILPs of that layer share.

Symbols: W weight of the last layer, h' its inputs, which are the outputs of the layers before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..bounds import Bounds
from ..domain import Floats, Ints
from ..encoding import ZERO, Formulation, encode_network
from ..milp import EmbeddedNetwork, MatrixModel, ModelBuilder
from ..network import Layer, Network


@dataclass(frozen=True, eq=False)
class Prefix:
    """A model of all layers but the last, over the domain of the bounds.

    `inputs` (n_in,) are its columns of x, `outputs` (n,) those of h', `ZERO` where h' is 0 everywhere.

    >>> from omlt_ext import Box, tighten_bounds
    >>> from omlt_ext.formulations import BigM
    >>> network = Network([Layer([[1.0, -1.0]], [0.0], relu=True), Layer([[2.0]], [1.0], relu=False)])
    >>> prefix = Prefix.of(network, tighten_bounds(network, Box.full(2, 0, 1)), BigM())
    >>> prefix.inputs, prefix.outputs, prefix.cost(np.array([2.0]))
    (array([0, 1]), array([3]), array([0., 0., 0., 2., 0.]))
    """

    model: MatrixModel
    inputs: Ints
    outputs: Ints
    embedded: EmbeddedNetwork

    @classmethod
    def of(cls, network: Network, bounds: Bounds, formulation: Formulation) -> Prefix:
        builder = ModelBuilder()
        box, polytope = bounds.box, bounds.polytope
        inputs = builder.add_columns(box.lower, box.upper)
        if polytope is not None:
            builder.add_rows(sparse.csr_array(polytope.A), inputs, np.full(polytope.b.size, -np.inf), polytope.b)
        before = Network(network.layers[:-1])
        known = Bounds.of(before, box, bounds.lower[:-1], bounds.upper[:-1])
        embedded = builder.add_network(before, encode_network(before, known, formulation), inputs)
        return cls(builder.model(), inputs, embedded.outputs, embedded)

    def cost(self, weight: Floats) -> Floats:
        """The objective weight @ h' as a cost for every column; `weight` (n,) is a row of the last layer."""
        c = np.zeros(self.model.n_columns)
        present = self.outputs != ZERO
        c[self.outputs[present]] = weight[present]
        return c


def row_of(layer: Layer, j: int) -> Floats:
    """Row j of the weight, dense."""
    return np.asarray(layer.weight[[j]].toarray()[0] if layer.is_sparse else layer.weight[j])


def inside(points: Floats, bounds: Bounds) -> Floats:
    """The points (m, n_in) moved into the box, without those that violate a row of the polytope."""
    moved = np.clip(points, bounds.box.lower, bounds.box.upper)
    polytope = bounds.polytope
    return moved if polytope is None else moved[(moved @ polytope.A.T <= polytope.b).all(axis=1)]
