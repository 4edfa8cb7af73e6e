"""Dual ascent: CROWN with the lower slopes optimised for each bound, up to the value of the LP relaxation.

Symbols as in `crown`. Every unstable neuron of every target row has a lower slope alpha in [0, 1] of its own:
alpha z <= h <= s z + t. The value of the backward pass is a lower bound of C z^k for any alpha (weak duality), and its
maximum over alpha is the value of the LP over the triangle relaxation (strong duality). The value is concave in alpha,
and its gradient is one forward pass: from the minimiser x of the last step over the box,

    x_j = lo_j where A_j >= 0, hi_j elsewhere;    z^i = W_i h^{i-1} + b_i;
    h^i = alpha z^i where A_i > 0, s z^i + t elsewhere;    d value / d alpha_i = z^i max(A_i, 0)

with A_i the coefficients of h^i in the backward pass. Slopes move by Adam's rule with a falling step.
Source: Xu et al., Fast and complete, ICLR 2021 (optimised lower slopes); Salman et al., A convex relaxation barrier to
tight robustness verification, NeurIPS 2019 (the LP as their limit).

Validity. The ascent runs in single precision and only proposes slopes. The bound is then evaluated once in double
precision by `crown.backward`, rounded outward, so that neither the ascent nor its precision has to be trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ..bounds import Bounds
from ..domain import Box, as_box
from ..network import Network
from .crown import AffineError, Relaxation, backward, both_signs, crown, layer_by_layer
from .interval import Range
from .rounding import row_blocks

STEPS = 20
RATE, DECAY = 0.5, 0.85  # step size, and its factor from step to step
BETA_1, BETA_2 = 0.5, 0.99  # Adam's memory; the usual 0.9 and 0.999 need about twice the steps
Single = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Slopes:
    """One layer's relaxation in single precision: `passes` where h = z, and slopes of the unstable neurons `at`."""

    weight: Any  # (n_i, n_{i-1}), dense or CSR
    bias: Single
    passes: Single
    at: NDArray[np.int64]
    s: Single
    t: Single

    @classmethod
    @np.errstate(all="ignore")  # what overflows in single precision ends as slopes that are not taken
    def of(cls, network: Network, i: int, ease: Relaxation) -> Slopes:
        layer = network.layers[i]
        at = np.flatnonzero(ease.magnitude > 0.0)
        passes = np.where(ease.magnitude > 0.0, 0.0, ease.s).astype(np.float32)
        s, t = ease.s[at].astype(np.float32), ease.t[at].astype(np.float32)
        return cls(layer.weight.astype(np.float32), layer.bias.astype(np.float32), passes, at, s, t)


def dual(
    network: Network,
    box: Box | Iterable[ArrayLike],
    bounds: Bounds | None = None,
    *,
    steps: int = STEPS,
    chunk_bytes: int = 2**28,
) -> Bounds:
    """Bounds of every pre-activation over the box by dual ascent, never wider than `crown`'s from the same start.

    Starts from `crown(network, box, bounds)`. Then, layer by layer, each side is the best of that, of the interval
    recomputed from the tighter layer before, and of the backward pass with the slopes that `steps` steps of ascent
    found. Rows go in chunks whose work arrays stay near `chunk_bytes`. Raises as `crown` does.

    >>> from omlt_ext import Layer
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]], [0.0, 0.0, 0.0], relu=[True, True, False])
    >>> network = Network([hidden, Layer([[1.0, 1.0, -1.0]], [0.0], relu=False)])
    >>> box = Box([-1.0, -1.0], [2.0, 1.0])  # max(0, x + y) + max(0, x - y) - x >= (2 alpha - 1) x
    >>> print(f"crown {crown(network, box).lower[1][0]:.2f}, dual {dual(network, box).lower[1][0]:.2f}")
    crown -1.00, dual -0.02
    """
    domain = as_box(box, network.n_inputs)
    slopes: list[Slopes] = []

    def by_ascent(k: int, relaxations: Sequence[Relaxation], errors: Sequence[AffineError]) -> Range:
        slopes.append(Slopes.of(network, k - 1, relaxations[k - 1]))
        return _ascended(network, k, relaxations, errors, slopes, domain, steps, chunk_bytes)

    return layer_by_layer(network, domain, crown(network, domain, bounds), by_ascent)


def _ascended(
    network: Network,
    k: int,
    relaxations: Sequence[Relaxation],
    errors: Sequence[AffineError],
    slopes: Sequence[Slopes],
    box: Box,
    steps: int,
    chunk_bytes: int,
) -> Range:
    """Layer k's range by the slopes that the ascent found, some rows at a time."""
    n = network.layers[k].n_out
    lower, upper = np.empty(n), np.empty(n)
    widest = max(layer.n_in for layer in network.layers[: k + 1])
    unstable = sum(layer.at.size for layer in slopes)
    # Two rows a neuron: alpha, its best and two moments in single precision, and the work of one backward pass.
    for rows in row_blocks(n, 2 * (4 * unstable // 2 + 5 * widest), chunk_bytes):
        C = both_signs(rows, n)
        alphas = ascend(C, network, k, slopes, box, steps)
        eased = [_with(ease, layer, alpha) for ease, layer, alpha in zip(relaxations, slopes, alphas, strict=True)]
        lower[rows], upper[rows] = np.split(backward(network, k, C, eased, errors, box), 2)
    return Range.by("dual", lower, -upper)


def _with(ease: Relaxation, layer: Slopes, alpha: Single) -> Relaxation:
    full = np.broadcast_to(ease.alpha, (alpha.shape[0], ease.alpha.size)).copy()
    full[:, layer.at] = np.clip(alpha, 0.0, 1.0)
    return replace(ease, alpha=full)


@np.errstate(all="ignore")
def ascend(C: Any, network: Network, k: int, slopes: Sequence[Slopes], box: Box, steps: int) -> list[Single]:
    """The best slopes found for each target row: for each earlier layer (m, number of its unstable neurons)."""
    top = network.layers[k]
    first = _dense(C @ top.weight).astype(np.float32)
    constant = (C @ top.bias).astype(np.float32)
    lo, hi = box.lower.astype(np.float32), box.upper.astype(np.float32)
    m = first.shape[0]
    alphas = [np.tile((layer.s > 0.5).astype(np.float32), (m, 1)) for layer in slopes]  # u > -l: CROWN's own slopes
    best_alphas, best = [alpha.copy() for alpha in alphas], np.full(m, -np.inf, dtype=np.float32)
    moments = [(np.zeros_like(alpha), np.zeros_like(alpha)) for alpha in alphas]
    for step in range(steps + 1):
        value, coefficients, A = _lower(first, constant, slopes, alphas, lo, hi)
        better = value > best
        best[better] = value[better]
        for kept, alpha in zip(best_alphas, alphas, strict=True):
            kept[better] = alpha[better]
        if step == steps:
            break
        gradients = _gradients(A, coefficients, slopes, alphas, lo, hi)
        for alpha, gradient, (mean, square) in zip(alphas, gradients, moments, strict=True):
            _adam(alpha, gradient, mean, square, step)
    return best_alphas


def _lower(
    A: Single, c: Single, slopes: Sequence[Slopes], alphas: Sequence[Single], lo: Single, hi: Single
) -> tuple[Single, list[Single], Single]:
    """The backward pass: the value, the coefficients of h^i at unstable neurons, and those of x."""
    coefficients: list[Single] = []
    c = c.copy()
    for layer, alpha in zip(reversed(slopes), reversed(alphas), strict=True):
        mine = A[:, layer.at]
        coefficients.append(mine)
        D = A * layer.passes
        D[:, layer.at] = mine * np.where(mine > 0.0, alpha, layer.s)
        c += np.minimum(mine, 0.0) @ layer.t + D @ layer.bias
        A = _dense(D @ layer.weight)
    c += np.maximum(A, 0.0) @ lo + np.minimum(A, 0.0) @ hi
    return c, coefficients[::-1], A


def _gradients(
    A: Single,
    coefficients: Sequence[Single],
    slopes: Sequence[Slopes],
    alphas: Sequence[Single],
    lo: Single,
    hi: Single,
) -> list[Single]:
    """The forward pass from the minimiser over the box: d value / d alpha of every layer."""
    h = np.where(A >= 0.0, lo, hi)
    gradients = []
    for layer, alpha, mine in zip(slopes, alphas, coefficients, strict=True):
        z = _dense((layer.weight @ h.T).T) + layer.bias
        at = z[:, layer.at]
        gradients.append(at * np.maximum(mine, 0.0))
        h = z * layer.passes
        h[:, layer.at] = np.where(mine > 0.0, alpha * at, layer.s * at + layer.t)
    return gradients


def _adam(alpha: Single, gradient: Single, mean: Single, square: Single, step: int) -> None:
    """One step upward in place, kept in [0, 1]."""
    mean += (1.0 - BETA_1) * (gradient - mean)
    square += (1.0 - BETA_2) * (gradient * gradient - square)
    rate = RATE * DECAY**step * np.sqrt(1.0 - BETA_2 ** (step + 1)) / (1.0 - BETA_1 ** (step + 1))
    alpha += np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-12))
    np.clip(alpha, 0.0, 1.0, out=alpha)


def _dense(matrix: Any) -> Single:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)
