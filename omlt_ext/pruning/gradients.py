"""The gradient of each sample's loss by the weights, as products: the matrix of all of them is never formed.

    g_n[o, i] = delta_n,o h_n,i   in each layer,   delta the derivative of the loss by z, h the layer's inputs

Symbols: G (N, d) has the rows g_n; N samples, d weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..domain import Floats, Ints
from ..network import Network
from ..propagation.rounding import row_blocks
from .data import Data
from .weights import Weights

BLOCK_BYTES = 2**25  # of entries of G that are looked at together


@dataclass(frozen=True, eq=False)
class SampleGradients:
    """G by its factors: `h` (N, n_in) and `delta` (N, n_out) of every layer, for the weights at `weights`."""

    weights: Weights
    h: tuple[Floats, ...]
    delta: tuple[Floats, ...]

    @classmethod
    def of(cls, weights: Weights, network: Network, data: Data, slopes: Floats | None = None) -> SampleGradients:
        """At a network as wide as that of `weights`; `slopes` (N, n_out) in place of the loss's own by the outputs."""
        zs, inputs = [], [data.inputs]
        for layer in network.layers:
            zs.append(layer.pre_activation(inputs[-1]))
            inputs.append(layer.activation(zs[-1]))
        back, deltas = data.slopes(inputs[-1]) if slopes is None else slopes, []
        for layer, z in zip(reversed(network.layers), reversed(zs), strict=True):
            deltas.append(np.where((z > 0.0) | ~layer.relu, back, 0.0))
            back = np.asarray((layer.weight.T @ deltas[-1].T).T)
        return cls(weights, tuple(inputs[:-1]), tuple(reversed(deltas)))

    @property
    def n_samples(self) -> int:
        return int(self.h[0].shape[0])

    def mean(self) -> Floats:
        """(d,): the gradient of the mean loss, G^T 1 / N."""
        return self.back(np.full(self.n_samples, 1.0 / self.n_samples))

    def back(self, a: Floats) -> Floats:
        """(d,): G^T a."""
        return self._sums([delta * a[:, None] for delta in self.delta], self.h)

    def squares(self) -> Floats:
        """(d,): the mean of g_n squared, the diagonal of G^T G / N."""
        return self._sums([delta**2 for delta in self.delta], [h**2 for h in self.h]) / self.n_samples

    def times(self, w: Floats) -> Floats:
        """(N,): G w."""
        changed = self.weights.network_with(w)
        total = np.zeros(self.n_samples)
        for layer, h, delta in zip(changed.layers, self.h, self.delta, strict=True):
            total += (np.asarray((layer.weight @ h.T).T) * delta).sum(axis=1)
        return total

    def columns(self, index: Ints) -> Floats:
        """(N, index.size): some columns of G, in the order of `index`."""
        found = np.empty((self.n_samples, index.size))
        for k, part in enumerate(self.weights.slices):
            mine = np.flatnonzero((index >= part.start) & (index < part.stop))
            at = index[mine] - part.start
            found[:, mine] = self.delta[k][:, self.weights.rows[k][at]] * self.h[k][:, self.weights.columns[k][at]]
        return found

    def _sums(self, deltas: list[Floats], inputs: tuple[Floats, ...] | list[Floats]) -> Floats:
        """(d,): sum_n delta_n,o h_n,i at every weight."""
        parts = [np.empty(0)]
        for layer, delta, h, rows, columns in zip(
            self.weights.network.layers, deltas, inputs, self.weights.rows, self.weights.columns, strict=True
        ):
            few = layer.is_sparse  # places, beside all entries of the product
            parts.append(sums_at(delta, h, rows, columns) if few else (delta.T @ h)[rows, columns])
        return np.concatenate(parts)


def sums_at(delta: Floats, h: Floats, rows: Ints, columns: Ints) -> Floats:
    """(places,): sum_n delta_n,o h_n,i at the places (o, i) alone; `delta` (N, n_out), `h` (N, n_in)."""
    blocks = row_blocks(rows.size, delta.shape[0], BLOCK_BYTES)
    parts = [np.einsum("nk,nk->k", delta[:, rows[some]], h[:, columns[some]]) for some in blocks]
    return np.concatenate([np.empty(0), *parts])


def curvature_gradients(
    weights: Weights, network: Network, data: Data, rng: np.random.Generator, *, kind: str = "softened"
) -> SampleGradients:
    """G with G^T G / N near the curvature of the mean loss at a trained network, one random row a sample.

    Sample n goes back from r_n at the outputs, random with mean 0, so that the expectation of G^T G is the
    Gauss-Newton matrix sum_n J_n^T C_n J_n, C_n the covariance of r_n. For values C_n = I: the residuals of a good
    network say nothing. For classes C_n = diag(p) - p p^T at p = softmax(y / T), T the standard deviation of all
    outputs around their samples' means: T = 1 is the Fisher matrix, which is next to 0 where a network is as sure as
    trained ones are. `kind="empirical"` takes the gradients of the loss at the labels instead, the empirical Fisher
    matrix of Yu et al., ICML 2022 (arXiv 2203.04466); for values it changes nothing.
    """
    if data.labels is not None and kind == "empirical":
        return SampleGradients.of(weights, network, data)
    if network.n_outputs == 1:
        return SampleGradients.of(weights, network, data, np.ones((data.n_samples, 1)))
    r = rng.standard_normal((data.n_samples, network.n_outputs))
    if data.labels is not None:
        share = _softened_classes(network(data.inputs))
        r *= np.sqrt(share)
        r -= share * r.sum(axis=1, keepdims=True)
    return SampleGradients.of(weights, network, data, r)


def _softened_classes(y: Floats) -> Floats:
    """softmax(y / T) of each row, T the standard deviation of all y around their rows' means."""
    y = y - y.mean(axis=1, keepdims=True)
    y /= y.std() or 1.0
    share = np.exp(y - y.max(axis=1, keepdims=True))
    return np.asarray(share / share.sum(axis=1, keepdims=True))
