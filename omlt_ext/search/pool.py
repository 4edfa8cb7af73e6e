"""The open nodes of a tree, as arrays: the best ones come first, the newest ones where memory is full."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from ..domain import Floats

Nodes = tuple[Floats, np.ndarray, np.ndarray]  # values (m,), numbers (m, k), signs (m, u)

START = 1024
OVERHEAD = 192  # bytes of a node in the heap and the list of free slots, about


class Pool:
    """Nodes with a value (what is least comes first), `numbers` (k,) and int8 `signs` (u,).

    Up to `limit_bytes` of them are taken best first. Beyond that the newest come first, until half of the memory is
    free again: depth first, a tree needs no more than a batch for each level.

    >>> pool = Pool(1, 2)
    >>> pool.add(np.array([3.0, 1.0, 2.0]), np.zeros((3, 1), np.float32), np.array([[0, 1], [1, 1], [0, 0]], np.int8))
    >>> values, _, signs = pool.take(2)
    >>> values, signs.tolist(), pool.least, len(pool)
    (array([1., 2.]), [[1, 1], [0, 0]], 3.0, 1)
    """

    def __init__(self, k: int, u: int, limit_bytes: int = 2**31, dtype: type = np.float32) -> None:
        self.numbers: np.ndarray = np.zeros((START, k), dtype)
        self.signs = np.zeros((START, u), np.int8)
        self.values = np.full(START, np.inf)
        self.limit = max(START, limit_bytes // (self.numbers.itemsize * k + u + OVERHEAD))
        self.free = list(range(START - 1, -1, -1))
        self.heap: list[tuple[float, int]] = []  # of slots; stale where the slot's value differs
        self.newest: list[int] | None = None  # slots that were filled since memory was full

    def __len__(self) -> int:
        return self.values.size - len(self.free)

    @property
    def least(self) -> float:
        """The least value of all nodes, inf without one."""
        while self.heap and self.values[self.heap[0][1]] != self.heap[0][0]:
            heapq.heappop(self.heap)
        return self.heap[0][0] if self.heap else np.inf

    @property
    def spare(self) -> float:
        """The part of the memory that is free."""
        return max(0.0, 1.0 - len(self) / self.limit)

    def add(self, values: Floats, numbers: np.ndarray, signs: np.ndarray) -> None:
        """Put nodes in, with finite values or -inf."""
        while len(self.free) < values.size:
            self._grow()
        at = [self.free.pop() for _ in range(values.size)]
        self.numbers[at], self.signs[at], self.values[at] = numbers, signs, values
        heap, push = self.heap, heapq.heappush
        for pair in zip(values.tolist(), at, strict=True):
            push(heap, pair)
        if self.newest is not None:
            self.newest.extend(at)

    def take(self, count: int) -> Nodes:
        """(values, numbers, signs) of up to `count` nodes, which are then no longer there."""
        if len(self) > self.limit:
            self.newest = [] if self.newest is None else self.newest
        elif 2 * len(self) <= self.limit:
            self.newest = None
        if count >= len(self):
            self.newest = None
        slots = self._last(count) if self.newest else self._best(count)
        values = self.values[slots]
        self.values[slots] = np.inf
        self.free.extend(slots)
        if len(self.heap) > 2 * len(self) + START:  # mostly stale
            there = np.flatnonzero(self.values < np.inf)
            self.heap = list(zip(self.values[there].tolist(), there.tolist(), strict=True))
            heapq.heapify(self.heap)
        return values, self.numbers[slots], self.signs[slots]

    def _best(self, count: int) -> list[int]:
        slots: list[int] = []
        taken = set()
        heap, pop, values = self.heap, heapq.heappop, self.values
        while heap and len(slots) < count:
            value, slot = pop(heap)
            if values[slot] == value and slot not in taken:
                taken.add(slot)
                slots.append(slot)
        return slots

    def _last(self, count: int) -> list[int]:
        assert self.newest is not None
        slots = self.newest[-count:]
        del self.newest[-count:]
        return slots

    def _grow(self) -> None:
        """More room, in place where the system can: twice as much at first, later a quarter."""
        old = self.values.size
        new = 2 * old if old < 2**16 else old + old // 4
        self.numbers.resize((new, self.numbers.shape[1]), refcheck=False)
        self.signs.resize((new, self.signs.shape[1]), refcheck=False)
        self.values = np.concatenate([self.values, np.full(new - old, np.inf)])
        self.free = list(range(new - 1, old - 1, -1)) + self.free


def joined(parts: Sequence[Nodes]) -> Nodes:
    """The nodes of one or more parts, one after another."""
    values, numbers, signs = (np.concatenate(part) for part in zip(*parts, strict=True))
    return values, numbers, signs
