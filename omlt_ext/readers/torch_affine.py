"""ATen operators that are affine in their data: arithmetic, products, convolutions, normalisation, sums and means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import sparse

from ..errors import ReadError
from . import piecewise
from .lowering import Tensor
from .symbolic import MAX_NONZEROS, Linear
from .torch_values import NotLoweredError, Value, axes_of, numbers, spatial
from .windows import Windows, convolution, per_example, place_windows, transposed_convolution


def add(a: Value, b: Value, alpha: float = 1.0) -> Tensor:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.graph.hold(a + b * alpha)
    return a + numbers(b) * alpha if isinstance(a, Tensor) else b * alpha + numbers(a)


def sub(a: Value, b: Value, alpha: float = 1.0) -> Tensor:
    return add(a, b, -alpha)


def rsub(a: Value, b: Value, alpha: float = 1.0) -> Tensor:
    return add(b, a, -alpha)


def mul(a: Value, b: Value) -> Tensor:
    return a * numbers(b) if isinstance(a, Tensor) else b * numbers(a)


def div(a: Value, b: Value, rounding_mode: str | None = None) -> Tensor:
    if not isinstance(a, Tensor) or isinstance(b, Tensor) or rounding_mode is not None:
        raise NotLoweredError("is lowered for division by a constant, without rounding")
    if not numbers(b).all():
        raise ReadError("a divisor holds a zero")
    return a / numbers(b)


def neg(a: Tensor) -> Tensor:
    return -a


def identity(a: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    for kind in (*args, *kwargs.values()):
        if isinstance(kind, torch.dtype) and not kind.is_floating_point:
            raise NotLoweredError(f"to {kind} rounds, which is not piecewise linear")
    return a


def dropout(a: Tensor, p: float, train: bool) -> Tensor:
    if train and p > 0:
        raise NotLoweredError("with training=True is random; use self.training, which is False in evaluation mode")
    return a


def where(condition: Value, a: Value, b: Value) -> Tensor:
    if isinstance(condition, Tensor):
        raise NotLoweredError("is lowered for a constant condition only")
    chosen = numbers(condition)
    first = a * chosen if isinstance(a, Tensor) else numbers(a) * chosen
    other = b * (1.0 - chosen) if isinstance(b, Tensor) else numbers(b) * (1.0 - chosen)
    return add(first, other)


def matmul(a: Value, b: Value) -> Tensor:
    """a @ b with a constant matrix on one side."""
    if isinstance(b, Tensor):
        W = numbers(a)
        if b.ndim == 1:
            return linear(b, W)
        ends = (*range(b.ndim - 2), b.ndim - 1, b.ndim - 2)
        turned = linear(b.transpose(ends), np.atleast_2d(W)).transpose(ends)
        return turned if W.ndim == 2 else turned.reshape((*b.shape[:-2], b.shape[-1]))
    W = numbers(b)
    if W.ndim == 1:
        return linear(a, W[None]).reshape(a.shape[:-1])
    return linear(a, np.swapaxes(W, -1, -2))


def linear(x: Tensor, weight: Value, bias: Value = None) -> Tensor:
    """x W^T + b over the last axis, for a constant W (n_out, n_in)."""
    W = numbers(weight)
    while W.ndim > 2 and W.shape[0] == 1 and x.ndim >= W.ndim:
        W = W[0]
    if W.ndim != 2:
        raise NotLoweredError(f"with a constant of shape {W.shape} is not lowered; it must be one matrix")
    rows = x.size // W.shape[1]
    if rows * W.size > MAX_NONZEROS:
        raise ReadError(f"a matrix product of {rows * W.size} products is too large to lower")
    y = x.linear(per_example(W, rows), (*x.shape[:-1], W.shape[0]))
    return y if bias is None else y + numbers(bias)


def addmm(bias: Value, a: Value, b: Value, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    return add(mul(matmul(a, b), alpha), mul(bias, beta) if isinstance(bias, Tensor) else numbers(bias) * beta)


def batch_norm(x: Tensor, weight: Value, bias: Value, mean: Value, var: Value, *rest: Any) -> Tensor:
    """(x - mean) / sqrt(var + eps) weight + bias over axis 1, with the running statistics."""
    training, eps = (rest[0], rest[2]) if len(rest) > 2 else (False, rest[1])
    if mean is None or var is None or training:
        raise NotLoweredError("without running statistics depends on the batch; train with track_running_stats=True")
    scale = 1.0 / np.sqrt(numbers(var) + eps)
    scale = scale if weight is None else scale * numbers(weight)
    shift = -numbers(mean) * scale
    return piecewise.scale_and_shift(x, scale, shift if bias is None else shift + numbers(bias), axis=1)


def batch_norm_tuple(*args: Any) -> Value:
    return (batch_norm(*args), None, None)


def _check_batch(x: Tensor, n: int) -> None:
    if x.ndim != n + 2:
        raise NotLoweredError(f"takes a batch, channels and {n} spatial axes, not the shape {x.shape}")


def conv(
    x: Tensor,
    weight: Value,
    bias: Value = None,
    stride: Value = 1,
    padding: Value = 0,
    dilation: Value = 1,
    groups: int = 1,
) -> Tensor:
    W = numbers(weight)
    n = W.ndim - 2
    _check_batch(x, n)
    step, spread = spatial(stride, n), spatial(dilation, n)
    if padding == "same":  # the odd cell comes at the end
        total = [d * (k - 1) for d, k in zip(spread, W.shape[2:], strict=True)]
        pads = (*(t // 2 for t in total), *(t - t // 2 for t in total))
    else:
        pads = 2 * (spatial(0 if padding == "valid" else padding, n))
    windows = place_windows(x.shape[2:], W.shape[2:], stride=step, dilation=spread, pads=pads)
    K = convolution(W, windows, x.shape[1], groups)
    return _with_bias(x.linear(per_example(K, x.shape[0]), (x.shape[0], W.shape[0], *windows.positions)), bias)


def conv_transpose(
    x: Tensor,
    weight: Value,
    bias: Value = None,
    stride: Value = 1,
    padding: Value = 0,
    output_padding: Value = 0,
    groups: int = 1,
    dilation: Value = 1,
) -> Tensor:
    W = numbers(weight)
    n = W.ndim - 2
    _check_batch(x, n)
    step, pad, extra, spread = (spatial(v, n) for v in (stride, padding, output_padding, dilation))
    S, K = x.shape[2:], W.shape[2:]
    size = tuple((S[a] - 1) * step[a] - 2 * pad[a] + spread[a] * (K[a] - 1) + extra[a] + 1 for a in range(n))
    windows = Windows(size, K, step, spread, pad, pad, S)
    channels = W.shape[1] * groups
    one = transposed_convolution(W, windows, x.shape[1], groups)
    return _with_bias(x.linear(per_example(one, x.shape[0]), (x.shape[0], channels, *size)), bias)


def _with_bias(y: Tensor, bias: Value) -> Tensor:
    return y if bias is None else y + numbers(bias).reshape((-1, *[1] * (y.ndim - 2)))


def plane_map(x: Tensor, target: Callable[..., Any], args: Any, kwargs: Any, axes: int) -> Tensor:
    """A linear operator that treats every plane (the last `axes` axes) alike: its matrix, found on the unit planes."""
    plane = x.shape[-axes:]
    n = math.prod(plane)
    blocks, positions = [], None
    for start in range(0, n, 512):
        units = np.eye(min(512, n - start), n, k=start).reshape(-1, 1, *plane)
        images = target(torch.from_numpy(units), *args, **kwargs).numpy()
        positions = images.shape[2:]
        blocks.append(sparse.csr_array(images.reshape(len(units), -1)))
    one: Linear = sparse.csr_array(sparse.vstack(blocks).T)
    return x.linear(per_example(one, math.prod(x.shape[:-axes])), (*x.shape[:-axes], *(positions or ())))


def total(x: Tensor, dim: Value = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    return identity(x, dtype).sum(axes_of(dim, x.ndim), keepdim)


def mean(x: Tensor, dim: Value = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    y = total(x, dim, keepdim, dtype)
    return y / (x.size // y.size)
