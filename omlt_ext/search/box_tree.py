"""Branch and bound over the inputs: best first, some hundred boxes at a time, node bounds by CROWN on each box.

Symbols as in `propagation.boxes`. Inside, -t is minimised, so that a box's *value* is a lower bound of -t on it. Where
t is the least of several rows, any single row proves a box: -t is the largest of theirs.

    pool <- the domain's box
    until the best value is no better than the incumbent:
        take the boxes with the least values
        halve each at the input that has most of the blame for what the relaxations lose
        cut the halves to what a polytope's rows leave of them; bound them
        offer their middles and the corners at which the bounds are attained
        put back those that may hold something better

A box that floating-point numbers cannot halve is a leaf: its value stands. So is one on which no relaxation loses
anything, as its corner has that value: but not where the corner may violate a polytope's rows, nor where a half may be
proved by another row of t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..bounds import Bounds
from ..domain import Floats, Ints, Polytope
from ..propagation.boxes import BoxCrown, OnBoxes
from ..propagation.rounding import TINY, gamma
from .pool import Nodes, Pool
from .target import Target

BATCH = 256
NUMBERS = 2**24  # of one batch's slopes of neurons at most
EACH = 5e3  # multiplications that take as long as what every box costs, about
CORNER = 0.1  # what |A| w, by which the halves' values may differ, counts beside the blame

Offer = Callable[[Floats], float]


class BoxTree:
    """The tree for max t, given bounds of the target's neurons. `grow` takes one batch of boxes.

    >>> from omlt_ext import Box, Layer, Network, tighten_bounds
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)])  # max (x + y)+ - 3 (x - y)+
    >>> target = Target.linear(network, Box.full(2, -1, 1), np.ones(1))
    >>> tree, best = BoxTree(target, tighten_bounds(target.network, target.domain)), -np.inf
    >>> def offer(points):
    ...     global best
    ...     best = max(best, target.network(points).max())
    ...     return -best - 1e-6
    >>> while not tree.done:
    ...     tree.grow(-best - 1e-6, offer)
    >>> print(f"{best:.4f} {tree.bound:.4f}")
    2.0000 2.0000
    """

    lps = 0
    settled = True  # nodes may be lent at any time

    def __init__(
        self, target: Target, bounds: Bounds, limit_bytes: int = 2**31, lent: Sequence[Nodes] | None = None
    ) -> None:
        self.target, self.bounds, self.limit_bytes = target, bounds, limit_bytes
        rows = target.network if target.rows is None else target.rows
        self.crown = BoxCrown(rows, bounds, -np.eye(rows.n_outputs))
        self.polytope = target.domain if isinstance(target.domain, Polytope) else None
        self.never_exact = self.polytope is not None or rows.n_outputs > 1
        n, u = bounds.box.n, self.crown.unstable
        self.pool = Pool(2 * n + 1, u, limit_bytes, np.float64)  # both ends, and the input to halve
        self.batch = int(np.clip(NUMBERS // (2 * n * max(1, u)), 1, BATCH))
        self.closed = np.inf  # the least value of a box that is done with
        self.nodes, self.work = 0, 0.0
        self.whole = lent is None  # the only box is the domain's, to be bounded before it is halved
        if lent is not None:
            self.give(lent)
            return
        root = np.concatenate([bounds.box.lower, bounds.box.upper, [0.0]])
        self.pool.add(-bounds.upper[-1], root[None, :], np.zeros((1, u), np.int8))

    @property
    def bound(self) -> float:
        """No point of the domain has a larger t."""
        return -min(self.pool.least, self.closed)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to halve."""
        return len(self.pool) == 0

    def grow(self, enough: float, offer: Offer) -> None:
        """One batch: boxes whose value exceeds `enough` cannot hold anything better. `offer` takes points (m, n_in),
        which may violate a polytope's rows, and returns what is enough now."""
        values, numbers, signs = self.pool.take(self.batch)
        beaten = values > enough
        self._close(values[beaten])
        values, numbers, signs = values[~beaten], numbers[~beaten], signs[~beaten]
        if values.size == 0:
            return
        n = self.crown.n_in
        lower, upper = numbers[:, :n], numbers[:, n : 2 * n]
        if not self.whole:
            lower, upper = _halves(lower, upper, numbers[:, -1].astype(np.int64))
            values, signs = np.tile(values, 2), np.tile(signs, (2, 1))
        if self.polytope is not None:
            lower, upper = cut(lower, upper, self.polytope)
        found = self.crown(lower, upper, signs, enough)
        self.whole = False
        self.nodes += values.size
        self.work += found.work + EACH * found.values.size
        values = np.maximum(values, found.values)
        keep = np.flatnonzero((values <= enough) & (values < np.inf))
        if keep.size:
            ends = lower[keep], upper[keep]
            enough = offer(np.concatenate([np.where(found.A[keep] > 0.0, *ends), 0.5 * (ends[0] + ends[1])]))
        self._put(values, lower, upper, found, enough)

    def lend(self, count: int, enough: float) -> list[Nodes]:
        """Up to `count` of its best boxes, which are no longer here then."""
        values, numbers, signs = self.pool.take(count)
        beaten = values > enough
        self._close(values[beaten])
        return [(values[~beaten], numbers[~beaten], signs[~beaten])]

    def give(self, lent: Sequence[Nodes]) -> None:
        """Take such boxes in."""
        self.pool.add(*lent[0])

    def elsewhere(self) -> Callable[..., BoxTree]:
        """What another process makes a tree of that takes such boxes; its keywords: `lent`, `limit_bytes`."""
        return partial(BoxTree, self.target, self.bounds)

    def finish(self, enough: float) -> None:
        """Nothing waits."""

    def _put(self, values: Floats, lower: Floats, upper: Floats, found: OnBoxes, enough: float) -> None:
        """Into the pool with what may hold something better and can be halved."""
        with np.errstate(over="ignore", invalid="ignore"):
            score = np.nan_to_num(found.blame + CORNER * np.abs(found.A) * (upper - lower))
            middle = 0.5 * (lower + upper)
        loses = (found.blame != 0.0).any(axis=1) | self.never_exact
        score = np.where((lower < middle) & (middle < upper), score, -1.0)
        j = score.argmax(axis=1)
        better = (values <= enough) & (values < np.inf) & loses & (score[np.arange(j.size), j] >= 0.0)
        self._close(values[~better])
        if better.any():
            self.pool.add(values[better], np.hstack([lower, upper, j[:, None]])[better], found.signs[better])

    def _close(self, values: Floats) -> None:
        self.closed = min(self.closed, float(values.min(initial=np.inf)))


def _halves(lower: Floats, upper: Floats, j: Ints) -> tuple[Floats, Floats]:
    """Ends (2B, n): all lower halves of boxes at their inputs j, then the upper ones."""
    B, row = j.size, np.arange(j.size)
    middle = 0.5 * (lower[row, j] + upper[row, j])
    lower, upper = np.tile(lower, (2, 1)), np.tile(upper, (2, 1))
    upper[row, j] = lower[B + row, j] = middle
    return lower, upper


@np.errstate(over="ignore", invalid="ignore")
def cut(lower: Floats, upper: Floats, polytope: Polytope) -> tuple[Floats, Floats]:
    """Ends (B, n) of boxes around the polytope's points in boxes; they cross where there are none.

    A row a x <= b leaves a_j x_j <= b - min sum_{k != j} a_k x_k, row by row and rounded outward: with n terms that is
    off by at most gamma(n + 3) (sum |a_k x_k| + |b|), and the quotient by one float.

    >>> from omlt_ext import Box
    >>> lower, upper = cut(np.zeros((1, 2)), np.ones((1, 2)), Polytope(Box.full(2, 0, 1), [[1.0, 2.0]], [1.0]))
    >>> print(lower.round(9), upper.round(9))
    [[0. 0.]] [[1.  0.5]]
    """
    lower, upper = lower.copy(), upper.copy()
    for a, b in zip(polytope.A, polytope.b, strict=True):
        at = np.flatnonzero(a)
        least = np.where(a > 0.0, a * lower, a * upper)
        size = np.maximum(np.abs(lower), np.abs(upper)) @ np.abs(a) + abs(b)
        error = gamma(a.size + 3.0) * size + TINY * (a.size + 3.0)
        room = (b - least.sum(axis=1) + error)[:, None] + least
        end = room[:, at] / a[at]
        rising = a[at] > 0.0
        upper[:, at] = np.where(rising, np.fmin(upper[:, at], np.nextafter(end, np.inf)), upper[:, at])
        lower[:, at] = np.where(rising, lower[:, at], np.fmax(lower[:, at], np.nextafter(end, -np.inf)))
        if at.size == 0 and b < 0.0:
            lower[:], upper[:] = np.inf, -np.inf
    return lower, upper
