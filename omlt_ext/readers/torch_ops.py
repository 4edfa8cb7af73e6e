"""The ATen operators that are lowered, by name: what `torch.export` writes a PyTorch module in.

Operators that only move entries are run by PyTorch itself on the positions of the entries (`move`), so that their
semantics is PyTorch's own. Data are `Tensor`s that keep the batch dimension, of size 1; constants are `torch.Tensor`s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils import _pytree as pytree

from . import piecewise, smooth
from . import torch_affine as affine
from . import torch_piecewise as bent
from .lowering import Lowering, Tensor
from .torch_values import Value, numbers, operator_name

Operator: TypeAlias = Callable[..., Value]


def move(graph: Lowering, target: Any, args: Any, kwargs: Any) -> Value:
    """Run an operator that only moves entries on the positions of the entries."""
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
    return pytree.tree_map(lambda out: everything.pick(out.numpy().astype(np.int64)), found)


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
    *("aten.alias", "aten.atleast_1d", "aten.atleast_2d", "aten.chunk", "aten.diagonal"),
    *("aten.expand", "aten.expand_as", "aten.flatten", "aten.flip", "aten.gather", "aten.index", "aten.index_select"),
    *("aten.movedim", "aten.narrow", "aten.numpy_T", "aten.permute", "aten.pixel_shuffle", "aten.pixel_unshuffle"),
    *("aten.repeat", "aten.reshape", "aten.roll", "aten.select", "aten.slice", "aten.split", "aten.split_with_sizes"),
    *("aten.squeeze", "aten.swapaxes", "aten.t", "aten.tile", "aten.transpose", "aten.unbind", "aten.unflatten"),
    *("aten.unsqueeze", "aten.upsample_nearest1d", "aten.upsample_nearest2d", "aten.upsample_nearest3d", "aten.view"),
    *("aten.view_as", "aten._unsafe_view", "aten.channel_shuffle"),
}
# constants that take no more than the shape of their data
SHAPED = {
    *("aten.zeros_like", "aten.ones_like", "aten.full_like", "aten.new_zeros", "aten.new_ones", "aten.new_full"),
}
PLANES = {  # operators linear in a plane of so many axes, each plane for itself
    **dict.fromkeys(("aten.avg_pool1d", "aten.adaptive_avg_pool1d", "aten.upsample_linear1d"), 1),
    **dict.fromkeys(("aten.avg_pool2d", "aten.adaptive_avg_pool2d", "aten.upsample_bilinear2d"), 2),
    **dict.fromkeys(("aten.avg_pool3d", "aten.adaptive_avg_pool3d", "aten.upsample_trilinear3d"), 3),
}
OPERATORS: dict[str, Operator] = {
    "aten.add": affine.add,
    "aten.sub": affine.sub,
    "aten.rsub": affine.rsub,
    "aten.mul": affine.mul,
    "aten.div": affine.div,
    "aten.neg": affine.neg,
    **dict.fromkeys(("aten.clone", "aten.detach", "aten.contiguous", "aten.lift_fresh_copy"), affine.identity),
    **dict.fromkeys(("aten.to", "aten._to_copy"), affine.identity),
    **dict.fromkeys(("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout"), affine.dropout),
    "aten.where": affine.where,
    **dict.fromkeys(("aten.matmul", "aten.mm", "aten.bmm", "aten.mv", "aten.dot"), affine.matmul),
    "aten.linear": affine.linear,
    "aten.addmm": affine.addmm,
    "aten.batch_norm": affine.batch_norm,
    "aten._native_batch_norm_legit_no_training": affine.batch_norm_tuple,
    **dict.fromkeys(("aten.conv1d", "aten.conv2d", "aten.conv3d"), affine.conv),
    **dict.fromkeys(("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d"), affine.conv_transpose),
    **{f"aten.max_pool{n}d": partial(bent.max_pool, axes=n) for n in (1, 2, 3)},
    "aten.sum": affine.total,
    "aten.mean": affine.mean,
    "aten.amax": bent.amax,
    "aten.amin": bent.amin,
    "aten.max.default": bent.amax,
    "aten.min.default": bent.amin,
    "aten.max.dim": bent.max_dim,
    "aten.min.dim": bent.min_dim,
    **dict.fromkeys(("aten.max.other", "aten.maximum"), bent.maximum),
    **dict.fromkeys(("aten.min.other", "aten.minimum"), bent.minimum),
    "aten.relu": piecewise.relu,
    "aten.relu6": partial(piecewise.clip, lower=0.0, upper=6.0),
    "aten.abs": piecewise.absolute,
    "aten.leaky_relu": bent.leaky_relu,
    "aten.prelu": bent.prelu,
    "aten.hardtanh": bent.hardtanh,
    "aten.hardsigmoid": bent.hardsigmoid,
    "aten.threshold": bent.threshold,
    "aten.pad": pad,
    "aten.constant_pad_nd": constant_pad,
    **dict.fromkeys(("aten.clamp", "aten.clip"), bent.clamp),
    "aten.clamp_min": bent.clamp_min,
    "aten.clamp_max": bent.clamp_max,
    "aten.sigmoid": smooth.sigmoid,
    "aten.tanh": smooth.tanh,
    "aten.softplus": bent.softplus,
}
SMOOTH = {"aten.sigmoid", "aten.tanh", "aten.softplus"}
# dropped where they end the network and logits are asked for
FINAL = {"aten.softmax", "aten._softmax", "aten.log_softmax", "aten._log_softmax", "aten.sigmoid", "aten.log_sigmoid"}
