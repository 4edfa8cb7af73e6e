"""ONNX operators that only move entries: reshapes, slices, splits, pads, gathers. Each becomes an index map.

Each function takes a `Node` and gives the values of its outputs.
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from ..errors import ReadError
from .lowering import Tensor
from .onnx_double import HALVES, REALS
from .onnx_fold import evaluate
from .onnx_node import Array, Node, Value, lowers
from .symbolic import check_size

BASIS = 4096  # entries of the data up to which a rare linear operator is found column by column


@lowers("Identity")
def identity(node: Node) -> Value:
    return node.data()


@lowers("Cast", "CastLike")
def cast(node: Node) -> Value:
    if node.operator == "CastLike":
        real = isinstance(node.inputs[1], Tensor) or np.asarray(node.inputs[1]).dtype.kind == "f"
    else:
        to = node.attribute("to")  # a name before version 6, a number since
        real = to in REALS or (isinstance(to, str) and to in ("FLOAT", "FLOAT16", "DOUBLE"))
        if to in HALVES:
            node.refuse("of data to half precision rounds it, which is not piecewise linear")
    if not real:
        node.refuse("of data to integers or truth values is not piecewise linear; only real types are lowered")
    return node.data()


@lowers("Dropout")
def dropout(node: Node) -> list[Value]:
    x = node.data()
    if node.opset < 7:
        training = not node.attribute("is_test", 0) and node.opset >= 12
        ratio = node.number("ratio", 0.5)
    else:
        training = bool(node.constant(2, "training_mode").reshape(())) if node.has(2) else False
        ratio = float(node.constant(1, "ratio").reshape(())) if node.has(1) else 0.5
    if training and ratio > 0:
        node.refuse("in training mode is random; export the model in evaluation mode")
    return [x, np.ones(x.shape, dtype=bool)]


@lowers("Reshape")
def reshape(node: Node) -> Value:
    x = node.data()
    target = node.integers(1, "shape") or []
    keep_zero = bool(node.attribute("allowzero", 0))
    shape = []
    for a, size in enumerate(target):
        if size == 0 and not keep_zero:
            if a >= x.ndim:
                raise ReadError(f"the shape {target} copies axis {a}, the data has {x.ndim} axes")
            size = x.shape[a]
        shape.append(size)
    return x.reshape(_complete(shape, x))


def _complete(shape: list[int], x: Tensor) -> list[int]:
    """`shape` with its one -1 filled in."""
    free = [a for a, size in enumerate(shape) if size == -1]
    rest = math.prod(size for size in shape if size != -1)
    if len(free) > 1 or any(size < -1 for size in shape):
        raise ReadError(f"the shape {shape} is not one")
    if (free and (rest == 0 or x.size % rest)) or (not free and rest != x.size):
        raise ReadError(f"{x.size} numbers of shape {x.shape} do not take the shape {shape} (with a batch of one)")
    return [x.size // rest if size == -1 else size for size in shape]


@lowers("Flatten")
def flatten(node: Node) -> Value:
    x = node.data()
    axis = int(node.attribute("axis", 1))
    axis = x.ndim if axis == x.ndim else node.axis(axis, x.ndim)
    return x.reshape((math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@lowers("Transpose")
def transpose(node: Node) -> Value:
    x = node.data()
    axes = node.axes(node.attribute("perm", list(range(x.ndim))[::-1]), x.ndim)
    if len(axes) != x.ndim:
        raise ReadError(f"perm {axes} does not order the {x.ndim} axes of {x.shape}")
    return x.transpose(axes)


@lowers("Squeeze")
def squeeze(node: Node) -> Value:
    x = node.data()
    axes = node.integers(1, "axes")
    gone = [a for a, size in enumerate(x.shape) if size == 1] if axes is None else node.axes(axes, x.ndim)
    if any(x.shape[a] != 1 for a in gone):
        raise ReadError(f"axes {tuple(gone)} of shape {x.shape} are not all of size 1")
    return x.reshape([size for a, size in enumerate(x.shape) if a not in gone])


@lowers("Unsqueeze")
def unsqueeze(node: Node) -> Value:
    x = node.data()
    axes = node.integers(1, "axes") or []
    new = node.axes(axes, x.ndim + len(axes))
    sizes = iter(x.shape)
    return x.reshape([1 if a in new else next(sizes) for a in range(x.ndim + len(axes))])


@lowers("Slice")
def slice_(node: Node) -> Value:
    x = node.data()
    starts, ends = node.integers(1, "starts") or [], node.integers(2, "ends") or []
    axes = node.integers(3, "axes")
    axes = list(range(len(starts))) if axes is None else axes
    steps = (node.integers(4, "steps") if node.has(4) else None) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ReadError(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not fit each other")
    cut: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(node.axes(axes, x.ndim), starts, ends, steps, strict=True):
        size = x.shape[axis]
        start, end = (v + size if v < 0 else v for v in (start, end))
        if step > 0:
            cut[axis] = slice(min(max(start, 0), size), min(max(end, 0), size), step)
        else:
            first, last = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
            cut[axis] = slice(first, None if last < 0 else last, step)
    return x.pick(x.index()[tuple(cut)])


@lowers("Split")
def split(node: Node) -> list[Value]:
    x = node.data()
    axis = node.axis(int(node.attribute("axis", 0)), x.ndim)
    parts, size = len(node.proto.output), x.shape[axis]
    lengths = node.integers(1, "split")
    if lengths is None:
        count = int(node.attribute("num_outputs", parts))
        whole = -(-size // count)
        lengths = [whole] * (count - 1) + [size - whole * (count - 1)]
    if len(lengths) != parts or sum(lengths) != size or min(lengths) < 0:
        raise ReadError(f"axis {axis} of shape {x.shape} does not split into {parts} parts of lengths {lengths}")
    return [x.pick(part) for part in np.split(x.index(), np.cumsum(lengths)[:-1], axis=axis)]


@lowers("Concat")
def concat(node: Node) -> Value:
    tensors = [node.data(i) for i in range(len(node.inputs))]
    axis = node.axis(int(node.attribute("axis", 1)), tensors[0].ndim)
    return node.graph.concatenate(tensors, axis)


@lowers("Pad")
def pad(node: Node) -> Value:
    x = node.data()
    mode = node.attribute("mode", "constant")
    pads = node.integers(1, "pads" if node.opset >= 2 else "paddings") or []
    axes = node.axes(node.integers(3, "axes", list(range(x.ndim))) or [], x.ndim)
    if len(pads) != 2 * len(axes):
        raise ReadError(f"pads {pads} do not hold a beginning and an end for each of the axes {axes}")
    value = node.number("value", 0.0)
    if node.opset >= 11 and node.has(2):
        value = float(node.finite(2, "constant_value").reshape(()))
    width = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        width[axis] = (pads[i], pads[i + len(axes)])
    check_size([size + max(a, 0) + max(b, 0) for size, (a, b) in zip(x.shape, width, strict=True)])
    index = x.index()[tuple(slice(max(-a, 0), size - max(-b, 0)) for size, (a, b) in zip(x.shape, width, strict=True))]
    grow = [(max(a, 0), max(b, 0)) for a, b in width]
    if mode == "constant":
        return x.pick(np.pad(index, grow, constant_values=-1), fill=value)
    if mode not in ("reflect", "edge", "wrap"):
        node.refuse(f"with mode {mode!r} is not lowered; constant, reflect, edge and wrap are")
    return x.pick(np.pad(index, grow, mode=mode))


@lowers("Gather")
def gather(node: Node) -> Value:
    x, index = node.data(), node.constant(1, "indices")
    axis = node.axis(int(node.attribute("axis", 0)), x.ndim)
    if index.dtype.kind not in "iu":
        raise ReadError(f"its indices are of type {index.dtype}, not integers")
    if index.size and not (-x.shape[axis] <= index.min() and index.max() < x.shape[axis]):
        raise ReadError(f"its indices {index.min()} to {index.max()} leave axis {axis} of shape {x.shape}")
    return x.pick(np.take(x.index(), index, axis=axis))


@lowers("ArrayFeatureExtractor", domain="ai.onnx.ml")
def extract_features(node: Node) -> Value:
    x, index = node.data(), node.constant(1, "indices").ravel()
    picked = x.index()[..., index]
    return x.pick(picked.reshape(1, -1) if x.ndim == 1 else picked)


@lowers("Expand")
def expand(node: Node) -> Value:
    x = node.data()
    return x.broadcast_to(np.broadcast_shapes(x.shape, tuple(node.integers(1, "shape") or ())))


@lowers("Tile")
def tile(node: Node) -> Value:
    x = node.data()
    if node.opset < 6:
        repeats = [1] * x.ndim
        axis = node.axis(int(node.constant(2, "axis").reshape(())), x.ndim)
        repeats[axis] = int(node.constant(1, "tiles").reshape(()))
    else:
        repeats = node.integers(1, "repeats") or []
    if len(repeats) != x.ndim or min(repeats, default=1) < 0:
        raise ReadError(f"repeats {repeats} do not fit the shape {x.shape}")
    check_size([size * times for size, times in zip(x.shape, repeats, strict=True)])
    return x.pick(np.tile(x.index(), repeats))


@lowers("Where")
def where(node: Node) -> Value:
    condition = node.constant(0, "condition").astype(bool)
    a, b = node.data(1), node.data(2)
    shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
    both = node.graph.concatenate([t.broadcast_to(shape).reshape((math.prod(shape),)) for t in (a, b)], axis=0)
    first = np.arange(math.prod(shape)).reshape(shape)
    return both.pick(np.where(np.broadcast_to(condition, shape), first, first + first.size))


@lowers("DepthToSpace", "SpaceToDepth")
def space_and_depth(node: Node) -> Value:
    x, b = node.data(), int(node.attribute("blocksize", 0))
    if x.ndim != 4 or b < 1:
        raise ReadError(f"data of shape {x.shape} and blocks of {b} do not fit; the data must be (N, C, H, W)")
    n, c, h, w = x.shape
    if node.operator == "SpaceToDepth":
        cells = x.index().reshape(n, c, h // b, b, w // b, b)
        order = (0, 3, 5, 1, 2, 4) if node.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
        return x.pick(cells.transpose(order).reshape(n, c * b * b, h // b, w // b))
    if node.attribute("mode", "DCR") == "DCR":
        cells = x.index().reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        cells = x.index().reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return x.pick(cells.reshape(n, c // (b * b), h * b, w * b))


@lowers("Shape")
def shape(node: Node) -> Value:
    x = node.data()
    return np.array(x.shape[slice(node.attribute("start", 0), node.attribute("end", None))], dtype=np.int64)


@lowers("Size")
def size(node: Node) -> Value:
    return np.array(node.data().size, dtype=np.int64)


@lowers(
    "GatherElements",
    "GatherND",
    "ScatterND",
    "ScatterElements",
    "Trilu",
    "ReverseSequence",
    "Compress",
    "CenterCropPad",
)
def moved(node: Node) -> list[Value]:
    """Rarer moves, asked of the standard's own evaluator: it is run on entry numbers instead of entries."""
    if node.attribute("reduction", "none") != "none":
        node.refuse("is lowered without a reduction")
    return by_numbers(node)


@lowers("Resize", "Upsample")
def resize(node: Node) -> list[Value]:
    return by_numbers(node) if node.attribute("mode", "nearest") == "nearest" else by_basis(node)


@lowers("Einsum")
def einsum(node: Node) -> list[Value]:
    if sum(isinstance(value, Tensor) and value.matrix.nnz > 0 for value in node.inputs) > 1:
        node.refuse("of two tensors that both depend on the inputs is not piecewise linear; one must be constant")
    return by_basis(node)


def by_basis(node: Node) -> list[Value]:
    """A node that is linear in its one data input, found by running the evaluator on zero and every unit tensor."""
    at = next(i for i, value in enumerate(node.inputs) if isinstance(value, Tensor))
    x = node.data(at)
    if x.size > BASIS:
        node.refuse(f"is lowered for at most {BASIS} entries, not {x.size}")
    feeds = [*node.inputs]
    columns = []
    for unit in range(-1, x.size):
        probe = np.zeros(x.size)
        probe[max(unit, 0)] = float(unit >= 0)
        feeds[at] = probe.reshape(x.shape)
        columns.append(evaluate(node.proto, node.opset, feeds)[0])
    offset = columns[0].ravel()
    K = np.stack([column.ravel() for column in columns[1:]], axis=1) - offset[:, None]
    return [x.linear(K, columns[0].shape) + offset.reshape(columns[0].shape)]


def by_numbers(node: Node) -> list[Value]:
    """The node as an index map, found by running it on the entry numbers 1, 2, ... of its data; 0 is a zero."""
    data = [i for i, value in enumerate(node.inputs) if isinstance(value, Tensor)]
    if any(
        i not in data and _is_real(node.inputs[i]) for i in range(len(node.inputs)) if node.operator[:7] == "Scatter"
    ):
        data = [i for i in range(len(node.inputs)) if i in data or _is_real(node.inputs[i])]
    flat = [node.data(i).reshape((node.data(i).size,)) for i in data]
    joined = node.graph.concatenate(flat, axis=0)
    feeds = list(node.inputs)
    start = 1
    for i in data:
        x = node.data(i)
        feeds[i] = (x.index() + start).astype(np.float64)
        start += x.size
    return [joined.pick(np.rint(out).astype(np.int64) - 1) for out in evaluate(node.proto, node.opset, feeds)]


def _is_real(value: Value) -> bool:
    return value is not None and not isinstance(value, Tensor) and np.asarray(value).dtype.kind == "f"


@lowers("ConstantOfShape")
def constant_of_shape(node: Node) -> Value:
    dims = node.integers(0, "shape") or []
    check_size(dims)
    value = node.attribute("value")
    fill: Array = np.zeros(1) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(dims, fill.ravel()[0], dtype=fill.dtype)
