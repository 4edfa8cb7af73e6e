"""The l1 ball, as a search sees it: 2^n facets over x, one row over the parts of x - c.

Symbols: c the centre, r the radius, x = c + p - q with p, q >= 0; |x - c|_1 <= r exactly where some such p, q have
sum p + sum q <= r. The search's own inputs are u = (p, q).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ..domain import Box, Floats, Polytope, numbers
from ..errors import BoundsError, ShapeError
from ..network import Layer, Network
from ..propagation.rounding import gamma


@dataclass(frozen=True, eq=False, init=False)
class L1Ball:
    """The points x with |x - center|_1 <= radius, for `center` (n,).

    Raises `BoundsError` where a number is not finite or the radius is negative, `ShapeError` for other shapes.

    >>> ball = L1Ball([0.0, 0.0], 1.0)
    >>> ball.contains([0.5, -0.5]), ball.contains([0.5, -0.6])
    (True, False)
    >>> ball.domain(Box.full(2, 0, 1))
    Polytope(Box([0. 0. 0. 0.], [1. 1. 0. 0.]), 1 rows)
    """

    center: Floats
    radius: float

    def __init__(self, center: ArrayLike, radius: float) -> None:
        c = np.array(numbers(center, "the center of the ball", BoundsError))
        r = numbers(radius, "the radius of the ball", BoundsError)
        if c.ndim != 1 or c.size == 0 or r.shape != ():
            raise ShapeError(f"the ball has a center of shape {c.shape} and a radius of shape {r.shape}; give (n,), ()")
        if not np.isfinite(c).all():
            j = int(np.flatnonzero(~np.isfinite(c))[0])
            raise BoundsError(f"the center of the ball has {c[j]} at coordinate {j}; it must be finite")
        if not 0 <= r < np.inf:
            raise BoundsError(f"the radius of the ball is {r}; it must be finite and at least 0")
        c.setflags(write=False)
        object.__setattr__(self, "center", c)
        object.__setattr__(self, "radius", float(r))

    @property
    def n(self) -> int:
        return int(self.center.size)

    def box(self) -> Box:
        """A box around the ball, rounded outward."""
        return Box(np.nextafter(self.center - self.radius, -np.inf), np.nextafter(self.center + self.radius, np.inf))

    def contains(self, x: ArrayLike) -> bool:
        """Whether |x - center|_1 <= radius in exact arithmetic, for x (n,)."""
        point = numbers(x, "the point", ShapeError)
        if point.shape != (self.n,):
            raise ShapeError(f"the point has shape {point.shape}; this ball takes ({self.n},)")
        norm = float(np.abs(point - self.center).sum())
        error = gamma(self.n + 2.0) * (norm + self.radius)
        if abs(norm - self.radius) > error:
            return norm < self.radius
        pairs = zip(point.tolist(), self.center.tolist(), strict=True)
        return sum((abs(Fraction(a) - Fraction(b)) for a, b in pairs), Fraction(0)) <= Fraction(self.radius)

    def domain(self, box: Box) -> Polytope:
        """The inputs u = (p, q), (2n,), of all x of the ball in `box`; ends are rounded outward."""
        above, below = box.upper - self.center, self.center - box.lower
        upper = np.maximum(np.concatenate([above, below]), 0.0)
        upper = np.where(upper > 0, np.nextafter(upper, np.inf), 0.0)
        lower = np.maximum(-np.concatenate([below, above]), 0.0)
        lower = np.where(lower > 0, np.nextafter(lower, 0.0), 0.0)
        return Polytope(Box(lower, upper), np.ones((1, 2 * self.n)), [self.radius])

    def before(self, network: Network) -> Network:
        """`network` as a function of u = (p, q): one linear layer, x = c + p - q, stands before it."""
        identity = sparse.eye_array(self.n, format="csr")
        first = Layer(sparse.hstack([identity, -identity]), self.center, relu=False)
        return Network([first, *network.layers], source=network.source)

    def point(self, u: Floats) -> Floats:
        """x = c + p - q for u = (p, q), (2n,)."""
        return np.asarray(self.center + (u[: self.n] - u[self.n :]))

    def pull(self, x: Floats) -> Floats:
        """x, or where it lies outside or on the border the point towards the center that rounding leaves inside."""
        step = x - self.center
        norm = float(np.abs(step).sum())
        size = float(np.abs(self.center).sum()) + self.radius  # c + step rounds by the size of c
        least = max(self.radius - 4 * float(gamma(self.n + 2.0)) * size, 0.0)
        return x if norm <= least else np.asarray(self.center + step * (least / norm))
