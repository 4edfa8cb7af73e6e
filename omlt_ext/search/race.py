"""A tree, and after a while a second one of another kind beside it, until one of them is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..domain import Floats

SHARE = 0.5  # of the first tree's work that the second one gets

Offer = Callable[[Floats], float]


class Tree(Protocol):
    """A branch-and-bound tree for max t. Inside, -t is minimised.

    `bound`: no point of the domain has a larger t. `done`: nothing is left to split. `work`: multiplications so far,
    or what takes as long.
    `lps`: linear programs whose dual bounds are part of `bound`.
    `grow(enough, offer)` takes one batch of nodes; a node whose value exceeds `enough` cannot hold anything better.
    `offer` takes points (m, n_in) and returns what is enough then.
    """

    @property
    def nodes(self) -> int: ...

    @property
    def work(self) -> float: ...

    @property
    def lps(self) -> int: ...

    @property
    def bound(self) -> float: ...

    @property
    def done(self) -> bool: ...

    def grow(self, enough: float, offer: Offer) -> None: ...


class Race:
    """A tree that is expected to do, and from when it has worked `head` on another one, which gets half as much work.

    Together they take at most one and a half times as long as the first alone, and three times as long as the second,
    but for the head start. None is left on the way: a bound that falls fast at first may stand still later, and then
    costs far more. Nothing is decided by the clock, so that the same instance takes the same way.
    """

    def __init__(self, first: Tree, second: Callable[[], Tree], head: float) -> None:
        self.trees, self.second, self.head = [first], second, head

    @property
    def bound(self) -> float:
        return min(tree.bound for tree in self.trees)

    @property
    def done(self) -> bool:
        return any(tree.done for tree in self.trees)

    @property
    def nodes(self) -> int:
        return sum(tree.nodes for tree in self.trees)

    @property
    def work(self) -> float:
        return sum(tree.work for tree in self.trees)

    @property
    def lps(self) -> int:
        return sum(tree.lps for tree in self.trees)

    def grow(self, enough: float, offer: Offer) -> None:
        """One batch of the tree whose turn it is."""
        first = self.trees[0]
        if len(self.trees) == 1 and first.work >= self.head:
            self.trees.append(self.second())
        later = len(self.trees) > 1 and self.trees[1].work < SHARE * first.work
        self.trees[later].grow(enough, offer)
