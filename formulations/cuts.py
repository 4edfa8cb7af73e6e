"""Ideal cuts: the convex hull of one neuron over the box of its inputs, a cut at a time, on top of another formulation.

Symbols: x the layer's inputs, L <= x <= U, h = max(0, w x + b), sigma its binary; w_i x_i has the least value
m_i = min(w_i L_i, w_i U_i) on the box and the largest M_i = max(w_i L_i, w_i U_i). For every set I of inputs

    h <= sum_{i in I} (w_i x_i - m_i (1 - sigma)) + (b + sum_{i not in I} M_i) sigma                               (1)

holds: sigma = 0 leaves 0 <= sum_I (w_i x_i - m_i), sigma = 1 leaves z <= sum_I w_i x_i + b + sum_{not I} M_i. Together
with h >= 0, h >= z they are the convex hull. The one that a point violates most has

    I = {i: w_i x_i < m_i (1 - sigma) + M_i sigma}.

Where a formulation has no sigma, sigma is projected out. With t_i = (w_i x_i - m_i) / (M_i - m_i) in ascending order
and e = b + sum M_i, the most violated cut takes the first inputs whole, as long as their widths M_i - m_i together
stay within e, and of the next one the part p in [0, 1] that fills e up:

    h <= sum_i p_i (w_i x_i - m_i),   p = 1, ..., 1, p_k, 0, ..., 0.                                                (2)

Source: Anderson, Huchette, Ma, Tjandraatmadja and Vielma, Strong mixed-integer programming formulations for trained
neural networks, Mathematical Programming 183 (2020), proposition 12 and its separation; Tjandraatmadja, Anderson,
Huchette, Ma, Patel and Vielma, The convex relaxation barrier, revisited, NeurIPS 2020, theorem 1.

Validity. A cut is h <= a x + s sigma + r with slopes a in floating point, whatever they are. It holds at every point of
the network as soon as r >= -min a x and r + s >= b + max (w - a) x over the box; both sums are rounded up by the error
term of `propagation.rounding`, and so is s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats, Ints
from omlt_ext.encoding import ZERO, Encoding, Formulation, LayerBounds, Rows
from omlt_ext.errors import FormulationError, OptionError
from omlt_ext.network import Layer
from omlt_ext.plugins import formulation
from omlt_ext.propagation.rounding import TINY, gamma, round_up

LEAST_TOLERANCE = 1e-6  # a smaller violation cannot be told from the solvers' own


@dataclass(frozen=True)
class IdealCuts:
    """Another formulation, `over`, and cuts that close the gap to each neuron's convex hull where a point needs them.

    The encoding is that of `over`, a name or an object, with a `separator`. Whatever solves LPs may ask it for cuts:
    `omlt_ext.cut_rounds.add_cuts` does, at most `rounds` times, and `SolverFactory("omlt_ext.highs")` and `maximize`
    begin with that. `TransformationFactory("omlt_ext.add_cuts")` writes the cuts into a Pyomo model for any solver.
    With `callback` Gurobi separates at its nodes as well. A cut is added where the point's h lies above it by more than
    `tolerance` max(1, u), u the neuron's upper bound; `tolerance` is at least 1e-6.

    Raises `OptionError` for other values, `FormulationError` for a formulation with cuts of its own and for one that
    looks at all layers together, where a layer's columns need not be its inputs.

    >>> import numpy as np
    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[1.0, 1.0]], [-0.5], relu=True)
    >>> encoding = IdealCuts().encode(layer, LayerBounds([-0.5], [1.5], np.zeros(2), np.ones(2)))
    >>> encoding.names()
    ['x[0]', 'x[1]', 'z[0]', 'h[0]', 'sigma[0]']
    >>> cuts = encoding.separator(np.array([0.0, 1.0, 0.5, 0.75, 0.5]))
    >>> print(str(replace(encoding, rows=(cuts,))).splitlines()[-2])
    cuts[0]: -x[0] + h[0] - 0.5 sigma[0] <= 0
    """

    over: str | Formulation = "bigm"
    rounds: int = 20
    tolerance: float = 1e-4
    callback: bool = False

    name = "ideal_cuts"
    separates = True

    def __post_init__(self) -> None:
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, Integral) or self.rounds < 0:
            raise OptionError(f"rounds is {self.rounds!r}; it must be a whole number of at least 0")
        number = isinstance(self.tolerance, Real) and not isinstance(self.tolerance, bool)
        if not number or not LEAST_TOLERANCE <= self.tolerance < np.inf:
            raise OptionError(f"tolerance is {self.tolerance!r}; it must be a number of at least {LEAST_TOLERANCE}")
        if not isinstance(self.callback, bool):
            raise OptionError(f"callback is {self.callback!r}; it must be True or False")
        over = formulation(self.over)
        if hasattr(over, "encode_network"):
            raise FormulationError(f"ideal cuts over {over!r}: it looks at all layers together; choose 'bigm' for over")
        if getattr(over, "separates", False):
            raise FormulationError(f"ideal cuts over {over!r}: it has cuts of its own; choose 'bigm' for over")

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        encoding = formulation(self.over).encode(layer, bounds)
        separator = IdealSeparator.of(layer, bounds, encoding, self)
        return encoding if separator.neuron.size == 0 else replace(encoding, separator=separator)


@dataclass(frozen=True, eq=False)
class IdealSeparator:
    """Finds the most violated cut of every unstable neuron of one layer: (1), or (2) where there is no sigma.

    `neuron` (m,) are the unstable ones, `h` and `sigma` (m,) their local columns (`ZERO`: no sigma), `enough` (m,) how
    far h has to lie above its cut, `low` and `high` (n_in,) the box of the inputs.
    """

    layer: Layer
    neuron: Ints
    h: Ints
    sigma: Ints
    n_columns: int
    low: Floats
    high: Floats
    enough: Floats
    rounds: int
    callback: bool

    @classmethod
    def of(cls, layer: Layer, bounds: LayerBounds, encoding: Encoding, cuts: IdealCuts) -> IdealSeparator:
        upper = np.asarray(bounds.upper, dtype=np.float64)
        unstable = layer.relu & (np.asarray(bounds.lower) < 0.0) & (upper > 0.0) & (encoding.output >= 0)
        neuron = np.flatnonzero(unstable)
        sigma, first = np.full(layer.n_out, ZERO), encoding.n_in
        for group in encoding.columns:
            if group.name == "sigma":
                sigma[group.neuron] = np.arange(first, first + group.neuron.size)
            first += group.neuron.size
        low, high = (np.asarray(end, dtype=np.float64) for end in (bounds.input_lower, bounds.input_upper))
        enough = cuts.tolerance * np.maximum(1.0, upper[neuron])
        columns = (encoding.output[neuron], sigma[neuron], first)
        return cls(layer, neuron, *columns, low, high, enough, cuts.rounds, cuts.callback)

    @cached_property
    def weight(self) -> Any:
        """The unstable neurons' weights (m, n_in), CSR."""
        return self.layer.csr_weight()[self.neuron]

    def __call__(self, x: Floats) -> Rows:
        W, b = self.weight, self.layer.bias[self.neuron]
        row = np.repeat(np.arange(self.neuron.size), np.diff(W.indptr))
        low, high = self.low[W.indices], self.high[W.indices]
        value = W.data * np.clip(x[W.indices], low, high)  # an LP's point may lie a tolerance outside
        least, most = np.minimum(W.data * low, W.data * high), np.maximum(W.data * low, W.data * high)
        projected = self.sigma == ZERO
        sigma = np.where(projected, 0.0, np.clip(x[self.sigma], 0.0, 1.0))
        part = (value < least + (most - least) * sigma[row]).astype(np.float64)
        if projected.any():
            room = b + _row_sums(W, most)
            part = np.where(projected[row], _filling(W.indptr, row, value - least, most - least, room), part)
        above = _row_sums(W, part * (value - least))
        above += sigma * (b + _row_sums(W, part * least + (1.0 - part) * most))
        return self._cuts(np.flatnonzero(x[self.h] - above > self.enough), part)

    def _cuts(self, at: Ints, part: Floats) -> Rows:
        """The cuts of the neurons `neuron[at]` with slopes part * w, their constants rounded up."""
        W = sparse.csr_array(self.weight[at])
        own = sparse.csr_array((part, self.weight.indices, self.weight.indptr), shape=self.weight.shape)[at]
        slope, low, high = own.data * W.data, self.low[W.indices], self.high[W.indices]
        rest, b = W.data - slope, self.layer.bias[self.neuron[at]]
        constant = _sums_above(W, np.maximum(-slope * low, -slope * high))
        active = _sums_above(W, np.maximum(rest * low, rest * high), b)
        projected = self.sigma[at] == ZERO
        step = np.where(active == constant, 0.0, np.nextafter(active - constant, np.inf))
        constant = np.where(projected, np.maximum(constant, active), constant)
        return Rows("cuts", self.neuron[at], self._matrix(at, W, slope, step), np.full(at.size, -np.inf), constant)

    def _matrix(self, at: Ints, W: Any, slope: Floats, step: Floats) -> Any:
        """h - slope x - step sigma as rows over all local columns."""
        rows = np.arange(at.size)
        switched = self.sigma[at] != ZERO
        inputs = slope != 0.0
        data = np.concatenate([-slope[inputs], np.ones(at.size), -step[switched]])
        row = np.concatenate([np.repeat(rows, np.diff(W.indptr))[inputs], rows, rows[switched]])
        column = np.concatenate([W.indices[inputs], self.h[at], self.sigma[at][switched]])
        return sparse.csr_array((data, (row, column)), shape=(at.size, self.n_columns))


def _filling(indptr: Ints, row: Ints, value: Floats, width: Floats, room: Floats) -> Floats:
    """How much of each entry fits into its row's `room`, taken in the order of value / width.

    >>> row, room = np.array([0, 0, 0]), np.array([2.5])
    >>> _filling(np.array([0, 3]), row, np.array([0.0, 3.0, 1.0]), np.array([2.0, 3.0, 4.0]), room)
    array([1. , 0. , 0.125])
    """
    ratio = np.divide(value, width, out=np.zeros_like(value), where=width > 0.0)
    order = np.lexsort((ratio, row))  # rows stay where they are
    before = np.cumsum(width[order]) - width[order]
    before -= np.concatenate([before, [0.0]])[indptr[:-1]][row]  # counted anew in each row
    left = room[row] - before
    share = np.divide(left, width[order], out=np.ones_like(left), where=width[order] > 0.0)
    part = np.empty_like(value)
    part[order] = np.clip(share, 0.0, 1.0)
    return part


def _row_sums(W: Any, data: Floats) -> Floats:
    """The sum of each row of a CSR matrix with the entries of W replaced by `data`."""
    return np.asarray(sparse.csr_array((data, W.indices, W.indptr), shape=W.shape) @ np.ones(W.shape[1]))


def _sums_above(W: Any, data: Floats, b: Floats | float = 0.0) -> Floats:
    """`_row_sums` + b, rounded up; each entry is the larger of two products of rounded numbers.

    Rounding is monotone, so the larger of two rounded products is the larger product, rounded.
    """
    count = np.diff(W.indptr) + 4.0
    error = gamma(count) * (_row_sums(W, np.abs(data)) + np.abs(b))
    return round_up(_row_sums(W, data) + b, np.where(error > 0.0, error + TINY * count, 0.0))
