"""Balas' extended formulation: the convex hull of one neuron over the box of its inputs, with a copy of each input.

Symbols: w, b the neuron's weights and bias, x its inputs, Lo <= x <= Up; c_i = Lo_i where w_i > 0, Up_i where w_i < 0:
the end of input i that makes z least; m = b + sum w_i c_i <= z.

Disjunctive programming copies x = x0 + x1, with x0 = 0 where the neuron is active and x1 = 0 where it is not:

    w x0 + b (1 - sigma) <= 0,   (1 - sigma) Lo <= x0 <= (1 - sigma) Up,
    w x1 + b sigma = h,          sigma Lo <= x1 <= sigma Up.

Half of this is implied by h >= 0, h >= z. x0 = x - x1 needs no column. The inactive row is z - h <= 0. Of the ranges
only those bind that keep h from above, one end of x0 and one of x1: the others bound h from below by a convex function
of (x, sigma) that is 0 at sigma = 0 and z at sigma = 1, hence nowhere above max(0, z). What is left, with the copy
measured from the end c_i, v_i = |x1_i - sigma c_i| >= 0, is

    h <= sum |w_i| v_i + m sigma,    v_i <= (Up_i - Lo_i) sigma,    v_i <= |x_i - c_i|  (= x_i - Lo_i or Up_i - x_i).

Projected onto (x, h, sigma) these are the cuts of `IdealCuts`, all exponentially many. Bounds l <= z <= u that are
better than the box says make each disjunct smaller; their hull has big-M's rows beside the ones above, so it is never
weaker than big-M. An input of zero weight or width needs no copy.

Source: Balas, Disjunctive programming and a hierarchy of relaxations for discrete optimization problems, SIAM J. Alg.
Disc. Meth. 6 (1985); for ReLUs Anderson, Huchette, Ma, Tjandraatmadja and Vielma, Strong mixed-integer programming
formulations for trained neural networks, Mathematical Programming 183 (2020). That half may go is argued above.

Validity: m is rounded up, and so is each width, so that the rows hold at the network's points in exact arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from omlt_ext.domain import Floats, Ints
from omlt_ext.draft import Draft
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.network import Layer
from omlt_ext.propagation.rounding import gamma, round_up, subtract_up

from .bigm import add_big_m


@dataclass(frozen=True)
class Balas:
    """The hull of each unstable neuron: big-M, one more row, and for each input a column `copy[j, i]` and two rows.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[2.0, -1.0]], [0.5], relu=True)
    >>> print(Balas().encode(layer, LayerBounds([-0.5], [2.5], [0, 0], [1, 1])))
    z[0] in [-0.5, 2.5]
    h[0] in [0, 2.5]
    sigma[0] in {0, ..., 1}
    copy[0,0] in [0, 1]
    copy[0,1] in [0, 1]
    affine[0]: -2 x[0] + x[1] + z[0] = 0.5
    relu_above[0]: 0 <= -z[0] + h[0]
    relu_active[0]: -z[0] + h[0] + 0.5 sigma[0] <= 0.5
    relu_inactive[0]: h[0] - 2.5 sigma[0] <= 0
    copy_active[0,0]: -x[0] + copy[0,0] <= 0
    copy_active[0,1]: x[1] + copy[0,1] <= 1
    copy_inactive[0,0]: -sigma[0] + copy[0,0] <= 0
    copy_inactive[0,1]: -sigma[0] + copy[0,1] <= 0
    relu_copies[0]: h[0] + 0.5 sigma[0] - 2 copy[0,0] - copy[0,1] <= 0
    h[0] is h[0]
    """

    name = "balas"

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        draft = Draft(layer, bounds)
        j = draft.unstable
        sigma = add_big_m(draft)
        W = layer.csr_weight()
        W = W if j.size == layer.n_out else W[j]
        low, high = (np.asarray(end, dtype=np.float64) for end in (bounds.input_lower, bounds.input_upper))
        row, i, w = np.repeat(np.arange(j.size), np.diff(W.indptr)), W.indices, W.data
        terms, b = w * np.where(w > 0.0, low[i], high[i]), layer.bias[j]
        least = b + np.bincount(row, terms, j.size)
        reach = np.abs(b) + np.bincount(row, np.abs(terms), j.size)
        count: Floats = np.diff(W.indptr) + 2.0
        least = round_up(least, gamma(count) * reach)
        copied = (high > low)[i] & (w != 0.0)
        row, i, w = row[copied], i[copied], w[copied]
        width, up = subtract_up(high, low)[i], w > 0.0
        copy = draft.add_columns("copy", j[row], 0.0, width, key=i)
        active: list[tuple[Ints, ArrayLike]] = [(i, np.where(up, -1.0, 1.0)), (copy, 1.0)]
        draft.add_rows("copy_active", j[row], active, upper=np.where(up, 0.0 - low[i], high[i]), key=i)
        draft.add_rows("copy_inactive", j[row], [(sigma[row], -width), (copy, 1.0)], upper=0.0, key=i)
        at = np.arange(j.size)
        draft.add_entries(
            "relu_copies", j, [(at, draft.h[j], 1.0), (at, sigma, -least), (row, copy, -np.abs(w))], upper=0.0
        )
        return draft.encoding()
