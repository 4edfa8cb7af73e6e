"""Layers as flat arrays for the compiled loops of `fused`, and the calls into these.

Symbols as in `ascent` and `crown`. Neurons that are always 0 are left out. Only dense weights: products with sparse
ones are SciPy's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..domain import Floats, Ints


class FlatLayer(NamedTuple):
    """weight (n, n below), bias (n,), and s, t (u,) of the unstable neurons, which come first."""

    weight: np.ndarray
    bias: np.ndarray
    s: np.ndarray
    t: np.ndarray


class Flat(NamedTuple):
    """All layers one after another; `widths` (K + 1,) start with the inputs', `unstable` (K,) counts unstable ones."""

    weights: np.ndarray
    transposed: np.ndarray
    bias: np.ndarray
    s: np.ndarray
    t: np.ndarray
    widths: Ints
    unstable: Ints

    @classmethod
    def of(cls, layers: list[FlatLayer], n_in: int, dtype: type) -> Flat:
        """Copies, in single or double precision.

        >>> layer = FlatLayer(np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros(2), np.array([0.5]), np.array([1.0]))
        >>> flat = Flat.of([layer], 2, np.float64)
        >>> flat.weights, flat.transposed, flat.widths, flat.unstable
        (array([1., 2., 3., 4.]), array([1., 3., 2., 4.]), array([2, 2]), array([1]))
        """

        def joined(parts: Iterable[np.ndarray]) -> np.ndarray:
            return np.concatenate([np.zeros(0), *(part.ravel() for part in parts)]).astype(dtype)

        return cls(
            joined(layer.weight for layer in layers),
            joined(layer.weight.T for layer in layers),
            joined(layer.bias for layer in layers),
            joined(layer.s for layer in layers),
            joined(layer.t for layer in layers),
            np.array([n_in, *(layer.bias.size for layer in layers)], dtype=np.int64),
            np.array([layer.s.size for layer in layers], dtype=np.int64),
        )


class Rows(NamedTuple):
    """A polytope's rows as the ascent sees them: A (p, n_0), b (p,), and the units of their multipliers."""

    A: np.ndarray
    b: np.ndarray
    unit: np.ndarray


class Stop(NamedTuple):
    """Values (m,) that are enough, and for each row the one (m,) with which it is done."""

    enough: np.ndarray
    pairs: Ints


class Moves(NamedTuple):
    """Sizes of Adam's steps, and its memory."""

    sizes: np.ndarray
    beta_1: np.float32
    beta_2: np.float32


def ascend_flat(
    flat: Flat,
    polytope: Rows,
    rows: np.ndarray,
    constant: np.ndarray,
    numbers: np.ndarray,
    signs: np.ndarray,
    enough: np.ndarray | None,
    pairs: Ints | None,
    sizes: list[float],
    betas: tuple[float, float],
) -> np.ndarray:
    """Values (m,) of an ascent from `numbers` (m, u + p), which become the best seen.

    `signs` (m, u), or (m, 0) where nothing is split; `sizes` are those of Adam's steps.
    """
    from .fused import ascend_rows

    m = constant.size
    values = np.empty(m, np.float32)
    values_enough = np.full(m, np.inf, np.float32) if enough is None else enough.astype(np.float32)
    stop = Stop(values_enough, np.arange(m) if pairs is None else pairs)
    moves = Moves(np.array(sizes, np.float32), np.float32(betas[0]), np.float32(betas[1]))
    polytope = Rows(*map(np.ascontiguousarray, polytope))  # one layout of arrays, so that loops are compiled once
    rows, constant = np.ascontiguousarray(rows), np.ascontiguousarray(constant)
    ascend_rows(flat, polytope, rows, constant, signs, stop, moves, numbers, values)
    return values


class Passed(NamedTuple):
    """Backward passes in double precision: c, e (m,), coefficients (m, u) of unstable neurons and (m, n_0) of x."""

    c: Floats
    e: Floats
    coefficients: Floats
    A: Floats


class FlatErrors(NamedTuple):
    """What `crown.backward` adds to e: weights of |D|, factors of |c| and of each layer's lift, and constants."""

    rows: Floats
    gammas: Floats
    constants: Floats


def pass_flat(
    flat: Flat, errors: FlatErrors, rows: Floats, c: Floats, e: Floats, numbers: np.ndarray, signs: np.ndarray
) -> Passed:
    """Passes of target rows (m, n_K), whose constants and errors so far are c and e."""
    from .fused import evaluate_rows

    m = c.size
    passed = Passed(c + 0.0, e + 0.0, np.empty((m, flat.s.size)), np.empty((m, int(flat.widths[0]))))
    evaluate_rows(flat, errors, np.ascontiguousarray(rows), numbers, signs, passed)
    return passed
