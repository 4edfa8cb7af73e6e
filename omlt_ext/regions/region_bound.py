"""Upper bounds on the number of linear regions, from the widths and the ranks of the weights.

A region is what has one activation pattern and an inside. With n_0 inputs, n_l ReLUs in layer l and
r_l at least the rank of its weight,

    R(l, d) = T_l(min(d, r_l)),   T_l(m) = sum_{j=0}^{min(m, n_l)} C(n_l, j) R(l + 1, min(n_l - j, m)),
    R(L + 1, .) = 1,

and the bound is R(1, n_0): d is the dimension that a region can still have before layer l, j the ReLUs that are
inactive on it. Serra, Tjandraatmadja and Ramalingam, ICML 2018 (arXiv 1711.02114), Theorem 1; with ranks of sparse
weights Cai et al., CPAIOR 2023 (arXiv 2301.07966). Linear neurons add to the dimension n_l - j, and to nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse.csgraph import structural_rank
from scipy.special import gammaln

from ..domain import Floats, Ints, numbers
from ..errors import OptionError
from ..network import Layer, Network
from ..options import check_count, check_number


@dataclass(frozen=True)
class LayerShape:
    """What the expected bound knows of a layer.

    `n_in` inputs that are read, `relus` and `linear` neurons that are not constant, `fill` the share of nonzero weights
    between them.
    """

    n_in: int
    relus: int
    linear: int
    fill: float

    @property
    def n_out(self) -> int:
        return self.relus + self.linear


def region_bound(network: Network | Sequence[int]) -> int:
    """At most so many activation patterns hold on more than a thin set, and so the network has at most so many pieces.

    `network`: a `Network`, or the widths n_0, n_1, ..., n_L of inputs and layers of ReLUs with dense weights. Of a
    `Network` only the pattern of its nonzero weights counts: neurons without incoming weights have one state, and the
    rank of W^l is at most its structural rank. A linear output layer adds nothing. Exact, in whole numbers.

    >>> region_bound([2, 3]), region_bound([2, 3, 3]), region_bound([2, 4, 4, 4])
    (7, 40, 1331)

    Raises `OptionError` for a width that is none.
    """
    shapes = layer_shapes(network)
    ranks = [min(shape.n_in, shape.n_out) for shape in shapes]
    if isinstance(network, Network):
        ranks = [int(structural_rank(layer.csr_weight())) if layer.nnz else 0 for layer in network.layers]
    most = shapes[0].n_in
    after = [1] * (most + 1)  # R(l + 1, d)
    for shape, rank in zip(reversed(shapes), reversed(ranks), strict=True):
        choices = [math.comb(shape.relus, j) for j in range(min(most, shape.relus) + 1)]
        total = []  # T(m)
        for m in range(min(most, rank) + 1):
            total.append(sum(ways * after[min(shape.n_out - j, m)] for j, ways in enumerate(choices[: m + 1])))
        after = [total[min(d, rank)] for d in range(most + 1)]
    return after[most]


def log_region_bound(network: Network | Sequence[int], densities: float | Sequence[float] | None = None) -> float:
    """ln of `region_bound`; with `densities` ln of its expectation over random masks.

    `densities`: for each layer, or one for all, the share p of its weights that stays, each weight with the same
    probability and by itself. The rank is then at most the number of nonzero rows of the weight where it is wide, of
    its nonzero columns where it is tall: k ~ Bin(s, 1 - (1 - p)^t), s the shorter and t the longer of its sides, and

        R(l, d) = sum_k P_l(k) T_l(min(d, k))

    arXiv 2301.07966, with the term k = 0 kept. A `Network`'s own zeros count as pruned before.

    >>> round(math.exp(log_region_bound([2, 3, 3], 0.5)), 4)
    33.7093
    >>> round(log_region_bound([784, 100, 100]), 3)
    137.991

    Raises `OptionError` for widths or densities that are none.
    """
    if densities is None:
        return math.log(region_bound(network))
    shapes = layer_shapes(network)
    shares = np.array(numbers(densities, "densities", OptionError))
    if shares.shape not in ((), (len(shapes),)):
        raise OptionError(
            f"densities has shape {shares.shape}; give one number, or one for each of {len(shapes)} layers"
        )
    for k, share in enumerate(np.atleast_1d(shares).tolist()):
        check_number(f"densities[{k}]", share, most=1.0)
    return log_expected_bound(shapes, np.broadcast_to(shares, (len(shapes),)))


def layer_shapes(network: Network | Sequence[int]) -> list[LayerShape]:
    """The shapes of the layers of a network, or of ReLU layers of these widths with dense weights."""
    if isinstance(network, Network):
        return [_shape(layer) for layer in network.layers]
    if not isinstance(network, Sequence) or isinstance(network, str) or len(network) < 2:
        raise OptionError(f"{network!r} are no widths; give a Network, or widths such as [2, 4, 4]")
    for k, width in enumerate(network):
        check_count(f"width {k}", width, 1)
    return [LayerShape(int(n_in), int(n_out), 0, 1.0) for n_in, n_out in pairwise(network)]


def log_expected_bound(shapes: Sequence[LayerShape], densities: Floats) -> float:
    """ln R(1, n_0) where each layer keeps the share `densities` (layers,) of its weights."""
    after = np.zeros(shapes[0].n_in + 1)  # ln R(l + 1, d), d = 0, ..., n_0
    for shape, density in zip(reversed(shapes), reversed(densities.tolist()), strict=True):
        ranks = _log_ranks(shape, density)
        most = min(after.size, ranks.size) - 1
        m, j = np.arange(most + 1)[:, None], np.arange(min(most, shape.relus) + 1)
        terms = np.where(j <= m, _log_ways(shape.relus, j) + after[np.minimum(shape.n_out - j, m)], -np.inf)
        top = terms.max(axis=1)
        total = top + np.log(np.exp(terms - top[:, None]).sum(axis=1))  # ln T(m)
        up_to = np.logaddexp.accumulate(ranks[: most + 1] + total)  # ln sum_{k <= m} P(k) T(k)
        beyond = np.logaddexp.accumulate(ranks[::-1])[::-1][: most + 1]  # ln P(k >= m)
        found = np.logaddexp(np.concatenate([[-np.inf], up_to[:-1]]), beyond + total)
        after = found[np.minimum(np.arange(after.size), most)]
    return max(0.0, float(after[-1]))  # R >= 1; probabilities add up to 1 but for rounding


def _shape(layer: Layer) -> LayerShape:
    weight = layer.csr_weight()
    filled = np.diff(weight.indptr) > 0
    n_in, n_out, relus = np.unique(weight.indices).size, int(filled.sum()), int((filled & layer.relu).sum())
    return LayerShape(n_in, relus, n_out - relus, weight.nnz / max(1, n_in * n_out))


def _log_ranks(shape: LayerShape, density: float) -> Floats:
    """ln P(k), k = 0, ..., s."""
    shorter, longer = sorted((shape.n_in, shape.n_out))
    share, k = density * shape.fill, np.arange(shorter + 1)
    empty = longer * math.log1p(-share) if share < 1.0 else -math.inf  # ln P(a row or column is empty)
    filled = math.log(-math.expm1(empty)) if empty < 0.0 else -math.inf
    return _log_ways(shorter, k) + _times(k, filled) + _times(shorter - k, empty)


def _log_ways(n: int, k: Ints) -> Floats:
    """ln C(n, k)."""
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _times(count: Ints, log: float) -> Floats:
    """count * log, where nothing times -inf is 0."""
    return np.where(count > 0, np.maximum(count, 1) * log, 0.0)
