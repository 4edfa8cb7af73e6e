"""Safe bounds: what row multipliers of any quality prove about a linear objective, in spite of rounding.

Symbols: c objective, y multipliers of the rows row_lower <= A x <= row_upper, lower <= x <= upper, r = c - A' y.

    c x = r x + y (A x) >= sum_j min over lower_j <= x_j <= upper_j of r_j x_j
                           + sum_i y_i (row_lower_i where y_i > 0, row_upper_i where y_i < 0)

This holds for every y (weak duality); at the multipliers of an optimal basis it is the optimum. So a solver's answer is
used only as a proposal, and neither its tolerances nor its status has to be trusted.

Source: Neumaier and Shcherbina, Safe bounds in linear and mixed-integer linear programming, Math. Program. 99 (2004).

Validity. r is computed in floating point and lies within e = gamma(n + 1) (|c| + |A'| |y|) of the exact r; r_j x_j is
taken at its least over [r_j - e_j, r_j + e_j] as well as over the column's range. The final sum is off by gamma of the
sum of absolute values (`propagation.rounding` says why), and the value is lowered by that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ..domain import Floats
from ..milp import MatrixModel
from ..propagation.interval import NO_UNDERFLOW
from ..propagation.rounding import TINY, gamma, nonzeros, round_down, round_up


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def safe_lower(model: MatrixModel, objectives: ArrayLike, multipliers: ArrayLike) -> Floats:
    """Lower bounds (m,) of each objective over the model without integrality, from any multipliers of its rows.

    `objectives` (m, columns), `multipliers` (m, rows); the model's own objective plays no part. A multiplier that asks
    for a side that is infinite, or that is not finite itself, counts as 0. A column without the end that the sign of
    r_j asks for gives -inf, unless r_j is 0 without any rounding: no multiplier meets it, and no cost.

    >>> from omlt_ext.milp import MatrixModel
    >>> model = MatrixModel(c=np.zeros(2), offset=0.0, maximize=False, A=sparse.csr_array([[1.0, 1.0]]),
    ...     row_lower=np.array([1.5]), row_upper=np.array([np.inf]), lower=np.zeros(2), upper=np.ones(2),
    ...     integer=np.zeros(2, dtype=bool))
    >>> safe_lower(model, [[1.0, 0.0], [1.0, 2.0]], [[1.0], [0.9]]).round(6)  # min x_0; min x_0 + 2 x_1
    array([0.5 , 1.35])
    """
    C, Y = np.atleast_2d(np.asarray(objectives, dtype=np.float64)), np.atleast_2d(np.asarray(multipliers, np.float64))
    side = np.where(Y > 0.0, model.row_lower, model.row_upper)
    Y = np.where(np.isfinite(side) & np.isfinite(Y), Y, 0.0)
    side = np.where(Y == 0.0, 0.0, side)
    A = sparse.csr_array(model.A)
    count = nonzeros(A, axis=0).astype(np.float64) + 1.0
    size = gamma(count) * (np.abs(C) + _times(np.abs(Y), abs(A)))
    size += np.where(size > 0.0, TINY * count, 0.0)
    r = C - _times(Y, A)
    ends = (round_down(r, size), round_up(r, size))
    least = np.minimum.reduce([_product(e, x) for e in ends for x in (model.lower, model.upper)])
    rows = _product(Y, side)
    terms = np.count_nonzero(np.concatenate([least, rows, ends[1] - ends[0]], axis=1), axis=1).astype(np.float64)
    reach = np.abs(least).sum(axis=1) + np.abs(rows).sum(axis=1)
    return round_down(least.sum(axis=1) + rows.sum(axis=1), gamma(terms + 2.0) * reach)


def _times(Y: Floats, A: sparse.csr_array) -> Floats:
    return np.asarray((A.T @ Y.T).T)


def _product(a: Floats, b: Floats) -> Floats:
    """a b, lowered where it may have underflowed; 0 where either is 0, also beside an infinite one."""
    product = a * b
    return np.where((a == 0.0) | (b == 0.0), 0.0, np.where(np.abs(product) < NO_UNDERFLOW, product - TINY, product))
