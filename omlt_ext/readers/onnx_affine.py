"""ONNX operators that are affine in their data: arithmetic, matrix products, convolutions, averages, normalisation.

Each function takes a `Node` and gives the value of its output.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from ..errors import ReadError
from .lowering import Tensor
from .onnx_node import Array, Node, Value, lowers
from .piecewise import scale_and_shift
from .symbolic import MAX_NONZEROS, units
from .windows import Windows, average_pool, convolution, per_example, place_windows, transposed_convolution


def _pair(node: Node) -> tuple[Tensor, Tensor]:
    """Both operands; before version 7 the second was broadcast from an axis on."""
    a, b = node.data(0), node.data(1)
    if node.opset < 7 and "axis" in node.attributes and b.ndim:
        axis = node.axis(node.attribute("axis"), a.ndim)
        b = b.reshape(b.shape + (1,) * (a.ndim - axis - b.ndim))
    return a, b


def _values(t: Tensor) -> Array:
    return t.offset.reshape(t.shape)


@lowers("Add")
def add(node: Node) -> Value:
    a, b = _pair(node)
    return a.graph.hold(a + b)


@lowers("Sub")
def sub(node: Node) -> Value:
    a, b = _pair(node)
    return a.graph.hold(a - b)


@lowers("Mul")
def mul(node: Node) -> Value:
    a, b = _pair(node)
    if b.matrix.nnz and a.matrix.nnz:
        node.refuse("of two tensors that both depend on the inputs is not piecewise linear; one must be constant")
    return a * _values(b) if not b.matrix.nnz else b * _values(a)


@lowers("Div")
def div(node: Node) -> Value:
    a, b = _pair(node)
    if b.matrix.nnz:
        node.refuse("by a tensor that depends on the inputs is not piecewise linear; the divisor must be constant")
    if not _values(b).all():
        raise ReadError(f"the divisor {node.proto.input[1]!r} holds a zero")
    return a / _values(b)


@lowers("Neg")
def neg(node: Node) -> Value:
    return -node.data()


@lowers("Sum", "Mean")
def total(node: Node) -> Value:
    result = node.data(0)
    for i in range(1, len(node.inputs)):
        result = result + node.data(i)
    result = result.graph.hold(result)
    return result / len(node.inputs) if node.operator == "Mean" else result


@lowers("MatMul")
def matmul(node: Node) -> Value:
    return multiply(node, node.data(0), node.data(1))


def multiply(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """a @ b as NumPy defines it, one of them constant."""
    if a.matrix.nnz and b.matrix.nnz:
        node.refuse("of two tensors that both depend on the inputs is not piecewise linear; one must be constant")
    if not a.ndim or not b.ndim:
        raise ReadError(f"a matrix product of shapes {a.shape} and {b.shape} does not exist")
    vector_a, vector_b = a.ndim == 1, b.ndim == 1
    a = a.reshape((1, a.size)) if vector_a else a
    b = b.reshape((b.size, 1)) if vector_b else b
    (m, k), (k2, n) = a.shape[-2:], b.shape[-2:]
    if k != k2:
        raise ReadError(f"a matrix product of shapes {a.shape} and {b.shape} does not exist")
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, *(() if vector_a else (m,)), *(() if vector_b else (n,)))
    if math.prod(batch) * m * n * k > MAX_NONZEROS:
        raise ReadError(f"a matrix product of shapes {a.shape} and {b.shape} is too large to lower")
    data, on_right = (a, True) if not b.matrix.nnz else (b, False)
    weights = np.broadcast_to(_values(b if on_right else a), (*batch, k, n) if on_right else (*batch, m, k))
    data = data.broadcast_to((*batch, m, k) if on_right else (*batch, k, n))
    if on_right:  # row i of the result: W^T a[i]
        blocks = [per_example(W.T, m) for W in weights.reshape(-1, k, n)]
    else:
        blocks = [
            sparse.kron(W, units(np.arange(n), n), format="csr") if n > 1 else W for W in weights.reshape(-1, m, k)
        ]
    return data.linear(blocks[0] if len(blocks) == 1 else sparse.block_diag(blocks, format="csr"), shape)


@lowers("Gemm")
def gemm(node: Node) -> Value:
    a, b = node.data(0), node.data(1)
    if a.ndim != 2 or b.ndim != 2:
        raise ReadError(f"Gemm takes matrices, not tensors of shapes {a.shape} and {b.shape}")
    a = a.transpose() if node.attribute("transA", 0) else a
    b = b.transpose() if node.attribute("transB", 0) else b
    result = multiply(node, a, b) * node.number("alpha", 1.0)
    if not node.has(2):
        return result
    c = node.data(2) * node.number("beta", 1.0)
    if np.broadcast_shapes(c.shape, result.shape) != result.shape:
        raise ReadError(f"C of shape {c.shape} does not broadcast to {result.shape}")
    return result.graph.hold(result + c)


@lowers("BatchNormalization")
def batch_normalization(node: Node) -> Value:
    x = node.data(0)
    training = node.attribute("training_mode", 0) if node.opset >= 14 else len([o for o in node.proto.output if o]) > 1
    if training or (node.opset < 7 and not node.attribute("is_test", 0)):
        node.refuse("in training mode depends on the batch; export the model in evaluation mode")
    if x.ndim < 2 or not node.attribute("spatial", 1):
        node.refuse("is lowered for one statistic per channel (axis 1)")
    scale, shift, mean, variance = (node.finite(i) for i in range(1, 5))
    for values in (scale, shift, mean, variance):
        if values.shape != (x.shape[1],):
            raise ReadError(f"a statistic has shape {values.shape}, the data {x.shape[1]} channels")
    factor = scale / np.sqrt(variance + node.number("epsilon", 1e-5))
    return scale_and_shift(x, factor, shift - mean * factor, axis=1)


def windows_of(node: Node, x: Tensor, kernel: list[int] | None) -> Windows:
    """The windows of a convolution or pooling node over x (N, C, spatial...)."""
    n = x.ndim - 2
    if n < 1 or kernel is None or len(kernel) != n:
        raise ReadError(f"a kernel of shape {kernel} does not fit data of shape {x.shape}; axes 2 on are spatial")
    auto = node.attribute("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", ""):
        raise ReadError(f"auto_pad {auto!r} is none of NOTSET, SAME_UPPER, SAME_LOWER and VALID")
    return place_windows(
        x.shape[2:],
        kernel,
        stride=node.attribute("strides", [1] * n),
        dilation=node.attribute("dilations", [1] * n),
        pads=[0] * (2 * n) if auto == "VALID" else node.attribute("pads", [0] * (2 * n)),
        same={"SAME_UPPER": "upper", "SAME_LOWER": "lower"}.get(auto),
        ceil=bool(node.attribute("ceil_mode", 0)),
    )


def _with_bias(node: Node, y: Tensor) -> Tensor:
    if not node.has(2):
        return y
    bias = node.finite(2, "bias")
    if bias.shape != (y.shape[1],):
        raise ReadError(f"the bias has shape {bias.shape}, the output {y.shape[1]} channels")
    return y + bias.reshape(-1, *[1] * (y.ndim - 2))


@lowers("Conv")
def conv(node: Node) -> Value:
    x, weight = node.data(0), node.finite(1, "weight")
    kernel = list(weight.shape[2:])
    if node.attribute("kernel_shape", kernel) != kernel:
        raise ReadError(f"kernel_shape {node.attribute('kernel_shape')} is not that of the weight {weight.shape}")
    windows = windows_of(node, x, kernel)
    K = convolution(weight, windows, x.shape[1], int(node.attribute("group", 1)))
    y = x.linear(per_example(K, x.shape[0]), (x.shape[0], weight.shape[0], *windows.positions))
    return _with_bias(node, y)


@lowers("ConvTranspose")
def conv_transpose(node: Node) -> Value:
    x, weight = node.data(0), node.finite(1, "weight")
    n, group = x.ndim - 2, int(node.attribute("group", 1))
    if n < 1 or weight.ndim != x.ndim:
        raise ReadError(f"a weight of shape {weight.shape} does not fit data of shape {x.shape}")
    S, K = np.array(x.shape[2:]), np.array(weight.shape[2:])
    stride, dilation = (np.array(node.attribute(name, [1] * n)) for name in ("strides", "dilations"))
    extra = np.array(node.attribute("output_padding", [0] * n))
    auto = node.attribute("auto_pad", "NOTSET")
    full = stride * (S - 1) + extra + (K - 1) * dilation + 1
    shape = node.attribute("output_shape")
    if shape is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        shape = stride * S
    if shape is None:
        pads = np.array([0] * (2 * n) if auto == "VALID" else node.attribute("pads", [0] * (2 * n)))
        before, out = pads[:n], full - pads[:n] - pads[n:]
    else:
        out = np.array(shape)[-n:]
        total = full - out
        before = total // 2 if auto == "SAME_UPPER" else total - total // 2
    if (out < 1).any() or (stride < 1).any() or (dilation < 1).any() or group < 1:
        raise ReadError(f"its output would have the spatial shape {tuple(out.tolist())}")
    fields = (out, K, stride, dilation, before, out * 0, S)
    windows = Windows(*(tuple(int(v) for v in field) for field in fields))
    K_map = transposed_convolution(weight, windows, x.shape[1], group)
    channels = weight.shape[1] * group
    return _with_bias(node, x.linear(per_example(K_map, x.shape[0]), (x.shape[0], channels, *windows.size)))


@lowers("AveragePool")
def average_pooling(node: Node) -> Value:
    x = node.data()
    windows = windows_of(node, x, node.attribute("kernel_shape"))
    K = average_pool(windows, x.shape[0] * x.shape[1], bool(node.attribute("count_include_pad", 0)))
    return x.linear(K, (*x.shape[:2], *windows.positions))


@lowers("GlobalAveragePool")
def global_average_pooling(node: Node) -> Value:
    x = node.data()
    axes = tuple(range(2, x.ndim))
    return x.sum(axes, keepdims=True) / math.prod(x.shape[2:])


def reduction_axes(node: Node, x: Tensor) -> tuple[tuple[int, ...], bool]:
    """(axes, keepdims) of a Reduce... node; no axes where the node is to change nothing."""
    axes = node.integers(1, "axes")
    if not axes:
        axes = [] if node.attribute("noop_with_empty_axes", 0) else list(range(x.ndim))
    return node.axes(axes, x.ndim), bool(node.attribute("keepdims", 1))


@lowers("ReduceSum", "ReduceMean")
def reduce_linear(node: Node) -> Value:
    x = node.data()
    axes, keepdims = reduction_axes(node, x)
    if not axes:
        return x
    y = x.sum(axes, keepdims)
    return y / math.prod(x.shape[a] for a in axes) if node.operator == "ReduceMean" else y


@lowers("CumSum")
def cumulative_sum(node: Node) -> Value:
    x = node.data()
    axis = node.axis(int(node.constant(1, "axis").ravel()[0]), x.ndim)
    length = x.shape[axis]
    earlier = np.tril(np.ones((length, length)), -1 if node.attribute("exclusive", 0) else 0)
    earlier = earlier.T if node.attribute("reverse", 0) else earlier
    moved = np.moveaxis(x.index(), axis, -1)
    sums = x.pick(moved).linear(per_example(sparse.csr_array(earlier), x.size // length), moved.shape)
    return sums.pick(np.moveaxis(sums.index(), -1, axis))


@lowers("Scaler", domain="ai.onnx.ml")
def scaler(node: Node) -> Value:
    shift, scale = (
        np.asarray(node.attribute(name, default)) for name, default in (("offset", [0.0]), ("scale", [1.0]))
    )
    return (node.data() - shift) * scale


@lowers("LinearRegressor", domain="ai.onnx.ml")
def linear_regressor(node: Node) -> Value:
    x = node.data()
    targets = int(node.attribute("targets", 1))
    if node.attribute("post_transform", "NONE") != "NONE" or x.ndim != 2:
        node.refuse("is lowered for rows of features and without a post_transform")
    weight = np.array(node.attribute("coefficients", [])).reshape(targets, -1)
    if weight.shape[1] != x.shape[1]:
        raise ReadError(f"it has coefficients for {weight.shape[1]} features, the data has {x.shape[1]}")
    y = x.linear(per_example(sparse.csr_array(weight), x.shape[0]), (x.shape[0], targets))
    return y + np.array(node.attribute("intercepts", [0.0] * targets))
