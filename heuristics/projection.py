"""The nearest points of a polytope, many at once: rows that hold no network's output, and the box, in its units.

    min |u - p|^2 / 2   where   low <= A u <= high,   lower <= u <= upper

With multipliers lam the nearest point is u = clip(p - A' lam), and lam solves the dual, concave and smooth. With one
row it is a search for a root of a piecewise linear function: Newton's steps, kept inside a bracket, end exactly. With
several, dual ascent by Nesterov's steps with restarts (O'Donoghue and Candes, Found. Comput. Math. 15 (2015), section
3.2) comes near; `draw` then moves points along the line to an interior one, as far as the rows ask for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats
from omlt_ext.milp import MatrixModel
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import HighsSolver

from .slopes import Reals, Units

STEPS = 60  # of Newton and of dual ascent, for one projection
TOUCH = 1e-14  # of the largest terms of a row: what rounding may take from a corner that it touches
NO_ROOM = 1e-7  # of a row: as much is granted where the interior point has less, as on equations


class Projection:
    """The projection on box and rows of one problem; `exact` where box and at most one row are all there is.

    >>> from omlt_ext import Box, Layer, Network, Polytope
    >>> network = Network([Layer([[1.0, 1.0]], [0.0], relu=True)])
    >>> problem = Problem.of_network(network, Polytope(Box.full(2, 0, 1), [[1.0, 1.0]], [1.0]))
    >>> Projection(problem, Units(problem))(np.array([[0.75, 2.0], [0.75, 0.5]]))
    array([[0.5, 1. ],
           [0.5, 0. ]])
    """

    def __init__(self, problem: Problem, units: Units) -> None:
        self.lower, self.upper = units.lower, units.upper
        rows = np.flatnonzero(~problem.on_outputs & (np.diff(problem.R.indptr) > 0))
        A = sparse.csr_array(problem.R[rows] @ sparse.diags_array(units.unit))
        length = np.sqrt(np.asarray(A.multiply(A).sum(axis=1)).ravel())
        rows, A, length = rows[length > 0.0], A[length > 0.0], length[length > 0.0]
        self.A: Any = sparse.csr_array(sparse.diags_array(1.0 / length) @ A)
        at_origin = problem.R[rows] @ units.origin
        self.low = ((problem.row_lower[rows] - at_origin) / length)[:, None]
        self.high = ((problem.row_upper[rows] - at_origin) / length)[:, None]
        self.granted = (NO_ROOM / np.maximum(length, 1.0))[:, None]
        self.exact = self.low.size <= 1
        self.anchor = None if self.low.size == 0 else self._interior()
        self._largest = 1.0 if self.exact else _largest_eigenvalue(self.A)
        self._typed: dict[Any, tuple[Any, ...]] = {}

    def multipliers(self, count: int) -> Floats:
        """The multipliers (m, count) that projections of `count` points begin with."""
        return np.zeros((0 if self.exact else self.low.size, count))

    def __call__(self, U: Reals, steps: int = STEPS, lam: Reals | None = None) -> Reals:
        """The nearest points to the columns of U (n, m), up to what `steps` leave; without rows, in place of U.

        `lam`, as of `multipliers`, are those of points nearby, and become those of U.
        """
        lower, upper, A, At, low, high = self._numbers(U.dtype)
        if not self.exact:
            start = self.multipliers(U.shape[1]).astype(U.dtype) if lam is None else lam
            found = _dual_ascent(U, A, At, low, high, lower, upper, U.dtype.type(self._largest), start, steps)
            start[...] = found
            return np.clip(U - At @ found, lower, upper)
        if low.size == 0:
            return np.clip(U, lower, upper, out=U)
        inside = np.clip(U, lower, upper)
        r = A @ inside
        out = np.flatnonzero(((r < low) | (r > high))[0])
        if out.size:
            inside[:, out] = _one_row(U[:, out], A.toarray()[0], low[0, 0], high[0, 0], lower, upper, steps)
        return inside

    def draw(self, U: Floats) -> Floats:
        """Points of the box moved towards the interior point until no row is violated, where that can be.

        Rows that leave no room there may be off by `granted`: else rounding would draw every point all the way.
        """
        if self.anchor is None:
            return U
        inner = self.A @ self.anchor
        change = self.A @ U - inner
        with np.errstate(divide="ignore", invalid="ignore"):
            up = np.where(change > 0.0, np.maximum(self.high - inner, self.granted) / change, np.inf)
            down = np.where(change < 0.0, np.minimum(self.low - inner, -self.granted) / change, np.inf)
        share = np.clip(np.minimum(up, down).min(axis=0), 0.0, 1.0)
        return np.asarray(self.anchor + share * (U - self.anchor))

    def _numbers(self, dtype: Any) -> tuple[Any, ...]:
        if dtype not in self._typed:
            # Against one number NumPy clips many times faster than against one for each row.
            ends = [end if (end != end[0]).any() else end[:1] for end in (self.lower, self.upper)]
            parts = (*ends, self.A, sparse.csr_array(self.A.T), self.low, self.high)
            self._typed[dtype] = tuple(part.astype(dtype) for part in parts)
        return self._typed[dtype]

    def _inside_one(self, room: float) -> Floats | None:
        """A point (n, 1) inside one row and a finite box, without an LP: a share t of all rooms is left on every side.

        Both ends of the row over the box that is left are linear in t. Between the corners with them lies a point.
        """
        a, low, high = self.A.toarray()[0], self.low[0, 0], self.high[0, 0]
        pull = np.minimum(self.upper - self.lower, 1.0)[:, 0] / 2
        ends = np.where([a > 0, a <= 0], self.lower[:, 0], self.upper[:, 0])  # with the least and the largest a u
        (least, most), lost = ends @ a, np.abs(a) @ pull + room / 2
        above, below = high - least, most - low
        if min(above, below) < -TOUCH * (np.abs(a) @ np.abs(ends).max(axis=0)):
            return None
        t = max(0.0, min(1.0, above / lost, below / lost)) if lost > 0 else 1.0
        aside = t * np.where([a > 0, a <= 0], pull, -pull)
        corners = ends + aside
        (least, most), left = corners @ a, t * room / 2
        middle = (max(least, low + left) + min(most, high - left)) / 2
        share = (middle - least) / (most - least) if most > least else 0.0
        return np.asarray(corners[0] + share * (corners[1] - corners[0]))[:, None]

    def _interior(self) -> Floats | None:
        """A point (n, 1) as far inside rows and box as one LP finds, at most 1 unit; None where there is none."""
        n = self.lower.size
        room = np.column_stack([self.high[:, 0] - self.low[:, 0], np.ones(self.low.size)]).min(axis=1)
        if room.size == 1 and np.isfinite(self.lower).all() and np.isfinite(self.upper).all():
            return self._inside_one(float(room[0]))
        pull = sparse.csr_array((room / 2)[:, None])  # 0 for equations
        fixed = self.upper[:, 0] - self.lower[:, 0]
        wide = sparse.csr_array(np.minimum(fixed, 1.0)[:, None] / 2)
        eye, none = sparse.eye_array(n, format="csr"), np.full(n, np.inf)
        blocks = [[self.A, -pull], [self.A, pull], [eye, -wide], [eye, wide]]
        free = np.full(self.low.size, np.inf)
        model = MatrixModel(
            c=np.append(np.zeros(n), 1.0),
            offset=0.0,
            maximize=True,
            A=sparse.csr_array(sparse.block_array(blocks, format="csr")),
            row_lower=np.concatenate([self.low[:, 0], -free, self.lower[:, 0], -none]),
            row_upper=np.concatenate([free, self.high[:, 0], none, self.upper[:, 0]]),
            lower=np.append(self.lower[:, 0], 0.0),
            upper=np.append(self.upper[:, 0], 1.0),
            integer=np.zeros(n + 1, dtype=bool),
        )
        found = HighsSolver(model).solve()
        return None if found.x is None else found.x[:n, None]


def _one_row(P: Reals, a: Reals, low: Any, high: Any, lower: Reals, upper: Reals, steps: int) -> Reals:
    """The nearest points to P (n, m) with low <= a u <= high, all of which violate it: u = clip(p - lam a)."""
    column = a[:, None]
    above = a @ np.clip(P, lower, upper) > high
    sign = np.where(above, 1, -1).astype(P.dtype)
    aim = sign * np.where(above, high, low)
    # sign * a u falls as t = sign * lam grows; at `right` it lies below `aim`, if it ever does
    with np.errstate(divide="ignore", invalid="ignore"):
        last = sign * (P - np.where(sign * column > 0, lower, upper)) / column
    last[a == 0] = 0
    endless = ~np.isfinite(last)
    right = np.where(endless, 0, last).max(axis=0, initial=0.0)
    slack = np.maximum(sign * (a @ np.clip(P - sign * right * column, lower, upper)) - aim, 0)
    right = right + np.where(endless.any(axis=0), slack / np.maximum((column**2 * endless).sum(axis=0), 1e-30), 0)
    left, t = np.zeros_like(right), np.zeros_like(right)
    for _ in range(steps):
        U = P - sign * t * column
        clipped = np.clip(U, lower, upper)
        free = clipped == U
        excess = sign * (a @ clipped) - aim
        left, right = np.where(excess > 0, t, left), np.where(excess > 0, right, t)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = t + excess / ((a * a) @ free)
        good = (newton > left) & (newton < right)
        following = np.where(good, newton, (left + right) / 2)
        if np.array_equal(following, t) or not (np.abs(excess) > 4 * np.finfo(P.dtype).eps * (1 + np.abs(aim))).any():
            break
        t = following
    return np.clip(P - sign * t * column, lower, upper)


def _dual_ascent(
    P: Reals, A: Any, At: Any, low: Reals, high: Reals, lower: Reals, upper: Reals, largest: Any, lam: Reals, steps: int
) -> Reals:
    """Multipliers near those of the nearest points to P (n, m) with low <= A u <= high, by `steps` from `lam`."""
    tau, accuracy = 1 / largest, 8 * np.finfo(P.dtype).eps
    ahead, k = lam, np.ones(P.shape[1], dtype=P.dtype)
    for _ in range(steps):
        ascended = ahead + tau * (A @ np.clip(P - At @ ahead, lower, upper))
        new = ascended - tau * np.clip(ascended * largest, low, high)
        change = new - lam
        if not (np.abs(change) > accuracy * (1 + np.abs(new))).any():
            break
        k = np.where(((ahead - new) * change).sum(axis=0) > 0, 1, k)  # momentum leads astray: begin anew
        longer = (1 + np.sqrt(1 + 4 * k * k)) / 2
        ahead, lam, k = new + (k - 1) / longer * change, new, longer
    return lam


def _largest_eigenvalue(A: Any) -> float:
    """At least the largest eigenvalue of A A', by power iteration with room to spare, at most what the norms say."""
    x = np.random.default_rng(0).random(A.shape[0])
    for _ in range(30):
        x = A @ (A.T @ x)
        x /= np.linalg.norm(x)
    norms = float(abs(A).sum(axis=0).max() * abs(A).sum(axis=1).max())
    return min(1.1 * float(np.linalg.norm(A.T @ x)) ** 2, norms)
