"""Piecewise-linear functions of symbolic tensors, each written with ReLUs.

max(a, b) = a + relu(b - a); min(a, b) = -max(-a, -b); |x| = 2 relu(x) - x; leaky(x) = s x + (1 - s) relu(x);
clip(x, l, u) = l + relu(x - l) - relu(x - u).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..domain import Floats
from ..errors import ReadError
from .lowering import Tensor
from .symbolic import Ints

UNBOUNDED = float(np.finfo(np.float32).max)  # a clip end from here on is no end: exporters write it for "none"


def relu(t: Tensor) -> Tensor:
    """max(0, t)."""
    return t.graph.relu(t)


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """max(a, b), broadcast: entry by entry on top of the operand that fewer atoms make up.

    >>> from omlt_ext.readers.lowering import Lowering
    >>> x = Lowering().input("x", (2,))
    >>> largest = maximum(x.pick(np.array([0])), x.pick(np.array([1])))
    >>> x.graph.to_network({"y": largest})([[1.0, 3.0], [5.0, 2.0]])
    array([[3.],
           [5.]])
    """
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = a.broadcast_to(shape), b.broadcast_to(shape)
    swap = np.diff(b.matrix.indptr) < np.diff(a.matrix.indptr)
    if swap.any():
        both = a.graph.concatenate([a.reshape((a.size,)), b.reshape((b.size,))], axis=0)
        here, there = np.arange(a.size), np.arange(a.size) + a.size
        a = both.pick(np.where(swap, there, here).reshape(shape))
        b = both.pick(np.where(swap, here, there).reshape(shape))
    a = a.graph.hold(a)
    return a + relu(b - a)


def minimum(a: Tensor, b: Tensor) -> Tensor:
    """min(a, b), broadcast."""
    return -maximum(-a, -b)


def absolute(t: Tensor) -> Tensor:
    """|t|."""
    t = t.graph.hold(t)
    return 2.0 * relu(t) - t


def leaky_relu(t: Tensor, slope: ArrayLike) -> Tensor:
    """t where t > 0, slope t elsewhere; `slope` a number or an array that broadcasts to t (PReLU)."""
    s = np.asarray(slope, dtype=np.float64)
    t = t.broadcast_to(np.broadcast_shapes(t.shape, s.shape))
    if s.any():
        t = t.graph.hold(t)
    return t * s + relu(t) * (1.0 - s)


def clip(t: Tensor, lower: float | None, upper: float | None) -> Tensor:
    """min(max(t, lower), upper); None, or a number beyond single precision, is no end."""
    low = -np.inf if lower is None or lower <= -UNBOUNDED else float(lower)
    high = np.inf if upper is None or upper >= UNBOUNDED else float(upper)
    if np.isnan(low) or np.isnan(high):
        raise ReadError(f"clip to [{lower}, {upper}]: an end is not a number")
    if high <= low:
        return t * 0.0 + high
    if low == -np.inf:
        if high == np.inf:
            return t
        t = t.graph.hold(t)
        return t - relu(t - high)
    raised = relu(t - low) + low
    return raised if high == np.inf else raised - relu(t - high)


def largest(t: Tensor, groups: Ints) -> Tensor:
    """The maxima over groups of flat entries of t: `groups` (n, k), -1 for none; shape (n,). A balanced tree."""
    if groups.shape[1] == 0 or (groups < 0).all(axis=1).any():
        raise ReadError("a maximum over no entry at all, such as a pooling window that lies in the padding")
    # -1 repeats a member: max(a, a) = a makes no ReLU
    member = groups[np.arange(len(groups)), np.argmax(groups >= 0, axis=1)]
    t = t.pick(np.where(groups < 0, member[:, None], groups))
    while t.shape[1] > 1:  # neighbours first: overlapping windows share them
        place, pairs = t.index(), t.shape[1] // 2
        best = maximum(t.pick(place[:, 0 : 2 * pairs : 2]), t.pick(place[:, 1 : 2 * pairs : 2]))
        t = t.graph.concatenate([best, t.pick(place[:, 2 * pairs :])], axis=1)
    return t.reshape((t.size,))


def smallest(t: Tensor, groups: Ints) -> Tensor:
    """The minima over groups, as `largest`."""
    return -largest(-t, groups)


def scale_and_shift(t: Tensor, scale: Floats, shift: Floats, axis: int) -> Tensor:
    """scale t + shift along one axis (batch normalisation and scalers): scale, shift (t.shape[axis],)."""
    shape = tuple(t.shape[axis] if a == axis % t.ndim else 1 for a in range(t.ndim))
    return t * scale.reshape(shape) + shift.reshape(shape)
