"""CROWN on many boxes at once: every box has ranges of its own for all neurons, found layer by layer.

Symbols as in `crown`: z^i = W_i h^{i-1} + b_i; A, D coefficients of h^i and z^i, c constants, e rounding errors; B
boxes within a root box on which bounds are known; C (m, n_K) target rows of the last layer; the largest row counts.

    for k = 0, ..., K-1:  ranges of layer k by interval arithmetic;  for neurons that are open yet, by a backward pass
    at last:              a backward pass for each row of C
    for values that are not enough yet:  some steps of ascent on the lower slopes alpha of the last pass

A row of a backward pass belongs to a neuron of a box and takes the relaxations and the ends of its own box. All rows of
a layer go through as one matrix, so that the products with W stay large; a neuron that is decided needs no row.

The gradient for the slopes is g = max(A, 0) z, as in `ascent`. Steps of 1/2, 1/4, 1/8 by its sign bisect each slope;
then steps of (enough - value) g / |g|^2 go for the value that is asked for (Polyak, Introduction to Optimization, 1987,
section 5.3): with one slope to find they reach it. This costs little beside the ranges, and it closes what splitting
alone cannot: along an edge where the best value is attained, slopes 0 and 1 ask for boxes as small as the gap.

Validity in floating point is that of `crown`: each step puts what it rounds into e. The magnitudes H and Z that it
takes for this are those of the root box, since they bound those of every box in it: one vector a layer. Interval
arithmetic has the form W m + b +- |W| r with middles m and radii r, |m| <= H and r <= H. m and r are each rounded by
u H at most, both sums by gamma(n + 1) (|W| H + |b|), their sum and difference once more: gamma(n + 6) pays for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..bounds import Bounds
from ..domain import Floats, Ints
from ..network import Network, Weight, dense
from .blame import Ranged, blame
from .crown import AffineError, Relaxation, affine_error, relax
from .interval import Range, activation_range, given
from .rounding import EPS, TINY, absolute_product, gamma, round_down

CHUNK = 2**18  # bytes of one array of a backward pass: some of them fit into a processor's cache
LEVEL, BEYOND = 0.0, 1.05  # a step to the level that is asked for, and a little beyond it
HALVES = (1 / 2, 1 / 4, 1 / 8)
STEPS = (*HALVES, LEVEL, LEVEL, LEVEL)


@dataclass(frozen=True, eq=False)
class OnBoxes:
    """What is known of B boxes: `values` (B,) lower bounds of max_i (C z^K)_i, inf where a box holds no point of the
    domain; `A`, `blame` (B, n_in) of the row that gave them; `signs` (B, u) of the root's unstable ReLUs, 0 if open.

    `A` are the coefficients of x in the bound, `blame` is that of the module `blame`, `work` counts multiplications.
    """

    values: Floats
    A: Floats
    blame: Floats
    signs: np.ndarray
    work: float


class Rows(NamedTuple):
    """Rows of a backward pass, A h + c - e; row r belongs to box `of[r]`."""

    of: Ints
    A: Floats
    c: Floats
    e: Floats

    def take(self, at: slice | Ints) -> Rows:
        return Rows(self.of[at], self.A[at], self.c[at], self.e[at])


class Passed(NamedTuple):
    """Coefficients A (R, n_k) of a layer's h in a backward pass, and the lower slopes alpha (R, n_k) that it took."""

    A: Floats
    alpha: Floats

    def take(self, at: Ints) -> Passed:
        return Passed(self.A[at], self.alpha[at])


class BoxCrown:
    """Call it with ends (B, n_in) of boxes inside `bounds.box` for what is known on them: `OnBoxes`.

    `bounds` are of the network, or of one that differs in the last layers only, on a domain. Where that is a polytope,
    they may show that a box holds no point of it.

    >>> from omlt_ext import Box, Layer, tighten_bounds
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    >>> crown = BoxCrown(network, tighten_bounds(network, Box.full(2, -1, 1), "crown"), np.array([[-1.0]]))
    >>> found = crown(np.array([[-1.0, -1.0], [0.5, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.25]]))
    >>> print(found.values.round(6), found.signs.tolist(), found.blame.round(6).tolist())
    [-3. -2.] [[0, 0], [1, 1]] [[1.0, 1.0], [0.0, 0.0]]
    """

    def __init__(self, network: Network, bounds: Bounds, C: Weight) -> None:
        self.layers, self.box, self.bounds = network.layers, bounds.box, bounds
        self.K = len(network.layers) - 1
        self.open = [
            np.flatnonzero(layer.relu & (low < 0.0) & (high > 0.0))
            for layer, low, high in zip(self.layers[: self.K], bounds.lower, bounds.upper, strict=False)
        ]
        self.ends = np.cumsum([0, *(at.size for at in self.open)])
        self.absolute = [abs(layer.weight) for layer in self.layers[: self.K]]
        self.errors: list[AffineError] = []
        self.slack: list[Floats] = []
        self.magnitude: list[Floats] = []
        p, q = self.box.lower, self.box.upper
        with np.errstate(over="ignore"):
            for k, layer in enumerate(self.layers):
                self.errors.append(affine_error(layer, p, q))
                if k < self.K:
                    size = absolute_product(layer.weight, np.maximum(np.abs(p), np.abs(q))) + np.abs(layer.bias)
                    self.slack.append(gamma(layer.n_in + 6.0) * size + TINY * (layer.n_in + 2.0))
                    self.magnitude.append(relax(layer, given(bounds, k)).magnitude)
                    p, q = activation_range(layer, given(bounds, k))
            last = self.layers[-1]
            e = abs(C) @ self.errors[-1].row + self.errors[-1].constant
            self.target = Rows(np.zeros(C.shape[0], dtype=np.int64), dense(C @ last.weight), C @ last.bias, e)

    @property
    def unstable(self) -> int:
        """Unstable ReLUs of the root box."""
        return int(self.ends[-1])

    @property
    def n_in(self) -> int:
        return self.box.n

    def rows(self, lower: Floats, upper: Floats, of: Ints, which: Ints) -> Floats:
        """Lower bounds (R,) of rows `which` (R,) of C z^K, each on its own box of[r]; inf where that holds no point."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            batch = _Batch(self, lower, upper, np.zeros((lower.shape[0], self.unstable), np.int8))
            values, _ = batch._backward(self.K, self.target.take(which)._replace(of=of))
        return np.where(np.asarray(batch.empty)[of], np.inf, values)

    def __call__(
        self, lower: Floats, upper: Floats, signs: np.ndarray | None = None, enough: float = -np.inf
    ) -> OnBoxes:
        """`signs` (B, u): what is known already, of larger boxes. A value above `enough` is not improved further."""
        known = np.zeros((lower.shape[0], self.unstable), np.int8) if signs is None else signs.copy()
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return _Batch(self, lower, upper, known).found(enough)


class _Batch:
    """One call of `BoxCrown`: its boxes, and their relaxations and `signs` as far as layers are done."""

    def __init__(self, crown: BoxCrown, lower: Floats, upper: Floats, signs: np.ndarray) -> None:
        self.crown, self.lower, self.upper, self.signs = crown, lower, upper, signs
        self.relaxations: list[Relaxation] = []
        self.ranged: list[Ranged] = []
        self.work = 0.0
        self.empty = (lower > upper).any(axis=1)
        p, q = lower, upper
        for k, layer in enumerate(crown.layers[: crown.K]):
            low, high = self._ranges(k, p, q)
            self.empty |= (low > high).any(axis=1)
            self.relaxations.append(relax(layer, Range.by("crown", low, high)))
            p, q = layer.activation(low), layer.activation(high)

    def found(self, enough: float) -> OnBoxes:
        """The best row of each box; its slopes are moved where the value is at most `enough`."""
        target, B = self.crown.target, self.lower.shape[0]
        m = target.c.size
        rows = target.take(np.tile(np.arange(m), B))._replace(of=np.repeat(np.arange(B), m))
        if m > 1:
            values, _ = self._backward(self.crown.K, rows)
            rows = rows.take(m * np.arange(B) + values.reshape(B, m).argmax(axis=1))
        values, A, passed = self._pass(self.crown.K, rows)
        values = np.where(self.empty, np.inf, values)
        cause = self._blame(passed)
        at = np.flatnonzero((values <= enough) & (cause != 0.0).any(axis=1))
        current, here, passed = values[at], A[at], [part.take(at) for part in passed]
        for step in STEPS if np.isfinite(enough) else HALVES:
            if at.size == 0:
                break
            slopes = self._moved(at, here, passed, step, enough - current)
            current, here, passed = self._pass(self.crown.K, rows.take(at), slopes)
            gain = np.flatnonzero(current > values[at])
            values[at[gain]], A[at[gain]] = current[gain], here[gain]
            left = np.flatnonzero(values[at] <= enough)
            at, current, here, passed = at[left], current[left], here[left], [part.take(left) for part in passed]
        return OnBoxes(values, A, cause, self.signs, self.work)

    def _blame(self, passed: list[Passed]) -> Floats:
        if not passed:
            return np.zeros_like(self.lower)
        t = [ease.t for ease in self.relaxations]
        return blame(self.upper - self.lower, self.crown.absolute[0], [part.A for part in passed], t, self.ranged)

    def _moved(self, at: Ints, A: Floats, passed: list[Passed], step: float, missing: Floats) -> list[Floats]:
        """Slopes (R, n_i) of boxes `at` after a step up the gradient, found by a forward pass from the minimiser."""
        h = np.where(A > 0.0, self.lower[at], self.upper[at])
        gradient = []
        for layer, ease, part in zip(self.crown.layers, self.relaxations, passed, strict=False):
            z = dense(h @ layer.weight.T) + layer.bias
            self.work += float(at.size * layer.nnz)
            rising, t = part.A > 0.0, ease.t.take(at, axis=0)
            h = np.where(rising, part.alpha * z, ease.s.take(at, axis=0) * z + t)
            gradient.append(np.where(rising & (t > 0.0), part.A * z, 0.0))
        if step != LEVEL:
            return [np.clip(p.alpha + step * np.sign(g), 0.0, 1.0) for p, g in zip(passed, gradient, strict=True)]
        square = sum(np.einsum("ij,ij->i", g, g) for g in gradient)
        rate = np.divide(BEYOND * missing, square, out=np.zeros_like(missing), where=square > 0.0)[:, None]
        return [np.clip(p.alpha + rate * g, 0.0, 1.0) for p, g in zip(passed, gradient, strict=True)]

    def _ranges(self, k: int, p: Floats, q: Floats) -> tuple[Floats, Floats]:
        """Ranges (B, n_k) of layer k from those of the layer before, no wider than the root's."""
        layer, at = self.crown.layers[k], self.crown.open[k]
        middle = dense((0.5 * (p + q)) @ layer.weight.T) + layer.bias
        radius = dense((0.5 * (q - p)) @ self.crown.absolute[k].T) + self.crown.slack[k]
        low = np.fmax(middle - radius, self.crown.bounds.lower[k])
        high = np.fmin(middle + radius, self.crown.bounds.upper[k])
        signs = self.signs[:, self.crown.ends[k] : self.crown.ends[k + 1]]  # a view: what is decided is kept there
        low[:, at] = np.where(signs > 0, np.maximum(low[:, at], 0.0), low[:, at])
        high[:, at] = np.where(signs < 0, np.minimum(high[:, at], 0.0), high[:, at])
        of, j = np.nonzero((low[:, at] < 0.0) & (high[:, at] > 0.0))
        if k > 0:
            below, above = self._neurons(k, of, at[j])
            low[of, at[j]] = np.fmax(low[of, at[j]], below)
            high[of, at[j]] = np.fmin(high[of, at[j]], above)
        signs[:] = np.where(low[:, at] >= 0.0, 1, np.where(high[:, at] <= 0.0, -1, 0))
        return low, high

    def _neurons(self, k: int, of: Ints, at: Ints) -> tuple[Floats, Floats]:
        """Bounds of neurons `at` of layer k on the boxes `of`."""
        layer, errors, m = self.crown.layers[k], self.crown.errors[k], of.size
        A, c, e = dense(layer.weight[at]), layer.bias[at], errors.row[at] + errors.constant
        both = Rows(np.tile(of, 2), np.concatenate([A, -A]), np.concatenate([c, -c]), np.concatenate([e, e]))
        values, A = self._backward(k, both)
        self.ranged.append(Ranged(of, at, np.abs(A[:m]) + np.abs(A[m:])))
        return values[:m], -values[m:]

    def _backward(self, k: int, rows: Rows) -> tuple[Floats, Floats]:
        """(lower bounds (R,) of the rows over h of layer k - 1, coefficients (R, n_in)), some rows at a time."""
        widest = max(layer.n_in for layer in self.crown.layers[: k + 1])
        step = max(1, CHUNK // (8 * widest))
        values, A = np.empty(rows.c.size), np.empty((rows.c.size, self.crown.n_in))
        for first in range(0, rows.c.size, step):
            part = slice(first, first + step)
            values[part], A[part], _ = self._pass(k, rows.take(part))
        return values, A

    def _pass(self, k: int, rows: Rows, slopes: list[Floats] | None = None) -> tuple[Floats, Floats, list[Passed]]:
        """(bounds, coefficients, what layers 0, ..., k-1 have passed) with CROWN's lower slopes, or the given ones."""
        crown, (of, A, c, e) = self.crown, rows
        passed = []
        for i in range(k - 1, -1, -1):
            layer, ease = crown.layers[i], self.relaxations[i]
            alpha = ease.alpha.take(of, axis=0) if slopes is None else slopes[i]
            passed.append(Passed(A, alpha))
            P = np.maximum(A, 0.0)
            N = A - P
            lifted = np.einsum("ij,ij->i", N, ease.t.take(of, axis=0))
            P *= alpha
            N *= ease.s.take(of, axis=0)
            P += N  # exact: one of both is 0
            e = e + gamma(2.0) * np.abs(c) + gamma(layer.n_out + 2.0) * np.abs(lifted)
            e += TINY * float(crown.magnitude[i].sum()) + crown.errors[i].constant
            c = c + lifted + P @ layer.bias
            A = np.ascontiguousarray(dense(P @ layer.weight))
            self.work += float(c.size * layer.nnz)
            e += np.abs(P, out=P) @ (EPS * crown.magnitude[i] + crown.errors[i].row)
        P = np.maximum(A, 0.0)
        value = c + (np.einsum("ij,ij->i", P, self.lower[of]) + np.einsum("ij,ij->i", A - P, self.upper[of]))
        reach = np.abs(A) @ np.maximum(np.abs(crown.box.lower), np.abs(crown.box.upper))
        e = e + gamma(3.0) * np.abs(c) + gamma(crown.n_in + 3.0) * reach + TINY * (crown.n_in + 1.0)
        return round_down(value, e), A, passed[::-1]
