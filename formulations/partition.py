"""Partition-based formulation: the hull of h = max(0, z) over the sums of N groups of a neuron's inputs.

Symbols: S_1 .. S_N groups of the neuron's inputs, s_k = sum_{i in S_k} w_i x_i in [l_k, u_k], z = sum s_k + b.

The disjunction (z <= 0, h = 0) or (z >= 0, h = z) over the box of (s_1, ..., s_N) has the hull, with p_k the active
copy of s_k,

    h = sum p_k + sigma b,   sum (s_k - p_k) + (1 - sigma) b <= 0,
    sigma l_k <= p_k <= sigma u_k,   (1 - sigma) l_k <= s_k - p_k <= (1 - sigma) u_k.

As in `balas`, what bounds h from below is implied by h >= 0 and h >= z, and p_k is measured from its lower end,
v_k = p_k - sigma l_k:

    h <= sum v_k + (b + sum l_k) sigma,   v_k <= (u_k - l_k) sigma,   v_k <= s_k - l_k,

beside big-M's rows, which hold the bounds l <= z <= u. The sums s_k are columns, so that each weight is written once.
N = 1 is big-M, for which nothing is added; one group for each input gives the LP of `Balas` on the first layer, and one
at least as strong later. Bounds of the sums that are better than interval arithmetic carry what the layers before say
about several inputs at once, which no hull over a box knows.

Source: Tsay, Kronqvist, Thebelt and Misener, Partition-based formulations for mixed-integer optimization of trained
ReLU neural networks, NeurIPS 2021, with sigma for the active state; the choices of groups are theirs too.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

from omlt_ext.domain import Ints
from omlt_ext.draft import Draft
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.errors import OptionError
from omlt_ext.network import Layer
from omlt_ext.propagation.rounding import subtract_up

from .bigm import add_big_m
from .groups import Count, add_sums, checked_groups

BY = ("equal_size", "equal_range", "uneven", "random", "order")


@dataclass(frozen=True)
class Partition:
    """Big-M and, for each group of a neuron's inputs, the columns `part[j, k]`, `part_copy[j, k]` and three rows.

    `groups`: how many a neuron has, "all" for one each input, or the groups themselves as tuples of input numbers, for
    networks whose layers all have that many inputs. `by`: how they are chosen: "equal_size" (sorted by weight and cut
    into equal numbers), "equal_range" (into equal ranges of weight), "uneven" (dealt out in turn), "random" with
    `seed`, or "order" (of the inputs). `effort`: how hard to bound the groups' sums, "interval", "crown" or "dual".

    Raises `OptionError` for other values, `FormulationError` for groups that do not fit a layer.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[2.0, -3.0]], [0.5], relu=True)
    >>> print(Partition().encode(layer, LayerBounds([-2.5], [2.5], [0, 0], [1, 1])))
    z[0] in [-2.5, 2.5]
    h[0] in [0, 2.5]
    sigma[0] in {0, ..., 1}
    part[0,0] in [-3, 0]
    part[0,1] in [0, 2]
    part_copy[0,0] in [0, 3]
    part_copy[0,1] in [0, 2]
    relu_above[0]: 0 <= -z[0] + h[0]
    relu_active[0]: -z[0] + h[0] + 2.5 sigma[0] <= 2.5
    relu_inactive[0]: h[0] - 2.5 sigma[0] <= 0
    part_sum[0,0]: 3 x[1] + part[0,0] = 0
    part_sum[0,1]: -2 x[0] + part[0,1] = 0
    affine_sum[0]: z[0] - part[0,0] - part[0,1] = 0.5
    part_active[0,0]: -part[0,0] + part_copy[0,0] <= 3
    part_active[0,1]: -part[0,1] + part_copy[0,1] <= 0
    part_inactive[0,0]: -3 sigma[0] + part_copy[0,0] <= 0
    part_inactive[0,1]: -2 sigma[0] + part_copy[0,1] <= 0
    relu_parts[0]: h[0] + 2.5 sigma[0] - part_copy[0,0] - part_copy[0,1] <= 0
    h[0] is h[0]
    """

    groups: Count = 2
    by: str = "equal_size"
    effort: str = "crown"
    seed: int = 0

    name = "partition"

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", checked_groups(self.groups, self.effort))
        if self.by not in BY:
            raise OptionError(f"by is {self.by!r}; choose one of {', '.join(map(repr, BY))}")
        if not isinstance(self.seed, Integral) or isinstance(self.seed, bool) or self.seed < 0:
            raise OptionError(f"seed is {self.seed!r}; it must be a whole number of at least 0")

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        draft = Draft(layer, bounds)
        sigma = add_big_m(draft)
        sums = add_sums(draft, layer, bounds, self.groups, self.by, self.seed, self.effort, "part")
        j, at, row, l = sums.neuron, sums.split, sums.row, sums.lower  # noqa: E741
        width = subtract_up(sums.upper, l)
        active = draft.add_columns("part_copy", j, 0.0, width, key=sums.key)
        draft.add_rows("part_active", j, [(sums.column, -1.0), (active, 1.0)], upper=0.0 - l, key=sums.key)
        draft.add_rows("part_inactive", j, [(sigma[at[row]], -width), (active, 1.0)], upper=0.0, key=sums.key)
        split, own = draft.unstable[at], np.arange(at.size)
        least = sums.constant(layer.bias[split])
        terms: list[tuple[Ints, Ints, ArrayLike]] = [
            (own, draft.h[split], 1.0),
            (own, sigma[at], -least),
            (row, active, -1.0),
        ]
        draft.add_entries("relu_parts", split, terms, upper=0.0)
        return draft.encoding()
