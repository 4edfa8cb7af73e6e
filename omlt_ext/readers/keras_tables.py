"""Which Keras layers, activations and operators are lowered, by name; those that merge tensors or act on each entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, TypeAlias

from . import keras_layers as lower
from . import piecewise
from .keras_values import Refusal, array
from .lowering import Tensor
from .smooth import BY_NAME

Lower: TypeAlias = Callable[..., Tensor]


def add(tensors: Sequence[Tensor], layer: Any) -> Tensor:
    result = tensors[0]
    for t in tensors[1:]:
        result = result + t
    return result.graph.hold(result)


def subtract(tensors: Sequence[Tensor], layer: Any) -> Tensor:
    return tensors[0].graph.hold(tensors[0] - tensors[1])


def average(tensors: Sequence[Tensor], layer: Any) -> Tensor:
    return add(tensors, layer) / len(tensors)


def concatenate(tensors: Sequence[Tensor], layer: Any) -> Tensor:
    return tensors[0].graph.concatenate(tensors, int(layer.axis))


def maximum(tensors: Sequence[Tensor], layer: Any) -> Tensor:
    return reduce(piecewise.maximum, tensors)


def minimum(tensors: Sequence[Tensor], layer: Any) -> Tensor:
    return reduce(piecewise.minimum, tensors)


LAYERS: dict[str, Lower] = {
    **dict.fromkeys(("InputLayer", "Identity", "ActivityRegularization", "Activation", "Softmax"), lower.identity),
    **dict.fromkeys(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), lower.identity),
    **dict.fromkeys(("AlphaDropout", "GaussianDropout", "GaussianNoise"), lower.identity),
    "Dense": lower.dense,
    "ReLU": lower.relu,
    "LeakyReLU": lower.leaky_relu,
    "PReLU": lower.prelu,
    "Flatten": lower.flatten,
    "Reshape": lower.reshape,
    "Permute": lower.permute,
    "RepeatVector": lower.repeat_vector,
    "BatchNormalization": lower.batch_normalization,
    "Rescaling": lower.rescaling,
    "Normalization": lower.normalization,
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), lower.conv),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), lower.depthwise_conv),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), lower.separable_conv),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), lower.conv_transpose),
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D", "MaxPooling3D"), lower.max_pooling),
    **dict.fromkeys(("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"), lower.average_pooling),
    **dict.fromkeys(
        ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"), lower.global_average
    ),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D"), lower.global_max),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), lower.zero_padding),
    **dict.fromkeys(("Cropping1D", "Cropping2D", "Cropping3D"), lower.cropping),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D", "UpSampling3D"), lower.upsampling),
    "Add": add,
    "Subtract": subtract,
    "Average": average,
    "Concatenate": concatenate,
    "Maximum": maximum,
    "Minimum": minimum,
}

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda t: t,
    "relu": piecewise.relu,
    "relu6": partial(piecewise.clip, lower=0.0, upper=6.0),
    "leaky_relu": partial(piecewise.leaky_relu, slope=0.2),
    "hard_sigmoid": lambda t: piecewise.clip(t / 6.0 + 0.5, 0.0, 1.0),
    "hard_tanh": partial(piecewise.clip, lower=-1.0, upper=1.0),
}
FINAL = ("softmax", "log_softmax", "sigmoid", "log_sigmoid")


def _product(a: Any, b: Any) -> Tensor:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        raise Refusal("of two tensors that both depend on the input is not piecewise linear")
    return a * array(b) if isinstance(a, Tensor) else b * array(a)


def _quotient(a: Any, b: Any) -> Tensor:
    if isinstance(b, Tensor):
        raise Refusal("by a tensor that depends on the input is not piecewise linear")
    return a / array(b)


def _sum(a: Any, b: Any) -> Tensor:
    a, b = (v if isinstance(v, Tensor) else array(v) for v in (a, b))
    return a + b


def _difference(a: Any, b: Any) -> Tensor:
    return _sum(a, -b if isinstance(b, Tensor) else -array(b))


OPERATIONS: dict[str, Lower] = {  # keras.ops in a functional model, where x + 1 and the like become such nodes
    "Add": _sum,
    "Subtract": _difference,
    "Multiply": _product,
    **dict.fromkeys(("Divide", "TrueDivide"), _quotient),
    "Negative": lambda t: -t,
    **dict.fromkeys(("Abs", "Absolute"), piecewise.absolute),
    "Relu": piecewise.relu,
    "Relu6": ACTIVATIONS["relu6"],
    **{name.capitalize(): act for name, act in BY_NAME.items()},
}
