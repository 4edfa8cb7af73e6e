"""The share of its weights that each layer keeps where the bound on the number of linear regions is to be largest.

Symbols: D_k weights of layer k, p_k the share of them that stays, K = sum_k p_k D_k, R the expected bound of
`omlt_ext.regions`. Cai et al., CPAIOR 2023 (arXiv 2301.07966).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from ..domain import Floats
from ..network import Network
from ..options import check_number
from ..regions.region_bound import LayerShape, layer_shapes, log_expected_bound

POINTS = 17  # on the line between two layers; then again, ROUNDS times in all, around the best of them
ROUNDS = 4
GAIN = 0.01  # in ln R: for less the shares are not moved, where R is flat its largest point says nothing
SWEEPS = 20


def region_densities(network: Network, sparsity: float) -> tuple[float, ...]:
    """The shares p_k that layers keep, as many weights in all as the sparsity leaves, with the largest ln R found.

    A linear output layer is not in R. It stays whole, as in the paper, as long as that is no more than an equal part
    K / L of the weights kept in L layers; it keeps K / L of them where it is larger. The other layers start from equal
    shares, and pairs of them exchange weights, the best point on the line between two layers being searched for, until
    no exchange raises ln R by 0.01. So ln R is never below that of equal shares, and shares that R does not tell apart
    stay equal: R is flat unless the sparsity is extreme. For two hidden layers this is a search of the whole line.

    >>> from omlt_ext import Layer
    >>> network = Network([Layer(np.ones((n, m)), np.zeros(n), relu=True) for m, n in [(784, 100), (100, 100)]])
    >>> [round(share, 4) for share in region_densities(network, 0.999)]
    [0.0006, 0.0042]

    Raises `OptionError` for a sparsity that is not a number from 0 to 1.
    """
    check_number("sparsity", sparsity, most=1.0)
    sizes = np.array([layer.nnz for layer in network.layers], dtype=np.float64)
    kept, inside = (1.0 - sparsity) * sizes, np.ones(sizes.size, dtype=bool)
    if not network.layers[-1].relu.any():
        inside[-1] = False
        kept = _with_output(sizes, float(kept.sum()))
    shapes = layer_shapes(network)
    movable = np.flatnonzero(inside & (sizes > 0)).tolist()
    best, roof = _bound(shapes, sizes, kept), log_expected_bound(shapes, np.ones(sizes.size))
    for _ in range(SWEEPS):
        before = best
        for i, j in combinations(movable, 2):
            if best < roof - GAIN:
                kept, best = _exchange(shapes, sizes, kept, best, i, j)
        if best == before:
            break
    return tuple(np.clip(_shares(sizes, kept, 1.0 - sparsity), 0.0, 1.0).tolist())


def _with_output(sizes: Floats, total: float) -> Floats:
    """The weights kept in each layer: the output's part, and equal shares of the layers before it."""
    before = float(sizes[:-1].sum())
    of_output = max(min(float(sizes[-1]), total / sizes.size), total - before)
    share = (total - of_output) / before if before > 0.0 else 0.0
    return np.append(share * sizes[:-1], of_output)


def _exchange(
    shapes: list[LayerShape], sizes: Floats, kept: Floats, best: float, i: int, j: int
) -> tuple[Floats, float]:
    """The best way found to divide the weights of layers i and j between them, and its ln R."""
    both = kept[i] + kept[j]
    low, high = max(0.0, both - sizes[j]), min(sizes[i], both)
    if high <= low:
        return kept, best
    found, value = kept, best + GAIN
    for _ in range(ROUNDS):
        points = np.linspace(low, high, POINTS)
        moved = [_moved(kept, i, j, point) for point in points]
        values = [_bound(shapes, sizes, each) for each in moved]
        k = int(np.argmax(values))
        if values[k] > value:
            found, value = moved[k], values[k]
        low, high = points[max(k - 1, 0)], points[min(k + 1, POINTS - 1)]
    return (kept, best) if found is kept else (found, value)


def _moved(kept: Floats, i: int, j: int, of_i: float) -> Floats:
    moved = kept.copy()
    moved[i], moved[j] = of_i, kept[i] + kept[j] - of_i
    return moved


def _bound(shapes: list[LayerShape], sizes: Floats, kept: Floats) -> float:
    return log_expected_bound(shapes, np.clip(_shares(sizes, kept, 1.0), 0.0, 1.0))


def _shares(sizes: Floats, kept: Floats, of_nothing: float) -> Floats:
    """p_k; of a layer without weights, `of_nothing`."""
    return np.divide(kept, sizes, out=np.full(sizes.size, of_nothing), where=sizes > 0)
