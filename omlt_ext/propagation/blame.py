"""Which input is to blame for what a bound loses: the one to split.

Symbols: a backward pass has coefficients A of h = max(0, z) at neurons; P = max(A, 0), N = min(A, 0); an unstable
neuron's relaxation is alpha z <= h <= s z + t; w the widths of a box's inputs.

The upper line loses t_j at most; the lower one between t_j and 2 t_j, and less where its slope is well chosen:

    cost_j = (|N_j| + DOWNWARD P_j) t_j

The range of z_j comes from input i by its share in the widths of the two rows that bounded z_j, A^- and A^+:

    blame_i = sum_j cost_j (|A^-_ji| + |A^+_ji|) w_i / sum_i' (|A^-_ji'| + |A^+_ji'|) w_i'

The usual |A_i| w_i of the last pass says where the bound is attained, rather than what it loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..domain import Floats, Ints
from ..network import Weight, dense

DOWNWARD = 0.5


class Ranged(NamedTuple):
    """Neurons `at` (R,) on boxes `of` (R,), `slopes` (R, n_in) = |A^-| + |A^+| of the rows that bounded them."""

    of: Ints
    at: Ints
    slopes: Floats


def blame(width: Floats, first: Weight, A: Sequence[Floats], t: Sequence[Floats], ranged: Sequence[Ranged]) -> Floats:
    """(B, n_in) for boxes of `width` (B, n_in); zero everywhere on a box where no relaxation loses anything.

    `A` and `t` (B, n_k) are of layers k = 0, 1, ..., `ranged` of layers 1, 2, ...; `first` is |W| of layer 0.

    >>> blame(np.array([[1.0, 2.0]]), np.array([[1.0, 1.0]]), [np.array([[-3.0]])], [np.array([[0.5]])], [])
    array([[0.5, 1. ]])
    """
    costs = [np.where(part > 0.0, DOWNWARD, -1.0) * part * lift for part, lift in zip(A, t, strict=True)]
    total = dense(_shared(costs[0], dense(width @ first.T)) @ first)
    for cost, (of, at, slopes) in zip(costs[1:], ranged, strict=True):
        shared = _shared(cost[of, at], np.einsum("ij,ij->i", slopes, width[of]))
        total = total + sparse.csr_array((shared, (of, np.arange(of.size))), shape=(len(width), of.size)) @ slopes
    return np.asarray(total * width)


def _shared(cost: Floats, spread: Floats) -> Floats:
    return np.divide(cost, spread, out=np.zeros_like(cost), where=spread > 0.0)
