"""Keras layers of one input on symbolic tensors; a tensor keeps the batch dimension, of size 1.

Every function takes the tensor and the layer, whose public attributes and weights it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from ..domain import Floats
from . import piecewise
from .keras_values import Refusal, array
from .lowering import Tensor
from .symbolic import reduced_shape
from .windows import (
    Windows,
    average_pool,
    convolution,
    per_example,
    place_windows,
    pool_index,
    transposed_convolution,
)


def identity(t: Tensor, layer: Any) -> Tensor:
    return t


def dense(t: Tensor, layer: Any) -> Tensor:
    W = array(layer.kernel)
    y = t.linear(per_example(W.T, t.size // W.shape[0]), (*t.shape[:-1], W.shape[1]))
    return y if layer.bias is None else y + array(layer.bias)


def relu(t: Tensor, layer: Any) -> Tensor:
    if layer.threshold != 0:
        raise Refusal("with a threshold other than 0 jumps there, which is not piecewise linear")
    slope = float(layer.negative_slope)
    y = piecewise.leaky_relu(t, slope) if slope else piecewise.relu(t)
    return y if layer.max_value is None else y - piecewise.relu(t - float(layer.max_value))


def leaky_relu(t: Tensor, layer: Any) -> Tensor:
    return piecewise.leaky_relu(t, float(layer.negative_slope))


def prelu(t: Tensor, layer: Any) -> Tensor:
    return piecewise.leaky_relu(t, array(layer.alpha))


def flatten(t: Tensor, layer: Any) -> Tensor:
    first = layer.data_format == "channels_first" and t.ndim > 2
    return (_channels_last(t) if first else t).reshape((1, t.size))


def reshape(t: Tensor, layer: Any) -> Tensor:
    target = [int(n) for n in layer.target_shape]
    known = math.prod(n for n in target if n != -1)
    return t.reshape((1, *(t.size // known if n == -1 else n for n in target)))


def permute(t: Tensor, layer: Any) -> Tensor:
    return t.transpose((0, *layer.dims))


def repeat_vector(t: Tensor, layer: Any) -> Tensor:
    return t.reshape((1, 1, t.size)).broadcast_to((1, int(layer.n), t.size))


def batch_normalization(t: Tensor, layer: Any) -> Tensor:
    scale = 1.0 / np.sqrt(array(layer.moving_variance) + float(layer.epsilon))
    scale = scale * array(layer.gamma) if layer.scale else scale
    shift = -array(layer.moving_mean) * scale
    return piecewise.scale_and_shift(t, scale, shift + array(layer.beta) if layer.center else shift, int(layer.axis))


def rescaling(t: Tensor, layer: Any) -> Tensor:
    return t * array(layer.scale) + array(layer.offset)


def normalization(t: Tensor, layer: Any) -> Tensor:
    mean = array(layer.mean)
    deviation = np.maximum(np.sqrt(array(layer.variance)), 1e-7)
    return t * deviation + mean if layer.invert else (t - mean) / deviation


def _channels_last(t: Tensor) -> Tensor:
    return t.transpose((0, *range(2, t.ndim), 1))


def _channels_first(t: Tensor) -> Tensor:
    return t.transpose((0, t.ndim - 1, *range(1, t.ndim - 1)))


def _in_planes(t: Tensor, layer: Any, act: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function of (1, C, spatial...) to a tensor in the layer's own order of axes."""
    return act(t) if layer.data_format == "channels_first" else _channels_last(act(_channels_first(t)))


def _windows(layer: Any, size: Sequence[int], kernel: Sequence[int], dilation: Sequence[int]) -> Windows:
    n = len(kernel)
    pads = (0,) * (2 * n)
    if layer.padding == "causal":
        pads = (*(d * (k - 1) for d, k in zip(dilation, kernel, strict=True)), *(0,) * n)
    same = "upper" if layer.padding == "same" else None
    strides = _each(layer.strides, n)
    return place_windows(size, kernel, stride=strides, dilation=dilation, pads=pads, same=same)


def _each(values: int | Sequence[int], n: int) -> tuple[int, ...]:
    return (int(values),) * n if isinstance(values, int) else tuple(int(v) for v in values)


def _convolve(t: Tensor, layer: Any, weight: Floats, groups: int) -> Tensor:
    """weight (out, in / groups, K...) on t (1, C, spatial...)."""
    windows = _windows(layer, t.shape[2:], weight.shape[2:], _each(layer.dilation_rate, weight.ndim - 2))
    K = convolution(weight, windows, t.shape[1], groups)
    return t.linear(K, (1, weight.shape[0], *windows.positions))


def _with_bias(t: Tensor, bias: Any) -> Tensor:
    return t if bias is None else t + array(bias).reshape((-1, *[1] * (t.ndim - 2)))


def conv(t: Tensor, layer: Any) -> Tensor:
    kernel = array(layer.kernel)  # (K..., in / groups, out)
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))
    return _in_planes(t, layer, lambda x: _with_bias(_convolve(x, layer, weight, int(layer.groups)), layer.bias))


def _depthwise(kernel: Floats) -> Floats:
    """(K..., in, multiplier) as (in multiplier, 1, K...)."""
    moved = np.moveaxis(kernel, (-2, -1), (0, 1))
    return moved.reshape((-1, 1, *moved.shape[2:]))


def depthwise_conv(t: Tensor, layer: Any) -> Tensor:
    kernel = array(layer.kernel)
    weight = _depthwise(kernel)
    return _in_planes(t, layer, lambda x: _with_bias(_convolve(x, layer, weight, kernel.shape[-2]), layer.bias))


def separable_conv(t: Tensor, layer: Any) -> Tensor:
    kernel, point = array(layer.depthwise_kernel), array(layer.pointwise_kernel)
    weight = _depthwise(kernel)
    mixing = point.reshape((-1, point.shape[-1])).T

    def act(x: Tensor) -> Tensor:
        h = _convolve(x, layer, weight, kernel.shape[-2])
        last = _channels_last(h)
        mixed = last.linear(per_example(mixing, last.size // mixing.shape[1]), (*last.shape[:-1], mixing.shape[0]))
        return _with_bias(_channels_first(mixed), layer.bias)

    return _in_planes(t, layer, act)


def conv_transpose(t: Tensor, layer: Any) -> Tensor:
    kernel = array(layer.kernel)  # (K..., out, in)
    n = kernel.ndim - 2
    strides, K = _each(layer.strides, n), [int(k) for k in kernel.shape[:n]]
    if layer.output_padding is not None or _each(layer.dilation_rate, n) != (1,) * n:
        raise Refusal("is lowered without output_padding and dilation")
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))

    def act(x: Tensor) -> Tensor:
        S = x.shape[2:]
        grow = [max(K[a] - strides[a], 0) if layer.padding == "valid" else 0 for a in range(n)]
        size = tuple(S[a] * strides[a] + grow[a] for a in range(n))
        total = [max((S[a] - 1) * strides[a] + K[a] - size[a], 0) for a in range(n)]
        before = tuple(p // 2 for p in total)
        after = tuple(p - p // 2 for p in total)
        windows = Windows(size, tuple(K), strides, (1,) * n, before, after, S)
        one = transposed_convolution(weight, windows, x.shape[1])
        return _with_bias(x.linear(one, (1, weight.shape[1], *size)), layer.bias)

    return _in_planes(t, layer, act)


def max_pooling(t: Tensor, layer: Any) -> Tensor:
    def act(x: Tensor) -> Tensor:
        n = x.ndim - 2
        windows = _windows(layer, x.shape[2:], _each(layer.pool_size, n), (1,) * n)
        return piecewise.largest(x, pool_index(windows, x.shape[1])).reshape((*x.shape[:2], *windows.positions))

    return _in_planes(t, layer, act)


def average_pooling(t: Tensor, layer: Any) -> Tensor:
    def act(x: Tensor) -> Tensor:
        n = x.ndim - 2
        windows = _windows(layer, x.shape[2:], _each(layer.pool_size, n), (1,) * n)
        if windows.before != windows.after and keras.backend.backend() == "torch":
            raise Refusal(
                "with padding='same' and unequal padding depends on Keras's backend: torch averages repeated edges, "
                "the others leave the padding out. Run with KERAS_BACKEND=tensorflow or jax, or pad with ZeroPadding"
            )
        return x.linear(average_pool(windows, x.shape[1], False), (*x.shape[:2], *windows.positions))

    return _in_planes(t, layer, act)


def _spatial_axes(t: Tensor, layer: Any) -> tuple[int, ...]:
    return tuple(range(2, t.ndim) if layer.data_format == "channels_first" else range(1, t.ndim - 1))


def global_average(t: Tensor, layer: Any) -> Tensor:
    axes = _spatial_axes(t, layer)
    return t.sum(axes, bool(layer.keepdims)) / math.prod(t.shape[a] for a in axes)


def global_max(t: Tensor, layer: Any) -> Tensor:
    axes = _spatial_axes(t, layer)
    groups = np.moveaxis(t.index(), axes, tuple(range(-len(axes), 0))).reshape(-1, math.prod(t.shape[a] for a in axes))
    return piecewise.largest(t, groups).reshape(reduced_shape(t.shape, axes, bool(layer.keepdims)))


def _pairs(values: Any, n: int) -> list[tuple[int, int]]:
    """((before, after), ...) for n axes; one axis may come as a plain pair."""
    pairs = [values] if n == 1 and isinstance(values[0], int) else values
    return [(int(a), int(b)) for a, b in pairs]


def zero_padding(t: Tensor, layer: Any) -> Tensor:
    def act(x: Tensor) -> Tensor:
        return x.pick(np.pad(x.index(), [(0, 0), (0, 0), *_pairs(layer.padding, x.ndim - 2)], constant_values=-1))

    return _in_planes(t, layer, act) if hasattr(layer, "data_format") else _channels_last(act(_channels_first(t)))


def cropping(t: Tensor, layer: Any) -> Tensor:
    def act(x: Tensor) -> Tensor:
        kept = x.index()
        for axis, (before, after) in enumerate(_pairs(layer.cropping, x.ndim - 2), start=2):
            kept = kept.take(np.arange(before, x.shape[axis] - after), axis=axis)
        return x.pick(kept)

    return _in_planes(t, layer, act) if hasattr(layer, "data_format") else _channels_last(act(_channels_first(t)))


def upsampling(t: Tensor, layer: Any) -> Tensor:
    if getattr(layer, "interpolation", "nearest") != "nearest":
        raise Refusal(f"is lowered for interpolation='nearest', not {layer.interpolation!r}")

    def act(x: Tensor) -> Tensor:
        index = x.index()
        for axis, times in enumerate(_each(layer.size, x.ndim - 2), start=2):
            index = np.repeat(index, times, axis=axis)
        return x.pick(index)

    return _in_planes(t, layer, act) if hasattr(layer, "data_format") else _channels_last(act(_channels_first(t)))
