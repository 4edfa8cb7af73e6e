"""Branch and bound over the signs of ReLUs: best first, some hundred nodes at a time, node bounds by dual ascent.

Symbols as in `propagation.ascent`: a node is the part of the domain where some neurons have given signs; its bound is
the value of the backward pass with slopes alpha of the other unstable neurons and multipliers beta of these signs.
Inside, -t is minimised, so that a node's *value* is a lower bound of -t on it.

    pool <- the domain, with multipliers from dual ascent
    until the best value is no better than the incumbent:
        take the nodes with the least values; offer the points at which their Lagrangians are least
        split each at the neuron whose relaxation costs most, |min(A_j, 0)| t_j
        ascend both children from the parent's multipliers; evaluate them in double precision, rounded outward
        put back the children that may hold something better
        nodes that no split can improve are leaves: a long ascent, many at a time, then an LP where that leaves a gap
    where the tree has become as costly as tighter bounds of the hidden neurons: get these, and begin anew

A neuron of the last hidden layer whose coefficient is not negative is never split (see `ReluRoot`).
Sources: Bunel et al., JMLR 2020 (the tree, the choice by the intercept); Wang et al., Beta-CROWN, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial

import numpy as np

from ..bounds import Bounds
from ..domain import Floats
from ..errors import InfeasibleError
from ..propagation.ascent import Pace
from ..propagation.backend import Backend, NumpyBackend, faster_backend, has_numba
from .leaf_lp import leaf_bound
from .pool import Nodes, Pool, joined
from .refinement import open_behind, refined, tightened
from .relu_root import ReluRoot
from .target import Target

BATCH = 512
CHILD, LEAF = Pace(10, first=0.25, last=0.12), Pace(100, first=0.2, last=0.02)
LEAVES, PATIENCE = 128, 16  # leaves that are polished together, or all there are after so many batches
DOWNWARD = 1e-3  # what the lower side of a relaxation counts, whose slope is optimised, against the upper one
LADDER = (16, 64, 256, 1024, 4096)  # parts that bounds of hidden neurons come from, one time after another
COMPILED = 3e9  # multiplications after which loops are compiled, where nobody has chosen
WORTH = 0.03  # the part of the widths that must go if a tree is to begin anew

Offer = Callable[[Floats], float]


class ReluTree:
    """The tree for max t, given bounds of the target's neurons; `grow` takes one batch of nodes.

    `bound`: no point of the domain has a larger t. `nodes`, `lps` and `work` (multiplications) count what was done.
    Memory stays near `limit_bytes`. Without a `backend`, NumPy's, with compiled loops for large trees where numba is
    there, unless they have to be compiled and too few seconds are `left()`. The same arguments give the same tree. One
    that begins with nodes which another has `lent` keeps the root that it is given.

    >>> from omlt_ext import Box, Layer, Network, tighten_bounds
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])  # max(0, x + y) + max(0, x - y)
    >>> target = Target.linear(network, Box.full(2, -1, 1), np.ones(1))
    >>> tree = ReluTree(target, tighten_bounds(target.network, target.domain))
    >>> while not tree.done:
    ...     tree.grow(-2.0, lambda points: -2.0)  # 2 is known
    >>> round(tree.bound, 4)
    2.0
    """

    def __init__(
        self,
        target: Target,
        bounds: Bounds,
        backend: Backend | None = None,
        limit_bytes: int = 2**31,
        lent: Sequence[Nodes] | None = None,
        left: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.target, self.limit_bytes, self.left = target, limit_bytes, left
        self.backend, self.later = (NumpyBackend(), has_numba()) if backend is None else (backend, False)
        self.known = float(bounds.upper[-1][0])
        self.nodes = self.lps = 0
        self.work = 0.0
        self.ladder = list(LADDER) if lent is None else []
        self.refining: Generator[int, None, Bounds] | None = None
        self._plant(bounds, lent)

    def _plant(self, bounds: Bounds, lent: Sequence[Nodes] | None = None) -> None:
        """Begin with the whole domain, or with what another tree has lent."""
        self.root = ReluRoot(self.target, bounds, self.backend)
        self.pool = Pool(self.root.k, self.root.u, self.limit_bytes)
        self.leaves: list[Nodes] = []
        self.hard: list[Nodes] = []  # leaves that need an LP
        self.closed = np.inf  # the least value of a node that is done with
        self.batches, self.planted = 0, self.nodes
        if lent is None:
            self.pool.add(*self.root.start())
            return
        self.batches = -1  # the leaves have waited before: they come first
        self.give(lent)

    @property
    def bound(self) -> float:
        """No point of the domain has a larger t."""
        waiting = min((float(part[0].min(initial=np.inf)) for part in (*self.leaves, *self.hard)), default=np.inf)
        return min(self.known, -min(self.pool.least, waiting, self.closed))

    @property
    def done(self) -> bool:
        """Whether there is nothing left to split."""
        return len(self.pool) == 0 and not self.leaves and not self.hard

    def grow(self, enough: float, offer: Offer) -> None:
        """One batch: nodes whose value exceeds `enough` cannot hold anything better. `offer` takes points (m, n_in) and
        returns what is enough now."""
        self.batches += 1
        if self.later and self.work > COMPILED:
            self._compile()
        waiting = sum(values.size for values, _, _ in self.leaves)
        if self.refining is not None or self._large():
            self._refine()
        elif self.hard:
            self._solve(enough, offer)
        elif waiting >= LEAVES or (waiting and (len(self.pool) == 0 or self.batches % PATIENCE == 0)):
            self._polish(enough)
        else:
            values, numbers, signs = self._open(self.pool.take(BATCH), enough)
            if values.size:
                self._branch((values, numbers, signs), offer)

    @property
    def settled(self) -> bool:
        """Whether nodes may be lent: root and back end stay for now."""
        return self.refining is None and not self._large() and not (self.later and self.work > COMPILED)

    def lend(self, count: int, enough: float) -> list[Nodes]:
        """Up to `count` of its best open nodes, all leaves, and those of them that need an LP; no longer here then."""
        nodes = self._open(self.pool.take(count), enough)
        none = nodes[0][:0], nodes[1][:0], nodes[2][:0]
        lent = [nodes, joined([none, *self.leaves]), joined([none, *self.hard])]
        self.leaves, self.hard = [], []
        return lent

    def give(self, lent: Sequence[Nodes]) -> None:
        """Take such nodes in."""
        nodes, leaves, hard = lent
        self.pool.add(*nodes)
        self.leaves += [leaves] if leaves[0].size else []
        self.hard += [hard] if hard[0].size else []

    def elsewhere(self) -> Callable[..., ReluTree]:
        """What another process makes a tree of that takes such nodes; its keywords: `lent`, `limit_bytes`."""
        return partial(ReluTree, self.target, self.root.bounds, self.backend)

    def finish(self, enough: float) -> None:
        """A long ascent for the leaves that wait for one."""
        if self.leaves:
            self._polish(enough)

    def _branch(self, nodes: Nodes, offer: Offer) -> None:
        """Split nodes where that can help; the others wait for a long ascent with the leaves."""
        values, numbers, signs = nodes
        coefficients, points = self.root.backward(numbers, signs)
        enough = offer(points)
        cost = self._cost(coefficients, signs)
        ready = _divisible(cost, values, enough)
        if not ready.all():
            self.leaves.append((values[~ready], numbers[~ready], signs[~ready]))
        if ready.any():
            chosen = cost[ready].argmax(axis=1)
            self._split((values[ready], numbers[ready], signs[ready]), chosen, coefficients[ready], enough)

    def _cost(self, coefficients: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """What each neuron's relaxation may cost, -1 where there is nothing to split."""
        cost = (DOWNWARD * coefficients.clip(min=0.0) - coefficients.clip(max=0.0)) * self.root.shift
        return np.where((signs == 0) & self.root.splits, cost, -1.0)

    def _split(self, nodes: Nodes, j: np.ndarray, coefficients: np.ndarray, enough: float) -> None:
        """Both children of nodes, split at the neurons j."""
        values, numbers, signs = (np.concatenate([part, part]) for part in nodes)
        n = j.size
        row = np.arange(n)
        lifted, slope = coefficients[row, j].clip(min=0.0), numbers[row, j].copy()
        signs[row, j], signs[row + n, j] = 1, -1
        numbers[row, j], numbers[row + n, j] = lifted * (1.0 - slope), lifted * slope  # no child below its parent
        found, numbers = self.root.ascend(numbers, signs, CHILD, enough)
        self.nodes += 2 * n
        self.work += 2.0 * n * (CHILD.steps + 2) * self.root.size
        children = self._open((np.maximum(values, found), numbers, signs), enough)
        if children[0].size:
            self.pool.add(*children)

    def _polish(self, enough: float) -> None:
        """A long ascent for all leaves. What it leaves open is split; where nothing is left to split it needs an LP."""
        values, numbers, signs = self._open(joined(self.leaves), enough)
        self.leaves = []
        if values.size == 0:
            return
        found, numbers = self.root.ascend(numbers, signs, LEAF, enough)
        self.work += float(values.size) * LEAF.steps * self.root.size
        values, numbers, signs = self._open((np.maximum(values, found), numbers, signs), enough)
        if values.size == 0:
            return
        coefficients, _ = self.root.backward(numbers, signs)
        cost = self._cost(coefficients, signs)
        ready = cost.max(axis=1, initial=-1.0) > 0.0
        if not ready.all():
            self.hard.append((values[~ready], numbers[~ready], signs[~ready]))
        if ready.any():
            chosen = cost[ready].argmax(axis=1)
            self._split((values[ready], numbers[ready], signs[ready]), chosen, coefficients[ready], enough)

    def _solve(self, enough: float, offer: Offer) -> None:
        """The LP of the hard leaf with the least value; what that leaves open is split, if it can be."""
        values, numbers, signs = self._open(joined(self.hard), enough)
        if values.size == 0:
            self.hard = []
            return
        order = np.argsort(values, kind="stable")
        later, leaf = order[1:], order[:1]
        self.hard = [(values[later], numbers[later], signs[later])] if later.size else []
        bound, x = leaf_bound(self.target, self.root.head, signs[leaf[0]])
        value = np.maximum(values[leaf], -bound)
        self.lps += 1
        if x is not None:
            enough = offer(x[None, :])
        rest = np.where((signs[leaf] == 0) & self.root.splits, self.root.shift, -1.0)
        if value[0] > min(enough, np.finfo(float).max) or rest.max(initial=-1.0) < 0.0:
            self._close(value)
        else:
            coefficients, _ = self.root.backward(numbers[leaf], signs[leaf])
            self._split((value, numbers[leaf], signs[leaf]), rest.argmax(axis=1), coefficients, enough)

    def _open(self, nodes: Nodes, enough: float) -> Nodes:
        """The nodes that may hold something better; the others are closed."""
        values, numbers, signs = nodes
        open_ = values <= min(enough, np.finfo(float).max)  # what is empty has the value inf
        if open_.all():
            return nodes
        self._close(values[~open_])
        return values[open_], numbers[open_], signs[open_]

    def _close(self, values: Floats) -> None:
        self.closed = min(self.closed, float(values.min(initial=np.inf)))

    def _compile(self) -> None:
        """From now on with compiled loops: to load them takes most of a second, so that small trees go without."""
        self.later = False
        faster = faster_backend(self.left())
        if faster is not None:
            self.backend = faster
            self.root = ReluRoot(self.target, self.root.bounds, faster)

    def _large(self) -> bool:
        """Whether as many nodes have been made since the beginning as the next refinement makes leaves."""
        if not self.ladder or self.done:
            return False
        leaves = 2 * self.ladder[0] * open_behind(self.root.bounds)
        return 0 < leaves <= self.nodes - self.planted

    def _refine(self) -> None:
        """A part of the next refinement; at its end the tree begins anew, if its root is tighter by enough."""
        if self.refining is None:
            self.refining = refined(self.target.network, self.root.bounds, self.ladder.pop(0), self.backend)
        try:
            self.work += 4.0 * next(self.refining) * self.root.size
            return
        except StopIteration as end:
            bounds: Bounds = end.value
        except InfeasibleError:  # no point satisfies the polytope's rows
            self.known, self.leaves, self.hard, self.refining = -np.inf, [], [], None
            self.pool = Pool(self.root.k, self.root.u)
            return
        self.refining = None
        if tightened(self.root.bounds, bounds) < WORTH:
            self.ladder = []
            return
        self.known = self.bound
        self._plant(bounds)


def _divisible(cost: np.ndarray, values: Floats, enough: float) -> np.ndarray:
    """(m,): whether a split is what a node needs.

    The network's value at the best point of a node's relaxation exceeds the relaxation's by at most the sum of the
    neurons' costs. Where even that is not `enough`, the multipliers are far from the best (or there is a point better
    than the incumbent): one long ascent saves a chain of splits.
    """
    lacking = np.where(enough < np.inf, enough - values, 0.0)
    total = np.asarray(cost.clip(min=0.0).sum(axis=1))
    return (cost.max(axis=1, initial=-1.0) > 0.0) & (total >= lacking)
