"""CROWN over a box and one row, a x <= b: the row's multiplier for each bound has a closed form.

Symbols as in `crown`: a bound's backward pass ends with the coefficients A of x; [l, u] the box. With mu >= 0,

    A x >= A x + mu (a x - b) >= -mu b + sum_j min over [l_j, u_j] of (A_j + mu a_j) x_j

is concave in mu, and breaks where mu = -A_j / a_j: x_j goes to its other end, and a x falls by |a_j| w_j (w = u - l).
The best mu is the break at which a x reaches b: that of a fractional knapsack (Dantzig, Operations Research 5, 1957).
For an l1 ball this is the dual norm.

Validity. Any mu >= 0 gives a valid bound. `crown.backward` evaluates it and rounds it outward.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bounds import Bounds
from ..domain import Floats, Polytope
from ..network import Network, Weight, dense
from .crown import AffineError, Relaxation, affine_error, backward, both_signs, layer_by_layer, relax
from .interval import Range
from .rounding import row_blocks


def crown_one_row(network: Network, bounds: Bounds, *, chunk_bytes: int = 2**28) -> Bounds:
    """Bounds of every pre-activation over a polytope of one row, never wider than `bounds`.

    Where the box holds no point that satisfies the row, they are `bounds`.

    >>> from omlt_ext import Box, Layer
    >>> from .crown import crown
    >>> network = Network([Layer([[1.0, -1.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    >>> triangle = Polytope(Box.full(2, 0, 2), [[1.0, 1.0]], [1.0])
    >>> bounds = crown_one_row(network, crown(network, triangle))
    >>> print(bounds.lower[0].round(9), bounds.upper[0].round(9))
    [-1.] [1.]
    """
    polytope = bounds.polytope
    assert polytope is not None
    assert polytope.b.size == 1
    a, box = polytope.A[0], bounds.box
    if not a @ np.where(a > 0.0, box.lower, box.upper) < polytope.b[0]:
        return bounds
    relaxations: list[Relaxation] = []
    errors: list[AffineError] = []

    def by_row(k: int, ranges: Sequence[Range], p: Floats, q: Floats) -> Range:
        layer = network.layers[k]
        errors.append(affine_error(layer, p, q))
        if k > 0:
            relaxations.append(relax(network.layers[k - 1], ranges[k - 1]))
        lower, upper = np.empty(layer.n_out), np.empty(layer.n_out)
        widest = max(part.n_in for part in network.layers[: k + 1])
        for rows in row_blocks(layer.n_out, 2 * 6 * widest, chunk_bytes):
            C = both_signs(rows, layer.n_out)
            mu = multipliers(_coefficients(network, k, C, relaxations), polytope)[:, None]
            found = backward(network, k, C, relaxations, errors, box, polytope, mu)
            lower[rows], upper[rows] = np.split(found, 2)
        return Range.by("crown", lower, -upper)

    return layer_by_layer(network, bounds, by_row)


def multipliers(A: Floats, polytope: Polytope) -> Floats:
    """The best mu (m,) for the coefficients A (m, n) over a polytope of one row.

    >>> from omlt_ext import Box
    >>> multipliers(np.array([[-3.0, -2.0], [1.0, -2.0]]), Polytope(Box.full(2, 0, 1), [[1.0, 1.0]], [1.5]))
    array([2., 0.])
    """
    a, box = polytope.A[0], polytope.box
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        low = (A > 0.0) | ((A == 0.0) & (a > 0.0))  # where A x has a choice, what the row asks for
        excess = np.where(low, box.lower, box.upper) @ a - polytope.b[0]
        breaks = np.where(a != 0.0, -A / a, 0.0)
        breaks = np.where(breaks > 0.0, breaks, np.inf)
        order = np.argsort(breaks, axis=1)
        fallen = np.cumsum((np.abs(a) * box.width)[order], axis=1)
        at = np.minimum((fallen < excess[:, None]).sum(axis=1), a.size - 1)
        mu = np.take_along_axis(breaks, np.take_along_axis(order, at[:, None], axis=1), axis=1)[:, 0]
    return np.where((excess > 0.0) & np.isfinite(mu), mu, 0.0)


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def _coefficients(network: Network, k: int, C: Weight, relaxations: Sequence[Relaxation]) -> Floats:
    """A (m, n_in) of the backward pass from C z^k, with CROWN's slopes."""
    A = dense(C @ network.layers[k].weight)
    for layer, ease in zip(network.layers[k - 1 :: -1] if k else (), relaxations[::-1], strict=True):
        A = dense((A * np.where(A > 0.0, ease.alpha, ease.s)) @ layer.weight)
    return np.asarray(A)
