"""The inner problem of dual ascent: multipliers that lift the value of the backward pass, in single precision.

Symbols as in `crown`. For target rows c (m, n_k) over the box, within A_P x <= b_P, and with some ReLUs split, the
Lagrangian of the triangle relaxation has for each row

    alpha in [0, 1]  lower slopes at unstable neurons that are not split,
    beta >= 0        a multiplier of z_j >= 0 (sign_j = 1) or of z_j <= 0 (sign_j = -1) at split ones,
    mu >= 0          multipliers of the polytope's rows.

Backward, for i = k-1, ..., 0:  D = A * slope - sign * beta, with slope alpha where A > 0 and s elsewhere; at split
neurons slope is 1 (sign_j = 1) or 0;  c = c + min(A, 0) t_i (not at split ones) + D b_i;  A = D W_i. At the end

    value = c - mu b_P + min over the box of (A + mu A_P) x

is a lower bound for any such multipliers (weak duality), concave in them, and its maximum is the value of the LP
(strong duality). The gradient is one forward pass from the minimiser x over the box:

    z^i = W_i h^{i-1} + b_i;   h^i = slope z^i (+ t_i where A <= 0 at unsplit neurons);
    d/d alpha = z max(A, 0),   d/d beta = -sign z,   d/d mu = A_P x - b_P

Multipliers move by Adam's rule with a falling step; those without an upper end in units of the coefficients they meet.
Sources: Xu et al., Fast and complete, ICLR 2021 (slopes); Wang et al., Beta-CROWN, NeurIPS 2021 (splits).

Nothing here has to be trusted: `dual` evaluates the multipliers in double precision, rounded outward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..domain import Box, Polytope
from ..encoding import Ints
from ..network import Network
from .backend import Array, Backend, Linear
from .crown import Relaxation

BETA_1, BETA_2 = 0.5, 0.99  # Adam's memory; the usual 0.9 and 0.999 need about twice the steps


class Pace(NamedTuple):
    """How many steps, the size of the first, and what part of it is left after the last; it falls geometrically."""

    steps: int
    first: float = 0.5
    last: float = 0.04

    def size(self, step: int) -> float:
        """Of a step, with Adam's correction for moments that start at 0."""
        falling = self.first * self.last ** (step / self.steps)
        return falling * math.sqrt(1.0 - BETA_2 ** (step + 1)) / (1.0 - BETA_1 ** (step + 1))


@dataclass
class Multipliers:
    """One row a target: `alphas[i]` (m, unstable of layer i), `betas[i]`, `signs[i]` likewise or none, `mu` (m, p)."""

    alphas: list[Array]
    betas: list[Array]
    signs: list[Array]
    mu: Array | None = None

    def parts(self) -> list[Array]:
        return [*self.alphas, *self.betas, *self.signs, *([] if self.mu is None else [self.mu])]

    def free(self) -> list[tuple[Array, float]]:
        """What the ascent moves, each with its upper end."""
        unbounded = [*self.betas, *([] if self.mu is None else [self.mu])]
        return [(alpha, 1.0) for alpha in self.alphas] + [(part, np.inf) for part in unbounded]

    def map(self, function: Callable[[Array], Array]) -> Multipliers:
        """The same multipliers with `function` applied to every array."""
        alphas, betas, signs = ([function(part) for part in g] for g in (self.alphas, self.betas, self.signs))
        return Multipliers(alphas, betas, signs, None if self.mu is None else function(self.mu))

    def take(self, rows: Array) -> Multipliers:
        """Some rows, copied."""
        return self.map(lambda part: part[rows])


@dataclass(frozen=True, eq=False)
class Slopes:
    """One layer's relaxation in single precision: `passes` where h = z, and slopes of the unstable neurons `at`."""

    weight: Linear
    bias: Array
    passes: Array
    at: Array
    s: Array
    t: Array

    @classmethod
    @np.errstate(all="ignore")  # what overflows in single precision ends as multipliers that are not taken
    def of(cls, network: Network, i: int, ease: Relaxation, backend: Backend) -> Slopes:
        layer = network.layers[i]
        at = np.flatnonzero(ease.magnitude > 0.0)
        passes = np.where(ease.magnitude > 0.0, 0.0, ease.s)
        arrays = (layer.bias, passes, at, ease.s[at], ease.t[at])
        return cls(backend.linear(layer.weight), *map(backend.array, arrays))


class Pass(NamedTuple):
    """A backward pass: the value (m,), coefficients of h^i at unstable neurons, and those of x."""

    value: Array
    coefficients: list[Array]
    A: Array


class Lagrangian:
    """The Lagrangian of target rows `first` x h^{k-1} + `constant`, over the relaxations of the layers before."""

    def __init__(
        self, backend: Backend, slopes: Sequence[Slopes], box: Box, polytope: Polytope | None, rows: Array, c: Array
    ) -> None:
        self.backend, self.xp, self.slopes = backend, backend.xp, slopes
        self.lo, self.hi = backend.array(box.lower), backend.array(box.upper)
        self.rows, self.constant = backend.array(rows), backend.array(c)
        self.A: Array = None if polytope is None else backend.array(polytope.A)
        self.b: Array = None if polytope is None else backend.array(polytope.b)
        size = np.zeros(0) if polytope is None else np.abs(polytope.A).max(axis=1, initial=0.0)
        self.unit = backend.array(1.0 / np.where(size > 0.0, size, 1.0))

    def take(self, rows: Array) -> Lagrangian:
        """The same for some of the target rows."""
        part = object.__new__(Lagrangian)
        part.__dict__ = self.__dict__ | {"rows": self.rows[rows], "constant": self.constant[rows]}
        return part

    def start(self) -> Multipliers:
        """CROWN's own slopes, nothing split, mu = 0."""
        xp, column = self.xp, self.constant[:, None] * 0.0
        alphas = [column + xp.where(s > 0.5, xp.ones_like(s), xp.zeros_like(s)) for s in (y.s for y in self.slopes)]
        return Multipliers(alphas, [], [], None if self.b is None else column + 0.0 * self.b)

    def backward(self, given: Multipliers) -> Pass:
        """The value and what it was made of."""
        xp, A, c = self.xp, self.rows, self.constant
        coefficients: list[Array] = []
        for i in range(len(self.slopes) - 1, -1, -1):
            layer, alpha = self.slopes[i], given.alphas[i]
            mine = A[:, layer.at]
            coefficients.append(mine)
            D = A * layer.passes
            slope = xp.where(mine > 0.0, alpha, layer.s)
            below = mine.clip(max=0.0)
            if given.signs:
                sign = given.signs[i]
                unsplit = sign == 0.0
                D[:, layer.at] = mine * xp.where(unsplit, slope, sign.clip(min=0.0)) - sign * given.betas[i]
                below = below * unsplit
            else:
                D[:, layer.at] = mine * slope
            c = c + (below @ layer.t + D @ layer.bias)
            A = layer.weight.back(D)
        if given.mu is not None:
            c, A = c - given.mu @ self.b, A + given.mu @ self.A
        value = c + (A.clip(min=0.0) @ self.lo + A.clip(max=0.0) @ self.hi)
        return Pass(value, coefficients[::-1], A)

    def gradient(self, given: Multipliers, back: Pass) -> list[Array]:
        """d value / d of everything `given.free()` lists, by the forward pass from the minimiser over the box."""
        xp = self.xp
        x = h = xp.where(back.A >= 0.0, self.lo, self.hi)
        by_alpha, by_beta = [], []
        for i, (layer, alpha, mine) in enumerate(zip(self.slopes, given.alphas, back.coefficients, strict=True)):
            z = layer.weight.forward(h) + layer.bias
            at = z[:, layer.at]
            up = at * mine.clip(min=0.0)
            relaxed = xp.where(mine > 0.0, alpha * at, layer.s * at + layer.t)
            if given.signs:
                sign = given.signs[i]
                unsplit = sign == 0.0
                up = up * unsplit
                by_beta.append(-sign * at)
                relaxed = xp.where(unsplit, relaxed, sign.clip(min=0.0) * at)
            by_alpha.append(up)
            h = z * layer.passes
            h[:, layer.at] = relaxed
        by_mu = [] if given.mu is None else [x @ self.A.T - self.b]
        return [*by_alpha, *by_beta, *by_mu]

    def units(self, given: Multipliers, back: Pass) -> list[Array | float]:
        """The unit of each part of `given.free()`: 1 for slopes, else the largest coefficient of the row there."""
        tops = [_largest(mine, self.xp) for mine in back.coefficients] if given.betas else []
        return [1.0] * len(given.alphas) + tops + ([] if given.mu is None else [_largest(back.A, self.xp) * self.unit])

    def gaps(self, given: Multipliers) -> list[Array]:
        """What each unstable neuron's relaxation may cost: |min(A, 0)| t for its upper side; -1 where it is split.

        The lower side costs less, since its slope is optimised: it counts a thousandth, to decide where all else is 0.
        """
        back = self.backward(given)
        sides = (
            (1e-3 * mine.clip(min=0.0) - mine.clip(max=0.0)) * y.t
            for mine, y in zip(back.coefficients, self.slopes, strict=True)
        )
        return [
            self.xp.where(sign == 0.0, cost, cost * 0.0 - 1.0) for cost, sign in zip(sides, given.signs, strict=True)
        ]


def ascend(
    problem: Lagrangian, start: Multipliers, pace: Pace, enough: Array | None = None, pairs: Ints | None = None
) -> tuple[Array, Multipliers]:
    """(values (m,), multipliers): the best seen for each row in `pace.steps` steps from `start`.

    A row whose value exceeds `enough` (m,) is done; with `pairs` (m,) so is the row that it names.
    """
    xp = problem.xp
    now = start.map(lambda part: part + 0.0)
    best = start.map(lambda part: part + 0.0)
    value = problem.constant * 0.0 - np.inf
    live = None  # rows still at work; None: all
    moments = [(xp.zeros_like(part), xp.zeros_like(part)) for part, _ in now.free()]
    work, units = problem, None
    for step in range(pace.steps + 1):
        back = work.backward(now)
        known = value if live is None else value[live]
        better = back.value > known
        at = better if live is None else live[better]
        value[at] = back.value[better]
        for kept, part in zip(best.parts(), now.parts(), strict=True):
            kept[at] = part[better]
        if step == pace.steps:
            break
        units = work.units(now, back) if units is None else units
        size = pace.size(step)
        for (part, top), slope, unit, (mean, square) in zip(
            now.free(), work.gradient(now, back), units, moments, strict=True
        ):
            mean += (1.0 - BETA_1) * (slope - mean)
            square += (1.0 - BETA_2) * (slope * slope - square)
            part += (size * unit) * (mean / (square**0.5 + 1e-12))
            xp.clip(part, 0.0, top, out=part)
        if enough is not None and step % 4 == 3:
            done = value > enough
            done = done if pairs is None else done | done[pairs]
            rest = xp.where(~done)[0]
            if rest.shape[0] == 0:
                break
            if 4 * rest.shape[0] <= 3 * back.value.shape[0]:  # copying pays
                keep = rest if live is None else xp.where(~done[live])[0]
                live, work, now = rest, problem.take(rest), now.take(keep)
                moments = [(mean[keep], square[keep]) for mean, square in moments]
                units = [unit if isinstance(unit, float) else unit[keep] for unit in units]
    return value, best


def _largest(values: Array, xp: Any) -> Array:
    """max |values| of each row, (m, 1)."""
    return xp.amax(abs(values), 1)[:, None] if values.shape[1] else values.sum(1)[:, None]
