"""ATen operators on symbolic tensors: what `torch.export` writes a PyTorch module in.

Operators that only move entries are run by PyTorch itself on the positions of the entries (`move`), so that their
semantics is PyTorch's own. `Operands` are a call's arguments, data among them as `Tensor`s, constants as
`torch.Tensor`s. Tensors keep the batch dimension, of size 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch.utils import _pytree as pytree

from ..domain import Floats
from ..errors import ReadError
from . import piecewise
from .lowering import Lowering, Tensor
from .symbolic import MAX_NONZEROS, Linear, reduced_shape
from .windows import Windows, convolution, per_example, place_windows, pool_index, transposed_convolution

Value: TypeAlias = Any  # Tensor, a constant torch.Tensor, a number, or a sequence of these
Operator: TypeAlias = Callable[..., Value]


class NotLoweredError(Exception):
    """An operator, or this use of it, is not lowered: the message says why, the reader adds where."""


def numbers(value: Value) -> Floats:
    """A constant operand as an array."""
    if isinstance(value, Tensor):
        raise NotLoweredError("of two tensors that both depend on the input is not piecewise linear")
    array = value.detach().cpu().double().numpy() if isinstance(value, torch.Tensor) else value
    return np.asarray(array, dtype=np.float64)


def move(graph: Lowering, target: Any, args: Any, kwargs: Any, fill: float = 0.0) -> Value:
    """Run an operator that only moves entries on the positions of the entries; the position -1 stands for `fill`."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    data = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    joined = operator_name(target) in JOINING  # constants become entries beside the data
    parts = [i for i, leaf in enumerate(leaves) if i in data or (joined and isinstance(leaf, torch.Tensor))]
    tensors = [leaves[i] if i in data else graph.constant(numbers(leaves[i])) for i in parts]
    everything = graph.concatenate([t.reshape((t.size,)) for t in tensors], axis=0)
    starts = np.cumsum([0, *(t.size for t in tensors)])
    for i, t, start in zip(parts, tensors, starts, strict=False):
        leaves[i] = torch.from_numpy((t.index() + start).astype(np.float64))
    args, kwargs = pytree.tree_unflatten(leaves, spec)
    found = target(*args, **kwargs)
    return pytree.tree_map(lambda out: everything.pick(out.numpy().astype(np.int64), fill), found)


def operator_name(target: Any) -> str:
    """An operator's name without its overload: "aten.add" for aten.add.Tensor."""
    return ".".join(str(target).split(".")[:2])


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


def _spatial(values: int | Sequence[int], n: int) -> tuple[int, ...]:
    """One number, or one for each of n axes."""
    numbers_ = (values,) if isinstance(values, int) else tuple(values)
    return numbers_ * n if len(numbers_) == 1 else numbers_


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
    step, spread = _spatial(stride, n), _spatial(dilation, n)
    if padding == "same":  # the odd cell comes at the end
        total = [d * (k - 1) for d, k in zip(spread, W.shape[2:], strict=True)]
        pads = (*(t // 2 for t in total), *(t - t // 2 for t in total))
    else:
        pads = 2 * (_spatial(0 if padding == "valid" else padding, n))
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
    step, pad, extra, spread = (_spatial(v, n) for v in (stride, padding, output_padding, dilation))
    S, K = x.shape[2:], W.shape[2:]
    size = tuple((S[a] - 1) * step[a] - 2 * pad[a] + spread[a] * (K[a] - 1) + extra[a] + 1 for a in range(n))
    windows = Windows(size, K, step, spread, pad, pad, S)
    channels = W.shape[1] * groups
    one = transposed_convolution(W, windows, x.shape[1], groups)
    return _with_bias(x.linear(per_example(one, x.shape[0]), (x.shape[0], channels, *size)), bias)


def _with_bias(y: Tensor, bias: Value) -> Tensor:
    return y if bias is None else y + numbers(bias).reshape((-1, *[1] * (y.ndim - 2)))


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
    K = _spatial(kernel, axes)
    windows = place_windows(
        size,
        K,
        stride=_spatial(stride, axes) if stride else K,
        dilation=_spatial(dilation, axes),
        pads=2 * _spatial(padding, axes),
        ceil=ceil,
    )
    groups = pool_index(windows, math.prod(x.shape[:-axes]))
    return piecewise.largest(x, groups).reshape((*x.shape[:-axes], *windows.positions))


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


def _axes(dims: Value, ndim: int) -> tuple[int, ...]:
    listed = (dims,) if isinstance(dims, int) else tuple(dims or range(ndim))
    return tuple(sorted(d % ndim for d in listed))


def total(x: Tensor, dim: Value = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    return identity(x, dtype).sum(_axes(dim, x.ndim), keepdim)


def mean(x: Tensor, dim: Value = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    y = total(x, dim, keepdim, dtype)
    return y / (x.size // y.size)


def amax(x: Tensor, dim: Value = (), keepdim: bool = False) -> Tensor:
    axes = _axes(dim, x.ndim)
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


def pad(x: Tensor, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Padding by a constant, or by entries of x: reflected, repeated or wrapped around."""
    positions = torch.from_numpy(x.index().astype(np.float64))
    filled = torch.nn.functional.pad(positions, tuple(pads), mode, -1.0 if mode == "constant" else None)
    return x.pick(filled.numpy().astype(np.int64), float(value or 0.0))


def constant_pad(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    return pad(x, pads, "constant", value)


JOINING = {"aten.cat", "aten.concat", "aten.stack", "aten.hstack", "aten.vstack"}
MOVING = {
    *JOINING,
    *("aten.alias", "aten.as_strided", "aten.atleast_1d", "aten.atleast_2d", "aten.chunk", "aten.diagonal"),
    *("aten.expand", "aten.expand_as", "aten.flatten", "aten.flip", "aten.gather", "aten.index", "aten.index_select"),
    *("aten.movedim", "aten.narrow", "aten.numpy_T", "aten.permute", "aten.pixel_shuffle", "aten.pixel_unshuffle"),
    *("aten.repeat", "aten.reshape", "aten.roll", "aten.select", "aten.slice", "aten.split", "aten.split_with_sizes"),
    *("aten.squeeze", "aten.swapaxes", "aten.t", "aten.tile", "aten.transpose", "aten.unbind", "aten.unflatten"),
    *("aten.unsqueeze", "aten.upsample_nearest1d", "aten.upsample_nearest2d", "aten.upsample_nearest3d", "aten.view"),
    *("aten.view_as", "aten._unsafe_view", "aten.channel_shuffle"),
}
PLANES = {  # operators linear in a plane of so many axes, each plane for itself
    **dict.fromkeys(("aten.avg_pool1d", "aten.adaptive_avg_pool1d", "aten.upsample_linear1d"), 1),
    **dict.fromkeys(("aten.avg_pool2d", "aten.adaptive_avg_pool2d", "aten.upsample_bilinear2d"), 2),
    **dict.fromkeys(("aten.avg_pool3d", "aten.adaptive_avg_pool3d", "aten.upsample_trilinear3d"), 3),
}
OPERATORS: dict[str, Operator] = {
    "aten.add": add,
    "aten.sub": sub,
    "aten.rsub": rsub,
    "aten.mul": mul,
    "aten.div": div,
    "aten.neg": neg,
    **dict.fromkeys(("aten.clone", "aten.detach", "aten.contiguous", "aten.lift_fresh_copy"), identity),
    **dict.fromkeys(("aten.to", "aten._to_copy"), identity),
    **dict.fromkeys(("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout"), dropout),
    "aten.where": where,
    **dict.fromkeys(("aten.matmul", "aten.mm", "aten.bmm", "aten.mv", "aten.dot"), matmul),
    "aten.linear": linear,
    "aten.addmm": addmm,
    "aten.batch_norm": batch_norm,
    "aten._native_batch_norm_legit_no_training": batch_norm_tuple,
    **dict.fromkeys(("aten.conv1d", "aten.conv2d", "aten.conv3d"), conv),
    **dict.fromkeys(("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d"), conv_transpose),
    **{f"aten.max_pool{n}d": partial(max_pool, axes=n) for n in (1, 2, 3)},
    "aten.sum": total,
    "aten.mean": mean,
    "aten.amax": amax,
    "aten.amin": amin,
    "aten.max.default": amax,
    "aten.min.default": amin,
    "aten.max.dim": max_dim,
    "aten.min.dim": min_dim,
    **dict.fromkeys(("aten.max.other", "aten.maximum"), maximum),
    **dict.fromkeys(("aten.min.other", "aten.minimum"), minimum),
    "aten.relu": piecewise.relu,
    "aten.relu6": partial(piecewise.clip, lower=0.0, upper=6.0),
    "aten.abs": piecewise.absolute,
    "aten.leaky_relu": leaky_relu,
    "aten.prelu": prelu,
    "aten.hardtanh": hardtanh,
    "aten.hardsigmoid": hardsigmoid,
    "aten.threshold": threshold,
    "aten.pad": pad,
    "aten.constant_pad_nd": constant_pad,
    **dict.fromkeys(("aten.clamp", "aten.clip"), clamp),
    "aten.clamp_min": clamp_min,
    "aten.clamp_max": clamp_max,
}
# dropped where they end the network and logits are asked for
FINAL = {"aten.softmax", "aten._softmax", "aten.log_softmax", "aten._log_softmax", "aten.sigmoid", "aten.log_sigmoid"}
