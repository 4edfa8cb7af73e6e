"""ONNX operators that act on each entry or choose among entries: ReLU and its kin, clips, maxima, smooth activations.

Each function takes a `Node` and gives the value of its output.
"""

from __future__ import annotations

import math

import numpy as np

from ..domain import Floats
from ..errors import ReadError
from . import piecewise, smooth
from .lowering import Tensor
from .onnx_affine import reduction_axes, windows_of
from .onnx_node import Node, Value, lowers
from .symbolic import reduced_shape
from .windows import pool_index


@lowers("Relu")
def relu(node: Node) -> Value:
    return piecewise.relu(node.data())


@lowers("LeakyRelu")
def leaky_relu(node: Node) -> Value:
    return piecewise.leaky_relu(node.data(), node.number("alpha", 0.01))


@lowers("PRelu")
def prelu(node: Node) -> Value:
    x, slope = node.data(), node.finite(1, "slope")
    if node.opset < 7 and slope.ndim == 1 and x.ndim > 2:
        slope = slope.reshape(-1, *[1] * (x.ndim - 2))  # one slope per channel
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ReadError(f"a slope of shape {slope.shape} does not broadcast to {x.shape}")
    return piecewise.leaky_relu(x, slope)


@lowers("ThresholdedRelu")
def thresholded_relu(node: Node) -> Value:
    if node.attribute("alpha", 1.0) != 0.0:
        node.refuse("is piecewise linear and continuous only with alpha = 0")
    return piecewise.relu(node.data())


@lowers("Clip")
def clip(node: Node) -> Value:
    ends: list[float | None] = []
    for i, name in ((1, "min"), (2, "max")):
        if node.opset >= 11:
            value = float(node.constant(i, name).reshape(())) if node.has(i) else None
        else:
            value = node.attribute(name)
        ends.append(value)
    return piecewise.clip(node.data(), *ends)


@lowers("HardSigmoid")
def hard_sigmoid(node: Node) -> Value:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    return piecewise.clip(node.data() * alpha + beta, 0.0, 1.0)


@lowers("Sigmoid", "Tanh", "Softplus")
def smooth_activation(node: Node) -> Value:
    return smooth.BY_NAME[node.operator.lower()](node.data())


@lowers("Abs")
def absolute(node: Node) -> Value:
    return piecewise.absolute(node.data())


@lowers("Max", "Min")
def extreme(node: Node) -> Value:
    choose = piecewise.maximum if node.operator == "Max" else piecewise.minimum
    operands = [_operand(node, i) for i in range(len(node.inputs))]
    while len(operands) > 1:  # a balanced tree
        pairs = [choose(a, b) for a, b in zip(operands[::2], operands[1::2], strict=False)]
        operands = pairs + operands[2 * len(pairs) :]
    return operands[0]


def _operand(node: Node, i: int) -> Tensor:
    """Input i; a constant end beyond single precision, which stands for "no end", is cut to it."""
    if isinstance(node.inputs[i], Tensor):
        return node.data(i)
    values: Floats = np.asarray(node.constant(i, "operand"), dtype=np.float64)
    if np.isnan(values).any() or (np.abs(values) >= piecewise.UNBOUNDED).any():
        raise ReadError(f"tensor {node.proto.input[i]!r} holds a value that is not finite in single precision")
    return node.graph.constant(values)


@lowers("ReduceMax", "ReduceMin")
def reduce_extreme(node: Node) -> Value:
    x = node.data()
    axes, keepdims = reduction_axes(node, x)
    if not axes:
        return x
    last = np.moveaxis(x.index(), axes, tuple(range(-len(axes), 0)))
    groups = last.reshape(-1, math.prod(x.shape[a] for a in axes))
    pick = piecewise.largest if node.operator == "ReduceMax" else piecewise.smallest
    return pick(x, groups).reshape(reduced_shape(x.shape, axes, keepdims))


@lowers("ReduceL1")
def reduce_l1(node: Node) -> Value:
    x = piecewise.absolute(node.data())
    axes, keepdims = reduction_axes(node, x)
    return x.sum(axes, keepdims) if axes else x


@lowers("MaxPool")
def max_pool(node: Node) -> Value:
    x = node.data()
    windows = windows_of(node, x, node.attribute("kernel_shape"))
    groups = pool_index(windows, x.shape[0] * x.shape[1])
    return piecewise.largest(x, groups).reshape((*x.shape[:2], *windows.positions))


@lowers("GlobalMaxPool")
def global_max_pool(node: Node) -> Value:
    x = node.data()
    groups = x.index().reshape(x.shape[0] * x.shape[1], -1)
    return piecewise.largest(x, groups).reshape((*x.shape[:2], *[1] * (x.ndim - 2)))
