"""Where the inputs of a network live: a box lower <= x <= upper, or a polytope A x <= b within one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import BoundsError, OmltExtError, ShapeError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, init=False)
class Box:
    """The box {x : lower <= x <= upper}, finite in every coordinate.

    `lower` and `upper` have shape (n,); a scalar is broadcast against the other end. Raises `BoundsError` where an
    end is missing, infinite or NaN, or where lower > upper, and names the coordinate.

    >>> box = Box([0, 0], [1, 2])
    >>> box.n, box.center
    (2, array([0.5, 1. ]))
    >>> Box([0, 3], [1, 2])
    Traceback (most recent call last):
    ...
    omlt_ext.errors.BoundsError: input 1: lower bound 3.0 lies above upper bound 2.0
    """

    lower: Floats
    upper: Floats

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        ends = [
            numbers(end, f"the {side} end of the box", BoundsError)
            for side, end in (("lower", lower), ("upper", upper))
        ]
        try:
            lo, hi = (np.atleast_1d(end).copy() for end in np.broadcast_arrays(*ends))
        except ValueError:
            shapes = f"{ends[0].shape} and {ends[1].shape}"
            raise ShapeError(f"the ends of a box have shapes {shapes}; give both the shape (n,)") from None
        if lo.ndim != 1:
            raise ShapeError(f"the ends of a box must have the shape (n,), not {lo.shape}; flatten them first")
        check_interval(lo, hi, lambda j: f"input {j}")
        for end in (lo, hi):
            end.setflags(write=False)
        object.__setattr__(self, "lower", lo)
        object.__setattr__(self, "upper", hi)

    @classmethod
    def full(cls, n: int, lower: float, upper: float) -> Box:
        """The same interval in each of n coordinates.

        >>> Box.full(3, -1, 1)
        Box([-1. -1. -1.], [1. 1. 1.])
        """
        return cls(np.full(n, lower), np.full(n, upper))

    @classmethod
    def ball(cls, center: ArrayLike, radius: ArrayLike, *, within: Box | None = None) -> Box:
        """The l-infinity ball of `radius` around `center`, cut to `within` where given.

        >>> Box.ball([0.0, 0.5], 0.1, within=Box.full(2, 0, 1))
        Box([0.  0.4], [0.1 0.6])
        """
        mid, reach = numbers(center, "the center", BoundsError).ravel(), numbers(radius, "the radius", BoundsError)
        if reach.shape not in ((), mid.shape):
            raise ShapeError(f"the radius has shape {reach.shape}; it must be one number or ({mid.size},)")
        box = cls(mid - reach, mid + reach)
        return box if within is None else box.intersect(within)

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return int(self.lower.size)

    @property
    def center(self) -> Floats:
        return 0.5 * (self.lower + self.upper)

    @property
    def width(self) -> Floats:
        return self.upper - self.lower

    def intersect(self, other: Box) -> Box:
        """The common part of both boxes; `BoundsError` where there is none."""
        if self.n != other.n:
            raise ShapeError(f"boxes of {self.n} and {other.n} coordinates have no intersection")
        return Box(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))

    def contains(self, x: ArrayLike, tolerance: float = 0.0) -> bool:
        """Whether every point of x, (n,) or (batch, n), lies in the box up to `tolerance`."""
        points = numbers(x, "the point", ShapeError)
        if points.ndim not in (1, 2) or points.shape[-1] != self.n:
            raise ShapeError(f"the point has shape {points.shape}; this box takes ({self.n},) or (batch, {self.n})")
        inside = (points >= self.lower - tolerance) & (points <= self.upper + tolerance)
        return bool(inside.all())

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """`count` points drawn uniformly, shape (count, n)."""
        return self.lower + rng.random((count, self.n)) * self.width

    def __repr__(self) -> str:
        return f"Box({_short(self.lower)}, {_short(self.upper)})"

    def __deepcopy__(self, memo: object) -> Box:
        return self  # frozen

    def __reduce__(self) -> tuple[object, ...]:
        return Box, (self.lower, self.upper)  # through the constructor: pickled arrays come back writable


@dataclass(frozen=True, eq=False, init=False)
class Polytope:
    """The points of a box with A x <= b.

    `A` (m, n), `b` (m,), all finite; `box` a `Box` of n coordinates. A polytope may be empty: bounds over it then hold
    of nothing. Raises `ShapeError` and `BoundsError`.

    >>> simplex = Polytope(Box.full(2, 0, 1), [[1.0, 1.0]], [1.0])
    >>> simplex.n, simplex.contains([0.5, 0.4]), simplex.contains([0.5, 0.6])
    (2, True, False)
    """

    box: Box
    A: Floats
    b: Floats

    def __init__(self, box: Box, A: ArrayLike, b: ArrayLike) -> None:
        if not isinstance(box, Box):
            raise BoundsError(f"the box of a polytope must be a Box, not {box!r}")
        rows, sides = (
            np.array(numbers(part, f"{name} of the polytope", BoundsError)) for name, part in (("A", A), ("b", b))
        )
        if rows.ndim != 2 or rows.shape[1] != box.n or sides.shape != rows.shape[:1]:
            raise ShapeError(f"A has shape {rows.shape} and b {sides.shape}; they must be (m, {box.n}) and (m,)")
        bad = ~(np.isfinite(rows).all(axis=1) & np.isfinite(sides))
        if bad.any():
            raise BoundsError(f"row {int(np.flatnonzero(bad)[0])} of the polytope is not finite")
        for name, part in (("A", rows), ("b", sides)):
            part.setflags(write=False)
            object.__setattr__(self, name, part)
        object.__setattr__(self, "box", box)

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return self.box.n

    def contains(self, x: ArrayLike, tolerance: float = 0.0) -> bool:
        """Whether every point of x, (n,) or (batch, n), lies in the polytope up to `tolerance`."""
        inside = self.box.contains(x, tolerance)
        points = numbers(x, "the point", ShapeError)
        return inside and bool((points @ self.A.T <= self.b + tolerance).all())

    def within(self, box: Box) -> Polytope:
        """The same rows in another box."""
        return self if box is self.box else Polytope(box, self.A, self.b)

    def same(self, other: Polytope | None) -> bool:
        """Whether both have the same rows, whatever their boxes."""
        return other is not None and np.array_equal(self.A, other.A) and np.array_equal(self.b, other.b)

    def __repr__(self) -> str:
        return f"Polytope({self.box!r}, {self.b.size} rows)"

    def __deepcopy__(self, memo: object) -> Polytope:
        return self  # frozen

    def __reduce__(self) -> tuple[object, ...]:
        return Polytope, (self.box, self.A, self.b)


def as_box(domain: Box | Iterable[ArrayLike], n: int) -> Box:
    """A `Box` of n coordinates from a `Box` or from a pair (lower, upper), each a number or n numbers."""
    if isinstance(domain, Box):
        box = domain
    else:
        try:
            lower, upper = domain
        except (TypeError, ValueError, OverflowError):
            raise BoundsError(f"expected a Box or a pair (lower, upper), not {domain!r}") from None
        pair = Box(lower, upper)
        box = Box.full(n, pair.lower[0], pair.upper[0]) if np.ndim(lower) == np.ndim(upper) == 0 else pair
    if box.n != n:
        raise ShapeError(f"the box has {box.n} coordinates, the network {n} inputs")
    return box


def as_domain(domain: Box | Polytope | Iterable[ArrayLike], n: int) -> tuple[Box, Polytope | None]:
    """(box, polytope): the box of n coordinates that `domain` is or has, and the polytope if it is one."""
    polytope = domain if isinstance(domain, Polytope) else None
    return as_box(domain.box if isinstance(domain, Polytope) else domain, n), polytope


def numbers(values: object, what: str, error: type[OmltExtError]) -> Floats:
    """`values` as float64; raises `error`, naming `what`, where they are ragged, complex or not numbers at all."""
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise TypeError("the numbers are complex")
        return np.asarray(array, dtype=np.float64)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        OverflowError,
    ) as cause:  # RuntimeError: a tensor that requires gradients
        raise error(f"{what} is not an array of numbers: {cause}") from None


def check_interval(lower: Floats, upper: Floats, name: object, remedy: str = "") -> None:
    """Raise `BoundsError` on the first NaN, infinite or crossed pair; `name(j)` says whose it is."""
    bad = ~(np.isfinite(lower) & np.isfinite(upper)) | (lower > upper)
    if not bad.any():
        return
    j = int(np.flatnonzero(bad)[0])
    low, high = float(lower[j]), float(upper[j])
    who = name(j) if callable(name) else f"{name} {j}"
    if low > high:
        raise BoundsError(f"{who}: lower bound {low} lies above upper bound {high}{remedy}")
    raise BoundsError(f"{who}: bounds [{low}, {high}] must be finite numbers{remedy or '; give both ends'}")


def _short(values: Floats) -> str:
    return np.array2string(values, threshold=6, edgeitems=2, separator=" ")
