"""The relaxation at the root of a tree over the signs of ReLUs, and the multipliers of its nodes as flat arrays.

Symbols as in `propagation.ascent`; u unstable neurons in all, p rows of the polytope. A node has `numbers` (u + p,),
its slopes alpha, or beta where a neuron is split, and mu; and `signs` (u,): 1, -1, or 0 where nothing is split.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..bounds import Bounds
from ..domain import Floats
from ..network import Bools
from ..propagation.ascent import Lagrangian, Multipliers, Pace, ascend
from ..propagation.backend import Backend
from ..propagation.dual import Head
from .target import Target

STEPS = 40  # of dual ascent at the root itself
CHUNK = 2**28  # bytes of work in double precision
ELEMENTWISE = 20  # operations on each unstable neuron in a step of ascent, about
FUSED = 0.2  # of the time, with compiled loops


class ReluRoot:
    """The Lagrangian of -t over the relaxation that `bounds` give, batched over nodes.

    `shift` (u,) are the intercepts t of the unstable neurons. `splits` (u,) is False for those of the last hidden layer
    whose coefficient in -t is not negative: max(0, z) is convex there, and a split has nothing to win.
    """

    def __init__(self, target: Target, bounds: Bounds, backend: Backend | None = None) -> None:
        self.target, self.bounds = target, bounds
        self.head = Head(target.network, bounds, backend)
        self.problem: Lagrangian = self.head.problem(np.array([[-1.0]]))
        layers = self.head.slopes
        self.u = self.head.unstable
        self.k = self.u + (0 if bounds.polytope is None else bounds.polytope.b.size)
        self.ends = np.cumsum([0, *(layer.at.size for layer in layers)])
        self.shift = np.zeros(self.u)
        for layer, (a, b) in zip(layers, pairwise(self.ends), strict=True):
            self.shift[a:b] = self.head.backend.numpy(layer.t)
        self.splits: Bools = np.ones(self.u, dtype=bool)
        if layers:
            last = target.network.layers[-1].dense_weight()[0]
            self.splits[self.ends[-2] :] = last[layers[-1].at] > 0.0
        weights = (layer.order.size * below for layer, below in zip(layers, self._widths(), strict=True))
        size = 2 * sum(weights) + ELEMENTWISE * self.u
        self.size = size * (FUSED if self.head.flat is not None else 1.0)  # of one step of ascent, in multiplications

    def _widths(self) -> list[int]:
        """Inputs of each layer that are not always 0."""
        return [self.bounds.box.n, *(layer.order.size for layer in self.head.slopes)][: len(self.head.slopes)]

    def start(self) -> tuple[Floats, np.ndarray, np.ndarray]:
        """(value, numbers, signs) of the whole domain, one row."""
        with np.errstate(all="ignore"):
            _, found = ascend(self.problem, self.problem.start(), self.head.pace(STEPS))
        numbers, signs = self.numbers(found), np.zeros((1, self.u), np.int8)
        value = self.evaluate(self.multipliers(numbers, signs), 1)
        return np.maximum(value, -self.bounds.upper[-1]), numbers, signs

    def rows(self, n: int) -> Lagrangian:
        """The Lagrangian of n nodes."""
        return self.problem.take(np.zeros(n, dtype=np.int64))

    def ascend(self, numbers: np.ndarray, signs: np.ndarray, pace: Pace, enough: float) -> tuple[Floats, np.ndarray]:
        """(values, numbers) of nodes after an ascent that leaves those alone whose values exceed `enough` a little."""
        n = signs.shape[0]
        with np.errstate(all="ignore"):
            stop = self.head.backend.array(np.full(n, enough + 1e-6 * max(1.0, abs(enough))))
            _, found = ascend(self.rows(n), self.multipliers(numbers, signs), pace, stop)
        return self.evaluate(found, n), self.numbers(found)

    def backward(self, numbers: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, Floats]:
        """(coefficients (m, u) of unstable neurons, points (m, n_in) of the box where the Lagrangians are least)."""
        if self.head.flat is not None:
            with np.errstate(all="ignore"):
                passed = self.head.passes(np.full((signs.shape[0], 1), -1.0), self.multipliers(numbers, signs))
            polytope = self.bounds.polytope
            A = passed.A if polytope is None else passed.A + numbers[:, self.u :] @ polytope.A
            return passed.coefficients, self._points(A)
        with np.errstate(all="ignore"):
            back = self.rows(signs.shape[0]).backward(self.multipliers(numbers, signs))
        flat = [self.head.backend.numpy(part) for part in back.coefficients]
        coefficients = np.concatenate(flat, axis=1) if flat else np.zeros(signs.shape, np.float32)
        return coefficients, self._points(self.head.backend.numpy(back.A))

    def _points(self, A: np.ndarray) -> Floats:
        box = self.bounds.box
        return np.clip(box.center - np.sign(A) * (0.5 * box.width), box.lower, box.upper)

    def evaluate(self, found: Multipliers, n: int) -> Floats:
        """Lower bounds (n,) of -t on the nodes, in double precision and rounded outward."""
        return self.head.evaluate(np.full((n, 1), -1.0), found, CHUNK)

    def numbers(self, found: Multipliers) -> np.ndarray:
        """Multipliers as one array (m, u + p)."""
        parts = [self.head.backend.numpy(part) for part in found.free()]
        return np.concatenate(parts, axis=1) if parts else np.zeros((self.problem.constant.shape[0], 0), np.float32)

    def multipliers(self, numbers: np.ndarray, signs: np.ndarray) -> Multipliers:
        """The same the other way round."""
        array, ends = self.head.backend.array, self.ends
        alphas = [array(numbers[:, a:b]) for a, b in pairwise(ends)]
        given = [array(signs[:, a:b].astype(np.float32)) for a, b in pairwise(ends)]
        mu = None if self.bounds.polytope is None else array(numbers[:, self.u :])
        return Multipliers(alphas, given, mu)
