"""Outward rounding: how far a floating-point sum can lie from the exact one.

Symbols: u = 2^-53 the unit roundoff, eta = 2^-1074 the smallest positive number, gamma_n = n u / (1 - n u).

A sum of products p_1 q_1 + ... + p_n q_n, evaluated in any order, with or without fused operations, differs from the
exact sum by at most gamma_n sum |p_j q_j| + n eta (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
section 3.1; eta is for products that underflow, sums of floats never do). A term that is exactly zero costs nothing,
so n may count nonzero terms only. This asks for IEEE double precision, rounding to nearest, and matrix products that
are sums of products (not Strassen's), which is what NumPy's BLAS libraries and SciPy do.

The error terms are computed in floating point as well. They are sums of nonnegative numbers, so what they lose is
relative, at most a part gamma_n, plus a few eta. That loss is paid in advance: `gamma` takes 2u in place of u, and
TINY = 2^-1022 stands where eta would do. Twice the error is more than enough while n < 2^50.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..domain import Floats
from ..network import Weight

EPS = 2.0**-52
TINY = 2.0**-1022

Count = TypeVar("Count", float, Floats)


def gamma(n: Count) -> Count:
    """The relative error of a sum of n products, with u doubled: 2 n u / (1 - 2 n u).

    >>> gamma(100) == 100 * 2.0**-52 / (1 - 100 * 2.0**-52)
    True
    """
    return n * EPS / (1.0 - n * EPS)


def round_down(value: Floats, error: Floats) -> Floats:
    """A float that is at most value - error in exact arithmetic; value itself where error is 0.

    Where value or error overflowed there is nothing to say: -inf, which is true of every number.

    >>> round_down(np.array([1.0, 1.0, np.inf]), np.array([0.0, 1e-30, np.inf]))
    array([ 1.,  1., -inf])
    >>> round_down(np.array([1.0]), np.array([1e-30])) < 1
    array([ True])
    """
    known = np.isfinite(value) & np.isfinite(error)
    # One step further pays for rounding the subtraction itself.
    outside = np.nextafter(np.where(known, value, 0.0) - np.where(known, error, 0.0), -np.inf)
    return np.where(known, np.where(error == 0.0, value, outside), -np.inf)


def round_up(value: Floats, error: Floats) -> Floats:
    """A float that is at least value + error in exact arithmetic: the mirror image of `round_down`."""
    return -round_down(-value, error)


def absolute_product(weight: Weight, magnitude: Floats) -> Floats:
    """|W| m for a weight W (n_out, n_in), dense or CSR, and m >= 0 (n_in,); W is never copied whole.

    >>> absolute_product(np.array([[1.0, -2.0]]), np.array([3.0, 1.0]))
    array([5.])
    """
    parts = [abs(weight[rows]) @ magnitude for rows in row_blocks(*weight.shape)]
    return np.concatenate(parts) if parts else np.zeros(0)


def row_blocks(n_rows: int, n_columns: int, budget: int = 2**26) -> Iterator[slice]:
    """Slices over n_rows such that a float64 array (rows, n_columns) stays within `budget` bytes, one row at least.

    >>> list(row_blocks(5, 2, budget=32))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, budget // (8 * max(1, n_columns)))
    return (slice(first, min(first + step, n_rows)) for first in range(0, n_rows, step))


def nonzeros(weight: Weight, axis: int) -> NDArray[np.int64]:
    """Nonzero weights of every column (axis 0) or of every row (axis 1).

    >>> nonzeros(np.array([[1.0, 0.0], [2.0, 3.0]]), axis=0)
    array([2, 1])
    """
    if sparse.issparse(weight):
        lengths = np.bincount(weight.indices, minlength=weight.shape[1]) if axis == 0 else np.diff(weight.indptr)
        return lengths.astype(np.int64)
    return np.count_nonzero(weight, axis=axis)


def smallest(values: Floats) -> float:
    """The smallest nonzero magnitude; inf where there is none."""
    magnitude = np.abs(values)
    return float(np.min(magnitude, initial=np.inf, where=magnitude > 0.0))


def subtract_up(a: Floats, b: Floats) -> Floats:
    """a - b where that is a float, the next one above it elsewhere: at least a - b in exact arithmetic.

    >>> subtract_up(np.array([1.0, 1.0]), np.array([0.5, -(2.0**-60)])) > 1
    array([False,  True])
    """
    difference = a - b
    back = difference - a  # Knuth's two-sum: the rounding error of a difference is a float itself
    lost = (a - (difference - back)) + (-b - back)
    return np.where(lost > 0.0, np.nextafter(difference, np.inf), difference)
