"""Whether linear rows hold at a point of floats, decided in exact arithmetic.

Double precision answers where the row is farther from equality than its own rounding error can be (Higham's bound,
as in `propagation/rounding.py`); what is left is computed with fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ..domain import Floats
from ..network import Bools
from ..propagation.rounding import TINY, gamma


def rows_hold(terms: Sequence[tuple[Floats, Floats]], sides: Floats, strict: Bools | None = None) -> bool:
    """Whether sum_t G_t v_t <= g in every row, or < g where `strict`, without any rounding.

    `terms` are pairs of G_t (m, n_t) and v_t (n_t,), `sides` is g (m,), `strict` (m,) bool; all numbers are finite.

    >>> rows_hold([(np.array([[1.0, 1.0, 1.0]]), np.array([1e17, 1.0, -1e17]))], np.array([1.0]))
    True
    >>> rows_hold([(np.array([[1.0, 1.0, 1.0]]), np.array([1e17, 1.0, -1e17]))], np.array([0.5]))
    False
    """
    with np.errstate(over="ignore", invalid="ignore"):
        excess = -sides + sum(G @ v for G, v in terms)
        size = np.abs(sides) + sum(np.abs(G) @ np.abs(v) for G, v in terms)
        count = 2.0 + sum(v.size for _, v in terms)
        error = gamma(count) * size + count * TINY
        if (excess > error).any():
            return False
        near = np.flatnonzero(~(excess < -error))  # overflows to infinity and NaN count as near
    for i in near:
        exact = -Fraction(float(sides[i]))
        for G, v in terms:
            exact += sum_of_products(G[i], v)
        if exact > 0 or (exact == 0 and strict is not None and strict[i]):
            return False
    return True


def sum_of_products(a: Floats, b: Floats) -> Fraction:
    """a b as a fraction, for a and b (n,)."""
    used = np.flatnonzero((a != 0) & (b != 0))
    pairs = zip(a[used].tolist(), b[used].tolist(), strict=True)
    return sum((Fraction(p) * Fraction(q) for p, q in pairs), Fraction(0))
