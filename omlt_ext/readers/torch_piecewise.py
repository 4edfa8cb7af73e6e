"""ATen operators that act on each entry or choose among entries: maxima, clamps, relatives of the ReLU, softplus."""

from __future__ import annotations

import math

import numpy as np

from . import piecewise, smooth
from .lowering import Tensor
from .symbolic import reduced_shape
from .torch_values import NotLoweredError, Value, axes_of, numbers, spatial
from .windows import place_windows, pool_index


def max_pool(
    x: Tensor,
    kernel: Value,
    stride: Value = (),
    padding: Value = 0,
    dilation: Value = 1,
    ceil: bool = False,
    *,
    axes: int,
) -> Tensor:
    size = x.shape[-axes:]
    K = spatial(kernel, axes)
    windows = place_windows(
        size,
        K,
        stride=spatial(stride, axes) if stride else K,
        dilation=spatial(dilation, axes),
        pads=2 * spatial(padding, axes),
        ceil=ceil,
    )
    groups = pool_index(windows, math.prod(x.shape[:-axes]))
    return piecewise.largest(x, groups).reshape((*x.shape[:-axes], *windows.positions))


def amax(x: Tensor, dim: Value = (), keepdim: bool = False) -> Tensor:
    axes = axes_of(dim, x.ndim)
    kept = np.moveaxis(x.index(), axes, tuple(range(-len(axes), 0)))
    groups = kept.reshape(-1, math.prod(x.shape[a] for a in axes))
    return piecewise.largest(x, groups).reshape(reduced_shape(x.shape, axes, keepdim))


def amin(x: Tensor, dim: Value = (), keepdim: bool = False) -> Tensor:
    return -amax(-x, dim, keepdim)


def max_dim(x: Tensor, dim: int, keepdim: bool = False) -> Value:
    return (amax(x, dim, keepdim), None)


def min_dim(x: Tensor, dim: int, keepdim: bool = False) -> Value:
    return (amin(x, dim, keepdim), None)


def maximum(a: Value, b: Value) -> Tensor:
    graph = (a if isinstance(a, Tensor) else b).graph
    return piecewise.maximum(*(v if isinstance(v, Tensor) else graph.constant(numbers(v)) for v in (a, b)))


def minimum(a: Value, b: Value) -> Tensor:
    return -maximum(*(-v if isinstance(v, Tensor) else -numbers(v) for v in (a, b)))


def clamp(x: Tensor, low: Value = None, high: Value = None) -> Tensor:
    if all(end is None or isinstance(end, (int, float)) for end in (low, high)):
        return piecewise.clip(x, low, high)
    x = x if low is None else maximum(x, low)
    return x if high is None else minimum(x, high)


def clamp_min(x: Tensor, low: Value) -> Tensor:
    return clamp(x, low)


def clamp_max(x: Tensor, high: Value) -> Tensor:
    return clamp(x, None, high)


def hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    return piecewise.clip(x, low, high)


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    return piecewise.leaky_relu(x, slope)


def prelu(x: Tensor, weight: Value) -> Tensor:
    """One slope for all, or one for each channel (axis 1)."""
    slope = numbers(weight)
    return piecewise.leaky_relu(x, slope if slope.size == 1 or x.ndim < 2 else slope.reshape((-1, *[1] * (x.ndim - 2))))


def threshold(x: Tensor, at: float, value: float) -> Tensor:
    if at != value:
        raise NotLoweredError("jumps at its threshold; it is continuous only where threshold and value are equal")
    return piecewise.relu(x - at) + at


def hardsigmoid(x: Tensor) -> Tensor:
    return piecewise.clip(x / 6.0 + 0.5, 0.0, 1.0)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta; PyTorch takes x itself past the threshold, which is the same to 2e-9 from 20 on."""
    if beta <= 0.0 or threshold < 20.0:
        raise NotLoweredError("is lowered with beta > 0 and a threshold of 20 or more")
    return smooth.softplus(x * beta) / beta
