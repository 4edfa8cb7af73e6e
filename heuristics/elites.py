"""The best points of a search that differ from each other, and starts that are made from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from omlt_ext.domain import Floats
from omlt_ext.search.problem import Problem

from .slopes import Units

SAME = 1e-4  # elites whose coordinates all differ by less, in units of the box, count as one
LEAST, MOST = 0.01, 0.5  # shares of the coordinates that are drawn anew
NEAR = 0.4  # first step of a climb from a start made of elites: most of them end elsewhere, not far away
STEP = 0.1  # largest deviation of a small move


class Elites:
    """At most `size` points, the best first; `starts` makes new ones from them."""

    def __init__(self, problem: Problem, size: int) -> None:
        self.size = size
        units = Units(problem)  # a column without an end is drawn within one unit of the end that it has, or of 0
        ends = np.hstack([np.maximum(units.lower, -1.0), np.minimum(units.upper, 1.0)])
        self.low, self.high = units.leave(ends)
        self.V: Floats = np.empty((0, problem.n))
        self.merits: Floats = np.empty(0)

    def add(self, V: Floats, merits: Floats) -> None:
        """Take in points (m, n), as far as they are better than those there."""
        best = np.argsort(-merits, kind="stable")[: 4 * self.size]
        V, merits = np.concatenate([self.V, V[best]]), np.concatenate([self.merits, merits[best]])
        order = np.argsort(-merits, kind="stable")
        order = order[np.isfinite(merits[order])]  # a column without an end may have led too far
        width = SAME * np.maximum(self.high - self.low, np.finfo(float).tiny)
        chosen: list[int] = []
        for i in order:
            if len(chosen) == self.size:
                break
            if all((np.abs(V[i] - V[j]) > width).any() for j in chosen):
                chosen.append(int(i))
        self.V, self.merits = V[chosen], merits[chosen]

    @property
    def best(self) -> float:
        """The merit of the best point, -inf without any."""
        return float(self.merits[0]) if self.merits.size else -np.inf

    def judge(self, merits: Callable[[Floats], Floats]) -> None:
        """Compare the points anew."""
        V = self.V
        self.clear()
        self.add(V, merits(V))

    def clear(self) -> None:
        """Forget all points."""
        self.V, self.merits = self.V[:0], self.merits[:0]

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Points (count, n): some uniform, some corners, some with both kinds of coordinates."""
        uniform = self.low + rng.random((count, self.low.size)) * (self.high - self.low)
        corners = np.where(rng.random(uniform.shape) < 0.5, self.low, self.high)
        share = rng.choice([0.0, 0.5, 1.0], size=(count, 1), p=[0.6, 0.2, 0.2])
        return np.where(rng.random(uniform.shape) < share, corners, uniform)

    def starts(self, count: int, fresh: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """(near, far): starts made from elites, and starts drawn anew, `count` together."""
        anew = count if self.V.shape[0] == 0 else round(fresh * count)
        far = self.draw(anew, rng)
        if anew == count:
            return far[:0], far
        first, second = (self._pick(count - anew, rng) for _ in range(2))
        kind = rng.integers(3, size=(count - anew, 1))
        share = LEAST * (MOST / LEAST) ** rng.random((count - anew, 1))
        share[kind == 1] = MOST
        there = rng.random(first.shape) < share
        there[np.arange(count - anew), rng.integers(first.shape[1], size=count - anew)] = True
        moved = first + rng.normal(size=first.shape) * (self.high - self.low) * STEP * share
        other = np.where(kind == 0, self.draw(count - anew, rng), second)
        near = np.where(kind == 2, moved, np.where(there, other, first))
        return np.clip(near, self.low, self.high), far

    def _pick(self, count: int, rng: np.random.Generator) -> Floats:
        return self.V[rng.integers(self.V.shape[0], size=count)]
