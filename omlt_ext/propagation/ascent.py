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
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..domain import Box, Floats, Ints, Polytope
from ..network import Layer, Weight
from .backend import Array, Backend, Linear
from .crown import Relaxation
from .flat import Flat, FlatLayer, Rows, ascend_flat

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
    """One row a target; arrays (m, unstable neurons of layer i), and `mu` (m, p) for a polytope.

    `alphas[i]` are lower slopes, and at split neurons beta; `signs[i]` are 1, -1 or, where nothing is split, 0. No
    `signs`: nothing is split anywhere.
    """

    alphas: list[Array]
    signs: list[Array]
    mu: Array | None = None

    def free(self) -> list[Array]:
        """What the ascent moves."""
        return [*self.alphas, *([] if self.mu is None else [self.mu])]

    def parts(self) -> list[Array]:
        """All arrays."""
        return [*self.free(), *self.signs]

    def map(self, function: Callable[[Array], Array]) -> Multipliers:
        """The same multipliers with `function` applied to every array."""
        alphas, signs = ([function(part) for part in group] for group in (self.alphas, self.signs))
        return Multipliers(alphas, signs, None if self.mu is None else function(self.mu))

    def take(self, rows: Array) -> Multipliers:
        """Some rows, copied."""
        return self.map(lambda part: part[rows])


@dataclass(frozen=True, eq=False)
class Slopes:
    """One layer's relaxation in single precision, ready for many passes.

    Neurons stand in the order unstable (`at`), then those with h = z; those with h = 0 are left out, and so are they as
    inputs of the next layer. Inputs of the first layer are in units of the box: x = center + radius y, -1 <= y <= 1.
    """

    weight: Linear
    bias: Array
    at: Ints
    order: Ints
    s: Array
    t: Array

    @classmethod
    @np.errstate(all="ignore")  # what overflows in single precision ends as multipliers that are not taken
    def of(cls, layer: Layer, ease: Relaxation, before: Before, backend: Backend) -> Slopes:
        unstable = ease.magnitude > 0.0
        at = np.flatnonzero(unstable)
        order = np.concatenate([at, np.flatnonzero(~unstable & (ease.s > 0.0))])
        weight, bias = before.inputs(layer.weight[order], layer.bias[order])
        arrays = (backend.array(part) for part in (bias, ease.s[at], ease.t[at]))
        bias, s, t = arrays
        return cls(backend.linear(weight), bias, at, order, s, t)


class Before(NamedTuple):
    """What a layer's inputs are: the neurons `order` of the layer before, or the box of the network's inputs."""

    box: Box
    order: Ints | None = None

    def inputs(self, weight: Weight, bias: Floats) -> tuple[Weight, Floats]:
        """weight h + bias in terms of these inputs."""
        if self.order is not None:
            return weight[:, self.order], bias
        return _times(weight, 0.5 * self.box.width), bias + weight @ self.box.center


class Pass(NamedTuple):
    """A backward pass: the value (m,), coefficients of h^i at unstable neurons, their slopes, those of the inputs."""

    value: Array
    coefficients: list[Array]
    slopes: list[Array]
    A: Array


class Lagrangian:
    """The Lagrangian of target rows C z^k, z^k = W h^{k-1} + b, over the relaxations of the layers before."""

    def __init__(
        self,
        backend: Backend,
        slopes: Sequence[Slopes],
        box: Box,
        polytope: Polytope | None,
        rows: Floats,
        constant: Floats,
    ) -> None:
        self.backend, self.xp, self.slopes = backend, backend.xp, slopes
        self.radius = 0.5 * box.width
        rows, constant = Before(box, slopes[-1].order if slopes else None).inputs(rows, constant)
        self.rows, self.constant = backend.array(rows), backend.array(constant)
        self.A: Array = None
        self.b: Array = None
        if polytope is not None:
            A = polytope.A * self.radius
            size = np.abs(A).max(axis=1, initial=0.0)
            self.A, self.b = backend.array(A), backend.array(polytope.b - polytope.A @ box.center)
            self.unit = backend.array(1.0 / np.where(size > 0.0, size, 1.0))
        self.flat = self._flat() if backend.compiled else None

    def _flat(self) -> Flat | None:
        """The layers as compiled loops take them; None where a weight is sparse."""
        layers = []
        for layer in self.slopes:
            weight = layer.weight.dense()
            if weight is None:
                return None
            layers.append(FlatLayer(weight, layer.bias, layer.s, layer.t))
        return Flat.of(layers, self.radius.size, np.float32)

    def take(self, rows: Array) -> Lagrangian:
        """The same for some of the target rows."""
        part = object.__new__(Lagrangian)
        part.__dict__ = self.__dict__ | {"rows": self.rows[rows], "constant": self.constant[rows]}
        return part

    def start(self) -> Multipliers:
        """CROWN's own slopes, nothing split, mu = 0."""
        xp, column = self.xp, self.constant[:, None] * 0.0
        alphas = [column + xp.where(s > 0.5, xp.ones_like(s), xp.zeros_like(s)) for s in (y.s for y in self.slopes)]
        return Multipliers(alphas, [], None if self.A is None else column + 0.0 * self.b)

    def relaxed(self, given: Multipliers) -> list[Relaxed]:
        """What does not change from step to step: the upper lines and the ends of the multipliers."""
        if not given.signs:
            return [Relaxed(layer.s, layer.t, None) for layer in self.slopes]
        return [Relaxed.of(layer, sign, self.xp) for layer, sign in zip(self.slopes, given.signs, strict=True)]

    def backward(self, given: Multipliers, relaxed: Sequence[Relaxed] | None = None) -> Pass:
        """The value and what it was made of."""
        xp, A, c = self.xp, self.rows + 0.0, self.constant
        relaxed = self.relaxed(given) if relaxed is None else relaxed
        coefficients: list[Array] = []
        slopes: list[Array] = []
        for layer, ease, alpha in zip(self.slopes[::-1], relaxed[::-1], given.alphas[::-1], strict=True):
            u = alpha.shape[1]
            mine = A[:, :u] + 0.0
            coefficients.append(mine)
            slopes.append(ease.slope(mine, alpha, xp))
            below = mine.clip(max=0.0)
            A[:, :u] = slopes[-1] * mine
            if ease.split is None:
                c = c + (below @ ease.t + A @ layer.bias)
            else:
                A[:, :u] -= ease.split.sign * alpha
                c = c + ((below * ease.t).sum(1) + A @ layer.bias)
            A = layer.weight.back(A)
        if given.mu is not None:
            c, A = c - given.mu @ self.b, A + given.mu @ self.A
        return Pass(c - abs(A).sum(1), coefficients[::-1], slopes[::-1], A)

    def gradient(self, given: Multipliers, back: Pass, relaxed: Sequence[Relaxed]) -> list[Array]:
        """d value / d of everything `given.free()` lists, by the forward pass from the minimiser over the box."""
        xp = self.xp
        y = h = -xp.sign(back.A)
        found: list[Array] = []
        for layer, ease, slope, mine in zip(self.slopes, relaxed, back.slopes, back.coefficients, strict=True):
            h = layer.weight.forward(h)
            h += layer.bias
            z = h[:, : mine.shape[1]]
            rise = mine.clip(min=0.0)
            if ease.split is not None:
                rise = xp.where(ease.split.free, rise, -ease.split.sign)
            found.append(z * rise)
            if len(found) < len(self.slopes):
                h[:, : mine.shape[1]] = z * slope + (mine <= 0.0) * ease.t
        return found if given.mu is None else [*found, y @ self.A.T - self.b]

    def units(self, given: Multipliers, back: Pass, relaxed: Sequence[Relaxed]) -> list[Array | float]:
        """The unit of each part of `given.free()`: 1 for slopes, else the largest coefficient of the row there."""
        xp = self.xp
        units: list[Array | float] = []
        for ease, mine in zip(relaxed, back.coefficients, strict=True):
            if ease.split is None or mine.shape[1] == 0:
                units.append(1.0)
            else:
                units.append(xp.where(ease.split.free, 1.0 + 0.0 * mine, _largest(mine, xp)))
        return units if given.mu is None else [*units, _largest(back.A, xp) * self.unit]

    def input_coefficients(self, back: Pass) -> Floats:
        """The coefficients of x, as NumPy's; 0 where an input's interval is a point."""
        A = np.asarray(self.backend.numpy(back.A), dtype=np.float64)
        return np.divide(A, self.radius, out=np.zeros_like(A), where=self.radius > 0.0)

    def gaps(self, given: Multipliers) -> tuple[list[Array], list[Array]]:
        """What each unstable neuron's relaxation may cost, |min(A, 0)| t for its upper side, -1 if split; and its A.

        The lower side costs less, since its slope is optimised: it counts a thousandth, to decide where all else is 0.
        """
        coefficients = self.backward(given).coefficients
        costs = []
        for mine, layer, sign in zip(coefficients, self.slopes, given.signs, strict=True):
            cost = (1e-3 * mine.clip(min=0.0) - mine.clip(max=0.0)) * layer.t
            costs.append(self.xp.where(sign == 0.0, cost, cost * 0.0 - 1.0))
        return costs, coefficients


class Split(NamedTuple):
    """Signs (m, u) of one layer's neurons: `free` where there is none, `active` 1 at z >= 0; `top` ends multipliers."""

    sign: Array
    free: Array
    active: Array
    top: Array


class Relaxed(NamedTuple):
    """The upper line s z + t of a layer's unstable neurons, (u,) or, where some are split, (m, u)."""

    s: Array
    t: Array
    split: Split | None

    @classmethod
    def of(cls, layer: Slopes, sign: Array, xp: Any) -> Relaxed:
        free, active = sign == 0.0, sign.clip(min=0.0)
        split = Split(sign, free, active, xp.where(free, 0.0 * sign + 1.0, 0.0 * sign + np.inf))
        return cls(xp.where(free, layer.s, active), free * layer.t, split)

    def slope(self, A: Array, alpha: Array, xp: Any) -> Array:
        """Of h in z where A is the coefficient of h."""
        lower = alpha if self.split is None else xp.where(self.split.free, alpha, self.split.active)
        return xp.where(A > 0.0, lower, self.s)

    def take(self, rows: Array) -> Relaxed:
        """Some rows."""
        return (
            self if self.split is None else Relaxed(self.s[rows], self.t[rows], Split(*(x[rows] for x in self.split)))
        )


def ascend(
    problem: Lagrangian, start: Multipliers, pace: Pace, enough: Array | None = None, pairs: Ints | None = None
) -> tuple[Array, Multipliers]:
    """(values (m,), multipliers): the best seen for each row in `pace.steps` steps from `start`.

    A row whose value exceeds `enough` (m,) is done; with `pairs` (m,) so is the row that it names.
    """
    if problem.flat is not None:
        return _compiled(problem, problem.flat, start, pace, enough, pairs)
    xp = problem.xp
    now, best = (start.map(lambda part: part + 0.0) for _ in range(2))
    value = problem.constant * 0.0 - np.inf
    live = None  # rows still at work; None: all
    moments = [(xp.zeros_like(part), xp.zeros_like(part)) for part in now.free()]
    work, relaxed, units = problem, problem.relaxed(now), None
    for step in range(pace.steps + 1):
        back = work.backward(now, relaxed)
        _keep(best, value, now, back.value, live)
        if step == pace.steps:
            break
        units = work.units(now, back, relaxed) if units is None else units
        tops = [1.0 if ease.split is None else ease.split.top for ease in relaxed] + [np.inf] * (now.mu is not None)
        slopes, size = work.gradient(now, back, relaxed), pace.size(step)
        for part, slope, unit, top, (mean, square) in zip(now.free(), slopes, units, tops, moments, strict=True):
            mean *= BETA_1
            mean += (1.0 - BETA_1) * slope
            square *= BETA_2
            square += (1.0 - BETA_2) * slope * slope
            part += (size * unit) * mean / (square**0.5 + 1e-12)
            part[...] = part.clip(min=0.0, max=top) if isinstance(top, float) else xp.minimum(part.clip(min=0.0), top)
        if enough is not None and step % 4 == 3:
            done = value > enough
            done = done if pairs is None else done | done[pairs]
            rest = xp.where(~done)[0]
            if rest.shape[0] == 0:
                break
            if 4 * rest.shape[0] <= 3 * back.value.shape[0]:  # copying pays
                keep = rest if live is None else xp.where(~done[live])[0]
                live, work, now = rest, problem.take(rest), now.take(keep)
                relaxed = [ease.take(keep) for ease in relaxed]
                moments = [(mean[keep], square[keep]) for mean, square in moments]
                units = [unit if isinstance(unit, float) else unit[keep] for unit in units]
    return value, best


def _compiled(
    problem: Lagrangian, flat: Flat, start: Multipliers, pace: Pace, enough: Array | None, pairs: Ints | None
) -> tuple[Array, Multipliers]:
    """The same by compiled loops."""
    m = problem.constant.size
    none = np.zeros((m, 0), np.float32)
    numbers, signs = (np.concatenate([none, *parts], axis=1) for parts in (start.free(), start.signs))
    p = np.zeros(0, np.float32)
    polytope = Rows(np.zeros((0, problem.radius.size), np.float32), p, p)
    if problem.A is not None:
        polytope = Rows(problem.A, problem.b, problem.unit)
    sizes, betas = [pace.size(step) for step in range(pace.steps)], (BETA_1, BETA_2)
    values = ascend_flat(flat, polytope, problem.rows, problem.constant, numbers, signs, enough, pairs, sizes, betas)
    ends = np.cumsum([0, *flat.unstable])
    alphas = [numbers[:, a:b] for a, b in pairwise(ends)]
    return values, Multipliers(alphas, start.signs, None if start.mu is None else numbers[:, ends[-1] :])


def _keep(best: Multipliers, value: Array, now: Multipliers, found: Array, live: Array | None) -> None:
    """Note the multipliers of rows whose value is better than before."""
    better = found > (value if live is None else value[live])
    if live is None and bool(better.all()):
        value[...] = found
        for kept, part in zip(best.free(), now.free(), strict=True):
            kept[...] = part
        return
    at = better if live is None else live[better]
    value[at] = found[better]
    for kept, part in zip(best.free(), now.free(), strict=True):
        kept[at] = part[better]


def _largest(values: Array, xp: Any) -> Array:
    """max |values| of each row, (m, 1)."""
    return xp.amax(abs(values), 1)[:, None] if values.shape[1] else values.sum(1)[:, None]


def _times(weight: Weight, scale: Floats) -> Weight:
    """The columns of a weight, dense or CSR, times `scale`."""
    return sparse.csr_array(weight @ sparse.diags_array(scale)) if sparse.issparse(weight) else weight * scale
