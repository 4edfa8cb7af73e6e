"""A tree that the workers of any executor grow together, in rounds.

    while the tree is small, or its root is to change: grow it here
    else, one round:
        deal the open nodes with the least values into hands, like cards
        each worker grows the nodes of a hand as a tree of its own, for so many multiplications, from what is known
        take back what is open still, in the order of the hands; offer the points found; keep the least closed value

Workers keep nothing between rounds. What becomes of a hand depends on the hand alone, and the hands on the tree alone:
with any executor, and any number of workers, the same arguments give the same tree. A hand that gets lost goes back
into the tree as it was, so that no part of the domain is ever left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..domain import Floats
from ..tightening.parallel import ExecutorGone, outcomes
from .incumbent import Incumbent
from .pool import Nodes, Pool
from .problem import Problem
from .race import Offer, Tree
from .several import Interrupted, interruptible

logger = logging.getLogger("omlt_ext")

FEW, HANDS = 8, 64  # hands of a round, at least and at most
NODES = 32, 1024  # of a hand
WORK = 1e8, 2e9  # multiplications of a hand
PART = 0.5  # of all work so far that a round may be: the root is looked at in between, and points become known
LP = 1e7  # multiplications that take as long as the LP of a leaf, about


class Lender(Tree, Protocol):
    """A tree that can lend its open nodes to others of its kind.

    `settled`: it may now. `lend(count, enough)` hands nodes out, `give` takes such nodes in; `elsewhere()` makes a tree
    of them in another process; `finish(enough)` does what waits to be done together. `closed` is the least value of the
    nodes that are done with.
    """

    pool: Pool
    limit_bytes: int
    closed: float
    nodes: int
    work: float
    lps: int

    @property
    def settled(self) -> bool: ...

    def lend(self, count: int, enough: float) -> list[Nodes]: ...

    def give(self, lent: Sequence[Nodes]) -> None: ...

    def elsewhere(self) -> Callable[..., Lender]: ...

    def finish(self, enough: float) -> None: ...


@dataclass(frozen=True, eq=False)
class Hand:
    """What a worker gets: the nodes `lent`, the best point known, `sent` and `deadline` as of `time.time()`."""

    number: int
    tree: Callable[..., Lender]
    lent: list[Nodes]
    work: float
    limit_bytes: int
    problem: Problem
    gap: float
    v: Floats | None
    sent: float
    deadline: float | None


@dataclass(frozen=True, eq=False)
class Grown:
    """What a worker gives back: nodes that are open still, the least value of those that are not, its best point."""

    number: int
    lent: list[Nodes]
    closed: float
    v: Floats | None
    nodes: int
    work: float
    lps: int


class SharedTree:
    """`tree`, whose open nodes the workers of `executor` grow; `incumbent` is that of the search.

    None is shared before it has worked `FEW * WORK[0] / PART` multiplications.
    """

    def __init__(self, tree: Lender, incumbent: Incumbent, executor: Executor) -> None:
        self.tree, self.incumbent = tree, incumbent
        self.executor: Executor | None = executor
        self.begun = False  # whether a worker has

    @property
    def bound(self) -> float:
        """No point of the domain has a larger t."""
        return self.tree.bound

    @property
    def done(self) -> bool:
        """Whether there is nothing left to split."""
        return self.tree.done

    @property
    def nodes(self) -> int:
        """Nodes so far, those of the workers among them."""
        return self.tree.nodes

    @property
    def work(self) -> float:
        """Multiplications so far."""
        return self.tree.work

    @property
    def lps(self) -> int:
        """LPs so far."""
        return self.tree.lps

    def grow(self, enough: float, offer: Offer) -> None:
        """One batch of nodes here, or one round."""
        hands = min(HANDS, len(self.tree.pool) // NODES[0], int(PART * self.tree.work / WORK[0]))
        if self.executor is not None and hands >= FEW and self.tree.settled:
            self._round(self.executor, hands, enough, offer)
        else:
            self.tree.grow(enough, offer)

    def _round(self, executor: Executor, count: int, enough: float, offer: Offer) -> None:
        tree, lost = self.tree, []
        hands: list[Hand] = []
        away: dict[int, list[Nodes]] = {}
        try:
            if not self.begun:  # hands are large, and would fill the way to workers that have not begun yet
                self.begun = True
                list(outcomes(arrived, [Call(self._deadline)], executor))
            hands = self._deal(count, enough)
            away = {hand.number: hand.lent for hand in hands}
            for outcome in outcomes(grown, hands, executor):
                if isinstance(outcome, str):
                    lost.append(outcome)
                    continue
                if outcome is None:
                    raise KeyboardInterrupt
                tree.closed = min(tree.closed, outcome.closed)
                tree.give(outcome.lent)
                del away[outcome.number]
                tree.nodes += outcome.nodes
                tree.work += outcome.work
                tree.lps += outcome.lps
                if outcome.v is not None:
                    offer(outcome.v[None, :])
                self.incumbent.show()
        except ExecutorGone as error:
            logger.warning(f"the executor takes no work ({error}); searching here")
            self.executor = None
        finally:
            for lent in away.values():
                tree.give(lent)
        if lost:
            logger.warning(f"{len(lost)} of {len(hands)} parts of the tree came back as they were: {lost[0]}")
            self.executor = None if len(lost) == len(hands) else self.executor

    @property
    def _deadline(self) -> float | None:
        limit = self.incumbent.time_limit
        return None if limit is None else self.incumbent.begin + limit

    def _deal(self, count: int, enough: float) -> list[Hand]:
        """The best nodes, each hand as good as the others."""
        tree, incumbent = self.tree, self.incumbent
        work, room = min(WORK[1], PART * tree.work / count), int(tree.limit_bytes * tree.pool.spare / count)
        known: Any = work, room, incumbent.problem, incumbent.gap, incumbent.v, time.time(), self._deadline
        lent, plan = tree.lend(NODES[1] * count, enough), tree.elsewhere()
        hands = [
            [(values[i::count], numbers[i::count], signs[i::count]) for values, numbers, signs in lent]
            for i in range(count)
        ]
        return [Hand(i, plan, hand, *known) for i, hand in enumerate(hands) if any(part[0].size for part in hand)]


@dataclass(frozen=True)
class Call:
    """A task of no size."""

    deadline: float | None


def arrived(call: Call) -> None:
    """What the first worker answers."""


def grown(hand: Hand) -> Grown | None:
    """What a worker runs; None where Ctrl-C has ended it."""
    begin = time.time()
    limit = None if hand.deadline is None else max(0.0, hand.deadline - begin)
    incumbent = Incumbent(hand.problem, hand.gap, limit, begin)
    try:
        with interruptible():
            if hand.sent <= Interrupted.at:
                return None
            return _grown(hand, incumbent)
    except KeyboardInterrupt:
        Interrupted.at = time.time()
        return None


def _grown(hand: Hand, incumbent: Incumbent) -> Grown:
    if hand.v is not None:
        incumbent.offer(hand.v)
    known = incumbent.value

    def offer(points: Floats) -> float:
        incumbent.offer(points)
        return -incumbent.worth

    tree = hand.tree(lent=hand.lent, limit_bytes=hand.limit_bytes)
    while incumbent.goes_on() and not tree.done and tree.work + LP * tree.lps < hand.work:
        tree.grow(-incumbent.worth, offer)
    if incumbent.goes_on():
        tree.finish(-incumbent.worth)
    v = incumbent.v if incumbent.value > known else None
    lent = tree.lend(max(1, len(tree.pool)), np.inf)
    return Grown(hand.number, lent, tree.closed, v, tree.nodes, tree.work, tree.lps)
