"""Two trees side by side until one is ahead: which way of splitting suits an instance is found by trying both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..domain import Floats

Offer = Callable[[Floats], float]


class Tree(Protocol):
    """A branch-and-bound tree for max t. Inside, -t is minimised.

    `bound`: no point of the domain has a larger t. `done`: nothing is left to split. `work`: multiplications so far.
    `lps`: linear programs whose dual bounds are part of `bound`.
    `grow(enough, offer)` takes one batch of nodes; a node whose value exceeds `enough` cannot hold anything better.
    `offer` takes points (m, n_in) and returns what is enough then.
    """

    nodes: int
    work: float
    lps: int

    @property
    def bound(self) -> float: ...

    @property
    def done(self) -> bool: ...

    def grow(self, enough: float, offer: Offer) -> None: ...


class Race:
    """The tree that has the smaller bound after `work` multiplications of each; all of them until then.

    Nothing is decided by the clock, so that the same instance takes the same way.
    """

    def __init__(self, trees: Sequence[Tree], work: float) -> None:
        self.trees, self.trial = list(trees), work
        self.known = min(tree.bound for tree in trees)
        self.nodes, self.work, self.lps = 0, 0.0, 0

    @property
    def bound(self) -> float:
        return min(self.known, *(tree.bound for tree in self.trees))

    @property
    def done(self) -> bool:
        return any(tree.done for tree in self.trees)

    def grow(self, enough: float, offer: Offer) -> None:
        """One batch of the tree that has worked least; of the leading one, once all have worked enough."""
        tree = min(self.trees, key=lambda tree: tree.work)
        if len(self.trees) > 1 and tree.work >= self.trial:
            self.known = self.bound
            tree = min(self.trees, key=lambda tree: tree.bound)
            self.trees = [tree]
        before = tree.nodes, tree.work, tree.lps
        tree.grow(enough, offer)
        self.nodes += tree.nodes - before[0]
        self.work += tree.work - before[1]
        self.lps += tree.lps - before[2]
