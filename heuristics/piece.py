"""A network under one activation pattern: an affine map, never multiplied out.

    z_0 = W_0 x + b_0,   z_k = W_k (p_k-1 * z_k-1) + b_k,   y = p_last * z_last

Symbols: W, b weight and bias, p the pattern (1 = active or linear), z pre-activation, A x + c = z as a map of x. The
product A_k = W_k diag(p) W_k-1 ... is as large as n_k times n_in; a forward pass gives z without it, and a backward
pass those of its rows that somebody needs.

*Free* neurons are cut off from their z: what they hand on, h, is an argument like x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from omlt_ext.domain import Floats, Ints
from omlt_ext.network import Network, Pattern, dense


@dataclass(frozen=True, eq=False)
class Piece:
    """The affine map of `network` under `pattern`, one bool array a layer; linear neurons are active in it.

    `free`: one array of neurons a layer, or none at all. Arguments are x (n_in,) followed by the h of the free neurons,
    layer by layer: (n,) together.

    >>> from omlt_ext import Layer, Network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 1.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.5], relu=False)])
    >>> pattern = network.pattern([2.0, 1.0])
    >>> piece = Piece(network, pattern)
    >>> piece.pre_activations(np.array([2.0, 1.0]))
    (array([3., 2.]), array([-2.5]))
    >>> piece.rows(1, np.array([0])), piece.gradient(np.array([1.0]))
    (array([[-2.,  4.]]), array([-2.,  4.]))
    >>> Piece(network, pattern, (np.array([1]), np.array([], dtype=int))).rows(1, np.array([0]))
    array([[ 1.,  1., -3.]])
    """

    network: Network
    pattern: Pattern
    free: tuple[Ints, ...] = ()

    @property
    def n(self) -> int:
        """Number of arguments."""
        return self.network.n_inputs + sum(at.size for at in self.free)

    @cached_property
    def _closed(self) -> Pattern:
        """The pattern, free neurons inactive."""
        if not self.free:
            return self.pattern
        masks = [active.copy() for active in self.pattern]
        for mask, at in zip(masks, self.free, strict=True):
            mask[at] = False
        return tuple(masks)

    def pre_activations(self, x: Floats) -> tuple[Floats, ...]:
        """z of every layer at the arguments x (n,)."""
        return tuple(z[:, 0] for z in self._forward(x[:, None], 1.0)[0])

    def changes(self, D: Floats) -> tuple[Floats, ...]:
        """A_k D of every layer for directions D (n, m)."""
        return tuple(self._forward(D, 0.0)[0])

    def outputs(self, x: Floats) -> Floats:
        """y at the arguments x (n,)."""
        return self._forward(x[:, None], 1.0)[1][:, 0]

    def rows(self, k: int, neurons: Ints) -> Floats:
        """The rows of A_k that belong to some neurons, (m, n)."""
        return self._backward(k, dense(self.network.layers[k].weight[neurons]))

    def gradient(self, weights: Floats) -> Floats:
        """The gradient of weights . y in the arguments: weights (n_out,) or (m, n_out) give (n,) or (m, n)."""
        return self._backward(len(self.network.layers), weights)

    def _forward(self, X: Floats, constant: float) -> tuple[list[Floats], Floats]:
        """(z of every layer, y) for arguments (n, m), biases times `constant`."""
        zs, H, first = [], X[: self.network.n_inputs], self.network.n_inputs
        for k, (layer, closed) in enumerate(zip(self.network.layers, self._closed, strict=True)):
            zs.append(layer.weight @ H + constant * layer.bias[:, None])
            H = zs[-1] * closed[:, None]
            if self.free:
                H[self.free[k]] = X[first : first + self.free[k].size]
                first += self.free[k].size
        return zs, H

    def _backward(self, k: int, G: Floats) -> Floats:
        """What G (..., n), which multiplies the h that layer k reads, is in the arguments."""
        parts = []
        for j in reversed(range(k)):
            if self.free:
                parts.append(G[..., self.free[j]])
            G = (G * self._closed[j]) @ self.network.layers[j].weight
        later = sum(at.size for at in self.free[k:])
        return np.concatenate([G, *reversed(parts), np.zeros((*G.shape[:-1], later))], axis=-1) if self.free else G
