"""Splits: below the LP relaxation without a solver, by a small tree over the signs of neurons for each bound.

Symbols as in `crown` and `ascent`. A leaf is the part of the domain where some neurons have given signs: z_j >= 0,
where h_j = z_j, or z_j <= 0, where h_j = 0. The value of the backward pass with multipliers beta of these signs is a
lower bound of C z^k on the leaf, and the least of a row's leaves bounds the row.

    for each target row, all rows in one batch:
        leaf <- the domain, with multipliers from dual ascent
        until there are enough leaves:
            take the row's leaf with the least value
            split it at the neuron whose relaxation may cost most, the largest |min(A_j, 0)| t_j
            ascend both children from the parent's multipliers

Empty leaves have no finite bound: their values grow and are never the least.
Source: Wang et al., Beta-CROWN, NeurIPS 2021 (multipliers of splits); Bunel et al., Branch and bound for piecewise
linear neural network verification, JMLR 2020 (the tree and the choice by the relaxation's intercept).
"""

from __future__ import annotations

import time

import numpy as np
from scipy import sparse

from ..bounds import Bounds
from ..domain import Floats
from ..network import Network
from .ascent import Lagrangian, Multipliers, Pace, ascend
from .backend import Array, Backend
from .crown import both_signs
from .dual import STEPS, Head
from .rounding import row_blocks

CHILD = Pace(3, first=0.25, last=0.35)  # of a child: it starts close to its own optimum


def split_rows(
    network: Network,
    bounds: Bounds,
    *,
    leaves: int,
    steps: int = STEPS,
    stop_at_sign: bool = False,
    backend: Backend | None = None,
    deadline: float | None = None,
    chunk_bytes: int = 2**28,
) -> tuple[Floats, Floats]:
    """(lower, upper) of every neuron of the network's last layer, each the worst of its tree's `leaves` leaves.

    `steps` of dual ascent at the root. `stop_at_sign` leaves a ReLU alone as soon as its sign is decided. Neurons go in
    chunks whose trees and work arrays stay near `chunk_bytes`. At `deadline`, a time of `time.time()`, trees stop to
    grow, and neurons that have none yet get infinite bounds.

    >>> from omlt_ext import Box, Layer, tighten_bounds
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    >>> bounds = tighten_bounds(network, Box.full(2, -1, 1), "dual")  # max(0, x + y) + max(0, x - y) <= 2
    >>> for leaves in (1, 2, 4):
    ...     print(f"{split_rows(network, bounds, leaves=leaves)[1][0]:.4f}")
    3.0000
    3.0000
    2.0000
    """
    head = Head(network, bounds, backend)
    lower, upper = np.full(head.n, -np.inf), np.full(head.n, -np.inf)

    def late() -> bool:
        return deadline is not None and time.time() > deadline

    # Two trees a neuron; in a leaf the multiplier and sign of each unstable neuron; one child's work per tree.
    size = 2 * ((2 * leaves + 16) * (head.unstable + 1) // 2 + 6 * head.widest)
    for rows in row_blocks(head.n, size, chunk_bytes):
        if late():
            break
        C = both_signs(rows, head.n)
        with np.errstate(all="ignore"):
            forest = Forest(head, C, leaves, steps, head.thresholds(rows) if stop_at_sign else None)
            while forest.grows() and not late():
                forest.split()
        lower[rows], upper[rows] = np.split(forest.evaluate(chunk_bytes), 2)
    return lower, -upper


class Forest:
    """One tree for each of m target rows. Leaf i of row r stands in row r + i m of the multipliers, i < `count[r]`."""

    def __init__(
        self, head: Head, C: sparse.csr_array, leaves: int, steps: int, stop: tuple[Array, Array] | None
    ) -> None:
        self.head, self.C, self.leaves, self.stop = head, C, leaves, stop
        self.xp = head.backend.xp
        self.problem: Lagrangian = head.problem(C)
        value, root = ascend(self.problem, self.problem.start(), head.pace(steps), *(stop or (None, None)))
        self.found = Multipliers(root.alphas, [0.0 * alpha for alpha in root.alphas], root.mu)
        self.values = value[:, None]  # (m, room for leaves); infinite where there is none yet
        self.m = int(value.shape[0])
        self.open = head.backend.array(np.arange(self.m))
        self.count = 0 * self.open + 1
        self.complete = self.count < 0  # rows whose worst leaf no split can raise

    def grows(self) -> bool:
        """Whether there is a row that may have another leaf and is not decided."""
        if int(self.count.max()) >= self.leaves or self.head.unstable == 0:
            return False
        done = self.complete
        if self.stop is not None:
            enough, pairs = self.stop
            decided = self.xp.amin(self.values, 1) > enough
            done = done | decided | decided[pairs]
        self.open = self.xp.where(~done)[0]
        return int(self.open.shape[0]) > 0

    def split(self) -> None:
        """Divide the worst leaf of every open row: one child takes its place, the other becomes a new leaf."""
        xp, rows = self.xp, self.open
        worst = self.values[rows].argmin(1)
        at = rows + worst * self.m
        parents = self.found.take(at)
        costs, coefficients = self.problem.take(rows).gaps(parents)
        cost = xp.concatenate(costs, 1)
        useful = xp.amax(cost, 1) > 0.0  # else no split can raise the row's worst leaf: its tree is complete
        if not bool(useful.all()):
            self.complete[rows[~useful]] = True
            rows, worst, at, parents = rows[useful], worst[useful], at[useful], parents.take(useful)
            coefficients, cost = [part[useful] for part in coefficients], cost[useful]
            if int(rows.shape[0]) == 0:
                return
        chosen = cost.argmax(1)
        children = parents.map(lambda part: xp.concatenate([part, part]))
        count = int(rows.shape[0])
        first = 0
        for sign, alpha, mine in zip(children.signs, children.alphas, coefficients, strict=True):
            here = xp.where((chosen >= first) & (chosen < first + sign.shape[1]))[0]
            j = chosen[here] - first
            sign[here, j] = 1.0
            sign[here + count, j] = -1.0
            lifted, slope = mine[here, j].clip(min=0.0), alpha[here, j] + 0.0
            alpha[here, j] = lifted * (1.0 - slope)  # with these multipliers no child starts below its parent
            alpha[here + count, j] = lifted * slope
            first += sign.shape[1]
        value, best = ascend(self.problem.take(xp.concatenate([rows, rows])), children, CHILD)
        known, new = self.values[rows, worst], self.count[rows]
        self._make_room()
        self.values[rows, worst] = xp.maximum(value[:count], known)
        self.values[rows, new] = xp.maximum(value[count:], known)
        for part, found in zip(self.found.parts(), best.parts(), strict=True):
            part[at] = found[:count]
            part[rows + new * self.m] = found[count:]
        self.count[rows] = new + 1

    def _make_room(self) -> None:
        """Twice the room where it is full."""
        xp, room = self.xp, self.values.shape[1]
        if int(self.count.max()) == room:
            more = min(room, self.leaves - room)
            self.values = xp.concatenate([self.values, 0.0 * self.values[:, :more] + np.inf], 1)
            self.found = self.found.map(lambda part: xp.concatenate([part, part[: more * self.m]]))

    def evaluate(self, chunk_bytes: int) -> Floats:
        """The least of each row's leaves in double precision, rounded outward."""
        count = self.head.backend.numpy(self.count)
        leaf, row = np.nonzero(np.arange(self.values.shape[1])[:, None] < count)
        found = self.found.take(self.head.backend.array(row + leaf * self.m))
        least = np.full(self.m, np.inf)
        np.minimum.at(least, row, self.head.evaluate(self.C[row], found, chunk_bytes))
        return least
