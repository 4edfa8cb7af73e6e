"""What an exact search maximises: the only output t of one network over a box or polytope.

Linear objectives and systems of rows become part of the network, exactly: a linear neuron has no relaxation to lose.

    linear   t = c x + d f(x) + offset
    least    t = min_i (g_i - Gx_i x - Gy_i f(x)),   so that t >= 0 where all rows Gx x + Gy f(x) <= g hold

c x is carried through the layers by one linear neuron each; a minimum is min(a, b) = a - max(0, a - b), in rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ..domain import Box, Floats, Polytope
from ..network import Layer, Network, compact


@dataclass(frozen=True, eq=False)
class Target:
    """max t(x) over `domain`, t the only output of `network`.

    >>> from omlt_ext import Layer, Network
    >>> f = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> Target.linear(f, Box([-1], [1]), np.array([2.0]), np.array([-1.0]), 5.0).network([[0.5], [-0.5]])
    array([[5.5],
           [7.5]])
    >>> rows = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]]), np.array([0.0, 1.5])  # x <= 0, f(x) <= 1.5
    >>> Target.least(f, Box([-1], [1]), *rows).network([[0.5], [-0.5], [-1.0]])
    array([[-0.5],
           [ 0.5],
           [-0.5]])
    """

    network: Network
    domain: Box | Polytope
    rows: Network | None = None  # t is the least of its outputs

    def __post_init__(self) -> None:
        assert self.network.n_outputs == 1

    @classmethod
    def linear(
        cls, network: Network, domain: Box | Polytope, d: Floats, c: Floats | None = None, offset: float = 0.0
    ) -> Target:
        """t = c x + d f(x) + offset for d (n_out,), c (n_in,)."""
        c = np.zeros(network.n_inputs) if c is None else c
        return cls(Network([*with_rows(network, c[None, :], d[None, :], np.array([offset]))]), domain)

    @classmethod
    def least(cls, network: Network, domain: Box | Polytope, Gx: Floats, Gy: Floats, g: Floats) -> Target:
        """t = min_i (g_i - Gx_i x - Gy_i f(x)) for Gx (m, n_in), Gy (m, n_out), g (m,), m >= 1."""
        return cls.minimum(Network(with_rows(network, -Gx, -Gy, g)), domain)

    @classmethod
    def minimum(cls, network: Network, domain: Box | Polytope) -> Target:
        """t = min_i f_i(x) for a network whose last layer is linear."""
        layers = list(network.layers)
        while layers[-1].n_out > 1:
            layers += _halved(layers[-1].n_out)
        return cls(Network(layers), domain, network)


def with_rows(network: Network, Gx: Floats, Gy: Floats, g: Floats) -> list[Layer]:
    """Layers of Gx x + Gy f(x) + g, (m,): each row that reads x has a linear neuron in every layer before.

    A linear last layer is multiplied out, so that the layer before it is seen to be the last one with ReLUs.
    """
    layers, last = list(network.layers), network.layers[-1]
    if not last.relu.any():
        layers, Gy, g = layers[:-1], np.asarray((last.weight.T @ Gy.T).T), g + Gy @ last.bias
    reads = np.flatnonzero(Gx.any(axis=1))
    if not layers:
        return [Layer(compact(Gx + Gy), g, relu=False)]
    if reads.size == 0:
        return [*layers, Layer(compact(Gy), g, relu=False)]
    carried: list[Layer] = []
    for k, layer in enumerate(layers):
        ours = sparse.csr_array(Gx[reads]) if k == 0 else sparse.eye_array(reads.size, format="csr")
        blocks = [[layer.csr_weight()], [ours]] if k == 0 else [[layer.csr_weight(), None], [None, ours]]
        bias, relu = np.zeros(reads.size), np.zeros(reads.size, dtype=bool)
        joined = compact(sparse.block_array(blocks, format="csr"))
        carried.append(Layer(joined, np.concatenate([layer.bias, bias]), np.concatenate([layer.relu, relu])))
    back = np.zeros((g.size, reads.size))
    back[reads, np.arange(reads.size)] = 1.0
    return [*carried, Layer(compact(np.hstack([Gy, back])), g, relu=False)]


def _halved(m: int) -> Sequence[Layer]:
    """Layers that turn m numbers into the minima of pairs of them, an odd one out as it is."""
    pairs, rows, relus = m // 2, [], []
    last = np.zeros((pairs + m % 2, 2 * pairs + m % 2))
    identity: Any = np.eye(m)
    for i in range(pairs):
        rows += [identity[2 * i], identity[2 * i] - identity[2 * i + 1]]
        relus += [False, True]
        last[i, 2 * i : 2 * i + 2] = 1.0, -1.0
    if m % 2:
        rows.append(identity[-1])
        relus.append(False)
        last[-1, -1] = 1.0
    return [
        Layer(compact(np.array(rows)), np.zeros(len(rows)), relus),
        Layer(compact(last), np.zeros(last.shape[0]), False),
    ]
