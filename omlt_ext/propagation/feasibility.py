"""Feasibility-based tightening: which inputs can lead to outputs in a given range? Backward, then forward again.

Symbols: rows L <= A x <= U over p <= x <= q; z^k = W h^{k-1} + b pre-activation, h^k post-activation, h^{-1} = x.

One row bounds each of its terms by what the others leave, L_i - max sum_{k != j} A_ik x_k <= A_ij x_j, and so on for U
(`contract`: HC4-revise for linear rows). A layer's rows are l - b <= W h <= u - b; through a ReLU, h <= q gives z <= q,
and h >= p gives z >= p where p > 0. `propagate_back` goes from the outputs to the inputs that way, then forward by
interval arithmetic, until little changes.

Source: Benhamou, Goualard, Granvilliers and Puget, Revising hull and box consistency, ICLP 1999 (HC4-revise).

Validity. The sum of a row's other terms is the sum of all less its own: with n terms of magnitudes M_i = sum |A_ij x_j|
it is off by at most gamma(n + 3) (M_i + |U_i|), subtraction from U_i included (`rounding` says why). The quotient by
A_ij is moved one float outward. Everything here is rounded outward, so ranges that cross prove that no point is left.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ..bounds import Bounds
from ..domain import Box, Floats, Polytope, numbers
from ..errors import BoundsError, InfeasibleError, ShapeError
from ..network import Bools, Layer, Network
from .interval import NO_UNDERFLOW, Range, affine_range, collect, given, interval
from .rounding import TINY, gamma, round_down, round_up, row_blocks

PROGRESS = 1e-3  # a round that narrows no range by this part of its width is the last
ENTRIES = 16  # numbers that `contract` keeps for each nonzero at a time


def propagate_back(
    network: Network, bounds: Bounds, output_lower: ArrayLike, output_upper: ArrayLike, *, rounds: int = 10
) -> Bounds:
    """Bounds at the points of a box whose outputs lie in [output_lower, output_upper], and a box around those points.

    `bounds` hold on their box; the result holds on {x in its own, smaller box : f(x) in the range} only, whatever else
    lies in that box. The ends are numbers or arrays (n_outputs,) and may be infinite. At most `rounds` rounds, each
    backward and forward. Valid in exact arithmetic. Raises `InfeasibleError` where it proves that no such point exists,
    `ShapeError` and `BoundsError` for ends that are no range.

    >>> from omlt_ext import tighten_bounds
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    >>> wide = tighten_bounds(network, Box([0.0, 0.0], [1.0, 1.0]), "interval")
    >>> tight = propagate_back(network, wide, -np.inf, 0.25)  # (x + y)+ + (x - y)+ <= 1/4
    >>> print(tight.box.upper.round(6), tight.upper[0].round(6))
    [0.25 0.25] [0.25 0.25]
    """
    low, high = _output_range(network, output_lower, output_upper)
    bounds = interval(network, bounds.domain, bounds)
    ranges = [given(bounds, k) for k in range(len(network.layers))]
    p, q = bounds.box.lower, bounds.box.upper
    for _ in range(rounds):
        before = [(p, q), *((z.lower, z.upper) for z in ranges)]
        p, q = _backward(network, ranges, p, q, low, high)
        _forward(network, ranges, p, q)
        after = [(p, q), *((z.lower, z.upper) for z in ranges)]
        if not any(_narrowed(*ends) for ends in zip(before, after, strict=True)):
            break
    for z in ranges:
        for part in z:
            part.setflags(write=False)
    box, old = Box(p, q), bounds.polytope
    return collect(ranges, network, box, None if old is None else Polytope(box, old.A, old.b))


def _output_range(network: Network, lower: ArrayLike, upper: ArrayLike) -> tuple[Floats, Floats]:
    ends = []
    for side, end in (("lower", lower), ("upper", upper)):
        values = numbers(end, f"the {side} end of the outputs", BoundsError)
        if values.shape not in ((), (network.n_outputs,)):
            raise ShapeError(f"the {side} end of the outputs has shape {values.shape}, not ({network.n_outputs},)")
        ends.append(np.broadcast_to(values, (network.n_outputs,)))
    bad = ~(ends[0] <= ends[1])
    if bad.any():
        j = int(np.flatnonzero(bad)[0])
        raise BoundsError(f"output {j}: [{ends[0][j]}, {ends[1][j]}] is no range; the lower end must lie below")
    return ends[0], ends[1]


def _backward(
    network: Network, ranges: list[Range], p: Floats, q: Floats, low: Floats, high: Floats
) -> tuple[Floats, Floats]:
    """Narrow `ranges` in place from the range [low, high] of the outputs; return the range of the inputs."""
    for k in range(len(network.layers) - 1, -1, -1):
        begin = time.perf_counter()
        layer, z = network.layers[k], ranges[k]
        h_low, h_high = np.maximum(low, layer.activation(z.lower)), np.minimum(high, layer.activation(z.upper))
        check_not_empty(h_low, h_high, f"layer {k}, neuron")
        z_low = np.where(layer.relu & (h_low <= 0.0), -np.inf, h_low)
        seconds = (time.perf_counter() - begin) / layer.n_out
        ranges[k] = z = z.meet(Range.by("feasibility", z_low, h_high, np.full(layer.n_out, seconds)))
        check_not_empty(z.lower, z.upper, f"layer {k}, neuron")
        low, high = (p, q) if k == 0 else _post(network.layers[k - 1], ranges[k - 1])
        low, high = contract(layer.weight, *_without_bias(layer, z), low, high)
        check_not_empty(low, high, "input" if k == 0 else f"layer {k - 1}, neuron")
    return low, high


def _forward(network: Network, ranges: list[Range], p: Floats, q: Floats) -> None:
    """Narrow `ranges` in place from the range [p, q] of the inputs."""
    for k, layer in enumerate(network.layers):
        ranges[k] = ranges[k].meet(affine_range(layer, p, q))
        check_not_empty(ranges[k].lower, ranges[k].upper, f"layer {k}, neuron")
        p, q = _post(layer, ranges[k])


def _post(layer: Layer, z: Range) -> tuple[Floats, Floats]:
    return layer.activation(z.lower), layer.activation(z.upper)


@np.errstate(over="ignore")
def _without_bias(layer: Layer, z: Range) -> tuple[Floats, Floats]:
    """[l - b, u - b], rounded outward."""
    b = layer.bias
    low, high = (np.where(b == 0.0, 0.0, gamma(1.0) * (np.abs(end) + np.abs(b))) for end in (z.lower, z.upper))
    return round_down(z.lower - b, low), round_up(z.upper - b, high)


@np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore")
def contract(matrix: Any, lower: Floats, upper: Floats, p: Floats, q: Floats) -> tuple[Floats, Floats]:
    """The range of each column that the rows lower <= A x <= upper leave of p <= x <= q, row by row; never wider.

    `matrix` (m, n) dense or CSR, `lower` and `upper` (m,), `p` and `q` (n,); all ends may be infinite. Where no point
    is left, ends may cross. Rounded outward.

    >>> low, high = contract(np.array([[1.0, 2.0]]), np.array([3.0]), np.array([np.inf]), np.zeros(2), np.ones(2))
    >>> print(low, high)
    [1. 1.] [1. 1.]
    """
    m, n = matrix.shape
    new_p, new_q = p.copy(), q.copy()
    entries = matrix.nnz // max(1, m) if sparse.issparse(matrix) else n
    for rows in row_blocks(m, ENTRIES * (entries + 1)):
        part = sparse.csr_array(matrix[rows])
        part.eliminate_zeros()
        a, j = part.data, part.indices
        i = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        rising = a > 0.0
        least = _Terms.of(i, a, np.where(rising, p[j], q[j]))
        negated = _Terms.of(i, -a, np.where(rising, q[j], p[j]))  # the least of -A x
        ceiling, floor = _ceiling(least, upper[rows]), -_ceiling(negated, -lower[rows])  # floor <= a x <= ceiling
        np.minimum.at(new_q, j, -_quotient(np.where(rising, -ceiling, -floor), a))
        np.maximum.at(new_p, j, _quotient(np.where(rising, floor, ceiling), a))
    return new_p, new_q


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def activity(matrix: Any, p: Floats, q: Floats) -> tuple[Floats, Floats]:
    """The range of every row of A x over p <= x <= q, rounded outward; infinite where that of a column in it is.

    `matrix` (m, n) CSR without stored zeros, `p` and `q` (n,).

    >>> activity(sparse.csr_array([[1.0, 0.0], [2.0, -1.0]]), np.zeros(2), np.array([1.0, np.inf]))
    (array([ 0., -inf]), array([1., 2.]))
    """
    i = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    a, j = matrix.data, matrix.indices
    rising = a > 0.0
    least = _least_sum(_Terms.of(i, a, np.where(rising, p[j], q[j])), matrix.shape[0])
    return least, -_least_sum(_Terms.of(i, -a, np.where(rising, q[j], p[j])), matrix.shape[0])


def _least_sum(terms: _Terms, m: int) -> Floats:
    total, size, count, small = (
        np.bincount(terms.i, weights=w, minlength=m).astype(np.float64)
        for w in (terms.value, np.abs(terms.value), np.ones(terms.i.size), terms.small)
    )
    several = np.where(count > 1.0, gamma(count), np.where(total == 0.0, 0.0, gamma(1.0)))
    return round_down(total, several * size + TINY * small)


class _Terms(NamedTuple):
    """Products of a matrix's nonzeros and ends of the columns, by row `i`; `small` ones may have underflowed."""

    i: NDArray[np.int64]
    value: Floats
    small: Bools

    @classmethod
    def of(cls, i: NDArray[np.int64], a: Floats, end: Floats) -> _Terms:
        value = a * end
        return cls(i, value, (np.abs(value) < NO_UNDERFLOW) & (end != 0.0))


def _ceiling(least: _Terms, upper: Floats) -> Floats:
    """What upper bounds on the rows' sums leave for each term at most, when every other one takes its least value."""

    def by_row(weights: Any) -> Floats:
        return np.bincount(least.i, weights=weights, minlength=upper.size).astype(np.float64)[least.i]

    finite = np.isfinite(least.value)
    terms = np.where(finite, least.value, 0.0)
    infinite, count = by_row(~finite), by_row(np.ones(terms.size))
    known = (infinite == 0.0) | ((infinite == 1.0) & ~finite)
    side = upper[least.i]
    value = np.where(known, side - (by_row(terms) - terms), np.inf)
    error = gamma(count + 3.0) * (by_row(np.abs(terms)) + np.abs(side)) + TINY * by_row(least.small)
    alone = count == 1.0  # nothing to subtract, nothing to round
    return round_up(np.where(alone, side, value), np.where(alone, 0.0, error))


def _quotient(value: Floats, a: Floats) -> Floats:
    """value / a, rounded down; exact where value is 0, or a is a power of two and the quotient far from underflow."""
    quotient = value / a
    exact = (value == 0.0) | ((np.abs(np.frexp(a)[0]) == 0.5) & (np.abs(quotient) > NO_UNDERFLOW))
    finite = np.where(exact, quotient, np.nextafter(quotient, -np.inf))
    return np.where(np.isfinite(value), finite, np.copysign(np.inf, value * np.sign(a)))


def check_not_empty(lower: Floats, upper: Floats, what: str) -> None:
    """Raise `InfeasibleError` where a range has crossed; `what` names its kind."""
    crossed = lower > upper
    if crossed.any():
        j = int(np.flatnonzero(crossed)[0])
        raise InfeasibleError(
            f"{what} {j} would have to be at least {lower[j]} and at most {upper[j]}: no point is left"
        )


def _narrowed(before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> bool:
    width = before[1] - before[0]
    return bool((width - (after[1] - after[0]) > PROGRESS * width).any())
