"""P-split: each neuron's sum in P parts, along one split of the layer's inputs, and the whole hull over the parts.

Symbols: I_1 .. I_P the split of the layer's inputs, alpha_k = sum_{i in I_k} w_i x_i in [l_k, u_k] and alpha1_k its
active copy; z = sum alpha_k + b.

P-split formulations replace a disjunction of separable constraints by one on the P sums and write that one's hull. For
(z <= 0, h = 0) or (z >= 0, h = z):

    h = sum alpha1_k + b sigma,   h >= z,   h <= u sigma,   h <= z - l (1 - sigma),
    sigma l_k <= alpha1_k <= sigma u_k,   (1 - sigma) l_k <= alpha_k - alpha1_k <= (1 - sigma) u_k.

P = 1 is big-M, for which nothing is added; one part for each input is the convex hull.

How it differs from `Partition`, which came from it: the split is of the layer's inputs, hence one for all neurons,
where `Partition` chooses groups for each neuron by its weights; and the hull is written out whole, both ranges of both
copies and h as a sum of active ones, where `Partition` keeps the half of the rows that binds. With the same groups
(`Partition(by="order")`) both have the same LP bound.

Source: Kronqvist, Misener and Tsay, Between steps: intermediate relaxations between big-M and convex hull formulations,
CPAIOR 2021; P-split formulations, Mathematical Programming (2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from omlt_ext.domain import Ints
from omlt_ext.draft import Draft
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.network import Layer

from .bigm import add_big_m
from .groups import Count, add_sums, checked_groups


@dataclass(frozen=True)
class PSplit:
    """Big-M and, for each part of the inputs, the columns `alpha[j, k]`, `alpha_copy[j, k]` and five rows.

    `splits`: how many runs of neighbouring inputs of equal length, "all" for one each input, or the parts themselves
    as tuples of input numbers, for networks whose layers all have that many inputs. `effort`: how hard to bound the
    sums, "interval", "crown" or "dual".

    Raises `OptionError` for other values, `FormulationError` for parts that do not fit a layer.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[2.0, -3.0]], [0.5], relu=True)
    >>> print(PSplit().encode(layer, LayerBounds([-2.5], [2.5], [0, 0], [1, 1])))
    z[0] in [-2.5, 2.5]
    h[0] in [0, 2.5]
    sigma[0] in {0, ..., 1}
    alpha[0,0] in [0, 2]
    alpha[0,1] in [-3, 0]
    alpha_copy[0,0] in [0, 2]
    alpha_copy[0,1] in [-3, 0]
    relu_above[0]: 0 <= -z[0] + h[0]
    relu_active[0]: -z[0] + h[0] + 2.5 sigma[0] <= 2.5
    relu_inactive[0]: h[0] - 2.5 sigma[0] <= 0
    alpha_sum[0,0]: -2 x[0] + alpha[0,0] = 0
    alpha_sum[0,1]: 3 x[1] + alpha[0,1] = 0
    affine_sum[0]: z[0] - alpha[0,0] - alpha[0,1] = 0.5
    active_lower[0,0]: 0 <= alpha_copy[0,0]
    active_lower[0,1]: 0 <= 3 sigma[0] + alpha_copy[0,1]
    active_upper[0,0]: -2 sigma[0] + alpha_copy[0,0] <= 0
    active_upper[0,1]: alpha_copy[0,1] <= 0
    inactive_lower[0,0]: 0 <= alpha[0,0] - alpha_copy[0,0]
    inactive_lower[0,1]: -3 <= -3 sigma[0] + alpha[0,1] - alpha_copy[0,1]
    inactive_upper[0,0]: 2 sigma[0] + alpha[0,0] - alpha_copy[0,0] <= 2
    inactive_upper[0,1]: alpha[0,1] - alpha_copy[0,1] <= 0
    relu_split[0]: h[0] - 0.5 sigma[0] - alpha_copy[0,0] - alpha_copy[0,1] = 0
    h[0] is h[0]
    """

    splits: Count = 2
    effort: str = "crown"

    name = "psplit"

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", checked_groups(self.splits, self.effort))

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        draft = Draft(layer, bounds)
        sigma = add_big_m(draft)
        sums = add_sums(draft, layer, bounds, self.splits, "order", 0, self.effort, "alpha")
        j, key, alpha, l, u = sums.neuron, sums.key, sums.column, sums.lower, sums.upper  # noqa: E741
        s = sigma[sums.split[sums.row]]
        active = draft.add_columns("alpha_copy", j, np.minimum(l, 0.0), np.maximum(u, 0.0), key=key)
        draft.add_rows("active_lower", j, [(active, 1.0), (s, -l)], lower=0.0, key=key)
        draft.add_rows("active_upper", j, [(active, 1.0), (s, -u)], upper=0.0, key=key)
        draft.add_rows("inactive_lower", j, [(alpha, 1.0), (active, -1.0), (s, l)], lower=l, key=key)
        draft.add_rows("inactive_upper", j, [(alpha, 1.0), (active, -1.0), (s, u)], upper=u, key=key)
        split, own = draft.unstable[sums.split], np.arange(sums.split.size)
        terms: list[tuple[Ints, Ints, ArrayLike]] = [
            (own, draft.h[split], 1.0),
            (own, sigma[sums.split], -layer.bias[split]),
            (sums.row, active, -1.0),
        ]
        draft.add_entries("relu_split", split, terms, lower=0.0, upper=0.0)
        return draft.encoding()
