"""OMLT: a `NetworkDefinition` as it stands, its scaling folded in, so that inputs and outputs are unscaled.

The network is u(f(s(x))): f the definition's layers, s and u the scaling object's maps of inputs and of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from ..domain import Box, Floats
from ..errors import OmltExtError, ReadError, ShapeError, UnsupportedOperatorError
from ..mixed import AnyNetwork
from .check import check_import
from .lowering import Lowering, Tensor
from .piecewise import largest, relu
from .smooth import HINT, sigmoid, tanh
from .windows import Windows, convolution

SUPPORTED = "InputLayer, DenseLayer, ConvLayer2D and PoolingLayer2D in one chain, activations 'linear' and 'relu'"
SMOOTH = {"sigmoid": sigmoid, "tanh": tanh}


def read_omlt(definition: Any, *, smooth: bool = False) -> AnyNetwork:
    """The network of an OMLT `NetworkDefinition`, from unscaled inputs to unscaled outputs.

    `input_box` is taken from the unscaled input bounds, or from the scaled ones through the inverse of the scaling.
    Convolutions are read as the definition holds them: OMLT's own ONNX parser has dropped their biases by then.
    `smooth=True` reads the activations sigmoid and tanh as well (softplus OMLT itself does not evaluate).
    Raises `UnsupportedOperatorError` for other layers and activations, `ReadError` for a scaling that is not affine.

    >>> from omlt.neuralnet.layer import DenseLayer, InputLayer
    >>> from omlt.neuralnet.network_definition import NetworkDefinition
    >>> definition = NetworkDefinition(unscaled_input_bounds={0: (-1, 2)})
    >>> start, dense = InputLayer([1]), DenseLayer([1], [2], np.array([[1.0, -1.0]]), np.zeros(2), activation="relu")
    >>> for layer in (start, dense):
    ...     definition.add_layer(layer)
    >>> definition.add_edge(start, dense)
    >>> network = read_omlt(definition)
    >>> network([0.5]), network.input_box
    (array([0.5, 0. ]), Box([-1.], [2.]))
    """
    source = "OMLT NetworkDefinition"
    layers = _chain(definition)
    shape_in, shape_out = tuple(layers[0].output_size), tuple(layers[-1].output_size)
    scale = scaling_map(definition.scaling_object, "get_scaled_input_expressions", shape_in)
    unscale = scaling_map(definition.scaling_object, "get_unscaled_output_expressions", shape_out)
    factor, offset = affine_parts(scale, shape_in)
    out_factor, out_offset = affine_parts(unscale, shape_out)
    graph = Lowering(smooth)
    t = graph.input("input", shape_in) * factor + offset
    try:
        for k, layer in enumerate(layers[1:], start=1):
            t = _lower(t, layer, f"layer {k} ({type(layer).__name__})")
        t = t.reshape(shape_out) * out_factor + out_offset
    except (TypeError, ValueError) as error:
        if isinstance(error, OmltExtError) and not isinstance(error, ShapeError):
            raise
        raise ReadError(f"{source}: the layers do not fit each other: {error}") from None
    box = _box(definition, factor.ravel(), offset.ravel(), shape_in)
    network = graph.to_network({"output": t}, input_shape=shape_in, input_box=box, source=source)
    check_import(network, lambda x: _evaluate(layers, x, scale, unscale), source=source, tolerance=1e-9)
    return network


def _chain(definition: Any) -> list[Any]:
    """The layers from the one input to the one output."""
    layers = list(definition.layers)
    if not layers:
        raise ReadError("the NetworkDefinition has no layers; add them with add_layer and add_edge")
    for k, layer in enumerate(layers):
        before = list(definition.predecessors(layer))
        if [id(b) for b in before] != [id(b) for b in layers[max(k - 1, 0) : k]]:
            raise ReadError(
                f"layer {k} ({type(layer).__name__}) of the NetworkDefinition has {len(before)} layers before it; "
                "only chains, each layer after the one before, are read (add_edge joins two layers)"
            )
    if type(layers[0]).__name__ != "InputLayer":
        raise ReadError(f"the first layer of the NetworkDefinition is a {type(layers[0]).__name__}, not an InputLayer")
    return layers


def scaling_map(scaling: Any, method: str, shape: tuple[int, ...]) -> Callable[[Floats], Floats]:
    """A method of the scaling object as a function of flat vectors.

    Its keys are tuples of indices, or plain integers where there is one axis.
    """
    if scaling is None:
        return lambda values: values
    call = getattr(scaling, method)
    for keys in _keys(shape):
        try:
            call(dict.fromkeys(keys, 1.0))
        except Exception:  # OMLT and scaling objects of users raise all kinds here
            continue
        return partial(_scaled, call, keys)
    raise ReadError(f"the scaling object's {method} does not take {int(np.prod(shape))} values of the shape {shape}")


def _keys(shape: tuple[int, ...]) -> list[list[Any]]:
    tuples = list(np.ndindex(*shape))
    return [tuples, list(range(len(tuples)))]


def _scaled(call: Callable[[dict[Any, float]], Mapping[Any, Any]], keys: list[Any], values: Floats) -> Floats:
    found = call(dict(zip(keys, values.tolist(), strict=True)))
    return np.array([found[key] for key in keys], dtype=np.float64)


def affine_parts(f: Callable[[Floats], Floats], shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """(factor, offset), each of `shape`, with f(x) = factor x + offset entry by entry."""
    far = 2.0**20  # a wide step, so that a large offset does not cancel the factor's digits
    ones = np.ones(int(np.prod(shape)))
    offset = f(0.0 * ones)
    factor = (f(far * ones) - f(-far * ones)) / (2.0 * far)
    for p in (1.0, -3.0):
        if not (np.abs(f(p * ones) - p * factor - offset) <= 1e-9 * (np.abs(factor) + np.abs(offset))).all():
            raise ReadError(
                "the scaling object is not affine with finite numbers: it cannot be folded into the network"
            )
    return factor.reshape(shape), offset.reshape(shape)


def _box(definition: Any, factor: Floats, offset: Floats, shape: tuple[int, ...]) -> Box | None:
    """The box of the unscaled inputs; None where the definition has no bounds, or one end is missing or infinite."""
    bounds = definition.unscaled_input_bounds
    unscaled = bounds is not None
    bounds = bounds if unscaled else definition.scaled_input_bounds
    if bounds is None:
        return None
    keys = next((keys for keys in _keys(shape) if all(key in bounds for key in keys)), None)
    if keys is None or len(bounds) != len(keys):
        raise ReadError(f"the input bounds have the keys {list(bounds)[:4]}, ...; expected one for each of {shape}")
    pairs = [bounds[key] for key in keys]
    if any(end is None for pair in pairs for end in pair):
        return None
    ends = np.array(pairs, dtype=np.float64)
    if np.isinf(ends).any():
        return None
    if unscaled:
        return Box(ends[:, 0], ends[:, 1])
    Box(ends[:, 0], ends[:, 1])  # crossed bounds are an error before a negative factor could swap them
    if (factor == 0.0).any():
        raise ReadError(
            f"input {int(np.argmin(factor != 0.0))} is scaled by 0: its bounds have no unscaled counterpart"
        )
    ends = np.sort((ends - offset[:, None]) / factor[:, None], axis=1)
    return Box(ends[:, 0], ends[:, 1])


def _lower(t: Tensor, layer: Any, where: str) -> Tensor:
    """The output of one layer, as OMLT evaluates it: reshape, linear map, activation."""
    kind = type(layer).__name__
    shape = tuple(int(n) for n in layer.output_size)
    t = t.reshape(tuple(layer.input_size))
    if kind == "DenseLayer":
        W = _finite(layer.weights, where, "weights")
        rows = t.size // W.shape[0]
        K = sparse.kron(sparse.identity(rows), W.T, format="csr") if rows > 1 else W.T
        z = t.linear(K, (*t.shape[:-1], W.shape[1])) + _finite(layer.biases, where, "biases")
        z = z.reshape(shape)
    elif kind in ("ConvLayer2D", "PoolingLayer2D"):
        z = _windowed(t, layer, shape, where)
    else:
        raise UnsupportedOperatorError(
            f"{where}: layers of this kind are not read; supported: {SUPPORTED}", node=where, operator=kind
        )
    if layer.activation in SMOOTH and t.graph.allows_smooth:
        return SMOOTH[layer.activation](z)
    if layer.activation not in ("relu", "linear"):
        hint = f"; {HINT}" if layer.activation in SMOOTH else ""
        raise UnsupportedOperatorError(
            f"{where}: the activation {layer.activation!r} is not read; supported: {SUPPORTED}{hint}",
            node=where,
            operator=str(layer.activation),
        )
    return relu(z) if layer.activation == "relu" else z


def _windowed(t: Tensor, layer: Any, shape: tuple[int, ...], where: str) -> Tensor:
    """A convolution or max pooling; kernels that reach past the end (ceil mode) lose that part."""
    kernel = tuple(int(n) for n in layer.kernel_shape)
    stride = tuple(int(n) for n in layer.strides)
    windows = Windows(t.shape[1:], kernel, stride, (1, 1), (0, 0), (0, 0), shape[1:])
    if type(layer).__name__ == "ConvLayer2D":
        return t.linear(convolution(_finite(layer.kernel, where, "kernel"), windows, t.shape[0]), shape)
    # OMLT lays the kernel over the first `kernel_depth` channels for every output channel
    plane = windows.index()
    channels = np.arange(int(layer.kernel_depth)) * int(np.prod(t.shape[1:]))
    index = np.where(plane[:, None, :] < 0, -1, plane[:, None, :] + channels[:, None]).reshape(len(plane), -1)
    return largest(t, np.tile(index, (shape[0], 1))).reshape(shape)


def _finite(values: Any, where: str, what: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ReadError(f"{where}: {what} hold NaN or infinite numbers")
    return array


def _evaluate(
    layers: list[Any], x: Floats, scale: Callable[[Floats], Floats], unscale: Callable[[Floats], Floats]
) -> Floats:
    """OMLT's own evaluation, layer by layer and point by point."""
    outputs = []
    for point in x:
        h = scale(point).reshape(layers[0].output_size)
        for layer in layers:
            h = layer.eval_single_layer(h)
        outputs.append(unscale(np.ravel(h)))
    return np.array(outputs)
