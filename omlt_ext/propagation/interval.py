"""Interval arithmetic: every layer's pre-activations from the ranges of the layer before, rounded outward.

Symbols: z^k = W h^{k-1} + b pre-activation, h^k post-activation, h^{-1} = x; [l, u] range of z, [p, q] range of h;
W+ = max(W, 0), W- = min(W, 0).

    l = W+ p + W- q + b,    u = W+ q + W- p + b,    [p, q]^k = [max(0, l), max(0, u)] at ReLUs, [l, u] at linear neurons

Validity. Row i of l is a sum of n_i products and a bias; it is off by at most gamma(n_i + 1) times the same sum of
absolute values S_i = |W+| |p| + |W-| |q| + |b| (`rounding` says why, and how S's own rounding is paid). l is lowered by
that much and one float further; u is raised. Two cases are exact and stay so: a row without weights, z = b, and
S_i = 0, so that a range which starts at zero is not pushed below it by rounding (which would make a ReLU look
unstable). A product can underflow only if some |W_ij p_j| is tiny; then n_i TINY is added as well. The maximum with 0
is exact. So l <= z <= u holds for the exact z of the float64 weights at every real x of the box.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ..bounds import METHODS, Bounds, Codes
from ..domain import Box, Floats, Polytope, as_domain
from ..errors import BoundsError, InfeasibleError
from ..network import Layer, Network, Weight
from .rounding import TINY, gamma, nonzeros, round_down, round_up, row_blocks, smallest

NO_UNDERFLOW = 2.0**-960  # products at least this large, and gamma times them, are far from underflow


class Range(NamedTuple):
    """Bounds of one layer's pre-activations, the method that gave each side, and the time spent: arrays (n_k,)."""

    lower: Floats
    upper: Floats
    lower_method: Codes
    upper_method: Codes
    seconds: Floats

    def take(self, at: NDArray[np.int64]) -> Range:
        """Some neurons."""
        methods = self.lower_method[at], self.upper_method[at]
        return Range(self.lower[at], self.upper[at], *methods, self.seconds[at])

    @classmethod
    def by(cls, method: str, lower: Floats, upper: Floats, seconds: float | Floats = 0.0) -> Range:
        """Both sides from one method; `seconds` of each neuron, or of all together."""
        code = np.full(lower.shape, METHODS.index(method), dtype=np.int8)
        each = np.full(lower.shape, seconds / max(1, lower.size)) if np.ndim(seconds) == 0 else np.asarray(seconds)
        return cls(lower, upper, code, code, each)

    def meet(self, other: Range) -> Range:
        """The tighter of both, side by side; ties keep the method that came first."""
        higher, tighter = other.lower > self.lower, other.upper < self.upper
        return Range(
            np.where(higher, other.lower, self.lower),
            np.where(tighter, other.upper, self.upper),
            np.where(higher, other.lower_method, self.lower_method),
            np.where(tighter, other.upper_method, self.upper_method),
            self.seconds + other.seconds,
        )


def interval(network: Network, domain: Box | Polytope | Iterable[ArrayLike], bounds: Bounds | None = None) -> Bounds:
    """Bounds of every pre-activation over the domain's box by interval arithmetic, valid in exact arithmetic.

    Layer k: l = W+ p + W- q + b and u = W+ q + W- p + b from the range [p, q] of layer k - 1. `bounds` already known on
    the domain are intersected layer by layer and propagated. Each side says which method gave it.
    Raises `BoundsError` where a bound overflows or contradicts the given ones, `ShapeError` where the box does not fit.

    >>> from omlt_ext import Layer
    >>> network = Network([Layer([[1.0, 1.0]], [-1.0], relu=True), Layer([[2.0]], [0.0], relu=False)])
    >>> bounds = interval(network, Box.full(2, 0, 1))
    >>> print(f"{bounds.lower[0][0]:.6f} {bounds.upper[0][0]:.6f} {bounds.lower[1][0]:.6f} {bounds.upper[1][0]:.6f}")
    -1.000000 1.000000 0.000000 2.000000
    """
    box, polytope = as_domain(domain, network.n_inputs)
    check_given(bounds, network, box, polytope)
    ranges: list[Range] = []
    p, q = box.lower, box.upper
    for k, layer in enumerate(network.layers):
        z = affine_range(layer, p, q)
        z = checked(z if bounds is None else z.meet(given(bounds, k)), k)
        ranges.append(z)
        p, q = activation_range(layer, z)
    return collect(ranges, network, box, polytope)


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def affine_range(layer: Layer, p: Floats, q: Floats) -> Range:
    """The range of W h + b over p <= h <= q, rounded outward; infinite where it overflows."""
    b = layer.bias[:, None]
    below = np.stack([p, q, np.abs(p), np.abs(q)], axis=1)
    above = np.stack([q, p, -np.abs(q), -np.abs(p)], axis=1)  # W- <= 0: the last two give |W-| |q| and |W-| |p|
    start = np.concatenate([b, b, np.abs(b), np.abs(b)], axis=1)
    sums = np.empty((layer.n_out, 4))
    least = np.inf
    for rows in row_blocks(layer.n_out, 2 * layer.n_in):
        W = layer.weight[rows]
        positive, negative = _parts(W)
        sums[rows] = (positive @ below + negative @ above) + start[rows]
        least = min(least, smallest(W.data if sparse.issparse(W) else W))
    count = nonzeros(layer.weight, axis=1).astype(np.float64)
    error = gamma(np.where(count > 0, count + (layer.bias != 0.0), 0.0))[:, None] * sums[:, 2:]
    if least * smallest(below) < NO_UNDERFLOW:
        error += TINY * count[:, None]
    return Range.by("interval", round_down(sums[:, 0], error[:, 0]), round_up(sums[:, 1], error[:, 1]))


def _parts(W: Weight) -> tuple[Weight, Weight]:
    """max(W, 0) and min(W, 0); those of a CSR array keep its pattern, which is quicker than to make another."""
    if not sparse.issparse(W):
        return np.maximum(W, 0), np.minimum(W, 0)
    pattern = W.indices, W.indptr
    above, below = np.maximum(W.data, 0), np.minimum(W.data, 0)
    return sparse.csr_array((above, *pattern), shape=W.shape), sparse.csr_array((below, *pattern), shape=W.shape)


def activation_range(layer: Layer, z: Range) -> tuple[Floats, Floats]:
    """The range [p, q] of the post-activations: max(0, .) of both ends at ReLUs, the same ends at linear neurons."""
    return layer.activation(z.lower), layer.activation(z.upper)


def given(bounds: Bounds, k: int) -> Range:
    """Layer k of given bounds, as a range."""
    methods = bounds.lower_method[k], bounds.upper_method[k]
    return Range(bounds.lower[k], bounds.upper[k], *methods, bounds.seconds[k])


def check_given(bounds: Bounds | None, network: Network, box: Box, polytope: Polytope | None = None) -> None:
    """Raise `BoundsError` unless given bounds are of this network and hold on the whole domain."""
    if bounds is None:
        return
    if not isinstance(bounds, Bounds):
        raise BoundsError(f"bounds must be a Bounds, not {type(bounds).__name__}; build one with Bounds.of")
    bounds.check_network(network)
    if bounds.box.n != box.n:
        raise BoundsError(
            f"the given bounds hold on a box of {bounds.box.n} coordinates, the network has {box.n} inputs"
        )
    if bounds.polytope is not None and not bounds.polytope.same(polytope):
        raise BoundsError(
            "the given bounds hold on a polytope only; give the same polytope as the domain, or bounds of the whole box"
        )
    outside = (box.lower < bounds.box.lower) | (box.upper > bounds.box.upper)
    if outside.any():
        j = int(np.flatnonzero(outside)[0])
        held = f"[{bounds.box.lower[j]}, {bounds.box.upper[j]}]"
        raise BoundsError(
            f"input {j}: the given bounds hold on {held}, the domain is [{box.lower[j]}, {box.upper[j]}]; "
            "give bounds that were computed on the domain or on a larger box"
        )


def checked(z: Range, k: int) -> Range:
    """z, frozen, if layer k's bounds are finite and not crossed; else `BoundsError` with layer, neuron and remedy."""
    infinite = ~(np.isfinite(z.lower) & np.isfinite(z.upper))
    if infinite.any():
        j = int(np.flatnonzero(infinite)[0])
        raise BoundsError(
            f"layer {k}, neuron {j}: the bounds [{z.lower[j]}, {z.upper[j]}] overflow double precision; "
            "scale the weights or give a smaller box"
        )
    crossed = z.lower > z.upper
    if crossed.any():  # rounded outward, ours cannot cross: a given bound is wrong
        j = int(np.flatnonzero(crossed)[0])
        raise InfeasibleError(
            f"layer {k}, neuron {j}: lower bound {z.lower[j]} ({METHODS[z.lower_method[j]]}) lies above upper bound "
            f"{z.upper[j]} ({METHODS[z.upper_method[j]]}); the given bounds do not hold on this box"
        )
    for array in z:
        array.setflags(write=False)
    return z


def collect(ranges: list[Range], network: Network, box: Box, polytope: Polytope | None = None) -> Bounds:
    """`Bounds` from one checked range a layer."""
    lower, upper, lower_method, upper_method, seconds = (tuple(part) for part in zip(*ranges, strict=True))
    relu = tuple(layer.relu for layer in network.layers)
    return Bounds(lower, upper, relu, box, lower_method, upper_method, seconds, polytope)
