"""OMLT: a `NetworkDefinition` as it stands, its scaling folded in, so that inputs and outputs are unscaled.

x unscaled inputs, f the network on scaled inputs, s and u the scaling object's two maps: y = u(f(s(x))).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..domain import Box, Floats
from ..errors import NetworkError, OmltExtError, ReadError, UnsupportedOperatorError
from ..network import Network
from .check import check_import
from .lowering import Lowering, Tensor
from .piecewise import largest, relu
from .windows import Windows, convolution, place_windows, pool_index

SUPPORTED = "InputLayer, DenseLayer, ConvLayer2D and PoolingLayer2D in one chain, activations 'linear' and 'relu'"


def read_omlt(definition: Any) -> Network:
    """The network of an OMLT `NetworkDefinition`, from unscaled inputs to unscaled outputs.

    `input_box` is taken from the unscaled input bounds, or from the scaled ones through the inverse of the scaling.
    Convolutions are read as the definition holds them: OMLT's own ONNX parser has dropped their biases by then.
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
    s = _diagonal(definition.scaling_object, "get_scaled_input_expressions", shape_in)
    u = _diagonal(definition.scaling_object, "get_unscaled_output_expressions", shape_out)
    graph = Lowering()
    t = graph.input("input", shape_in) * s[0] + s[1]
    try:
        for k, layer in enumerate(layers[1:], start=1):
            t = _lower(t, layer, f"layer {k} ({type(layer).__name__})")
    except (TypeError, ValueError) as error:
        if isinstance(error, OmltExtError):
            raise
        raise ReadError(f"{source}: the layers do not fit each other: {error}") from None
    box = _box(definition, s, shape_in)
    network = graph.to_network(
        {"output": t * u[0] + u[1]}, input_shape=shape_in, output_shape=shape_out, input_box=box, source=source
    )
    check_import(network, lambda x: _evaluate(layers, x, s, u), source=source, tolerance=1e-9)
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


def _diagonal(scaling: Any, method: str, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """(factor, offset), each of `shape`: the affine map that a method of the scaling object applies to each entry.

    The keys of the scaling object are tuples of indices, or plain integers where there is one axis.
    """
    if scaling is None:
        return np.ones(shape), np.zeros(shape)
    tuples = list(np.ndindex(*shape))
    for keys in (tuples, [k[0] for k in tuples]) if len(shape) == 1 else (tuples,):
        try:
            at = [_values(getattr(scaling, method)(dict.fromkeys(keys, p)), keys) for p in (0.0, 1.0, 2.0, -3.0)]
        except Exception:
            continue
        factor, offset = at[1] - at[0], at[0]
        if not all(np.allclose(v, p * factor + offset, rtol=1e-9, atol=0) for v, p in zip(at[2:], (2, -3), strict=True)):
            raise ReadError(f"the scaling object's {method} is not affine: it cannot be folded into the network")
        return factor.reshape(shape), offset.reshape(shape)
    raise ReadError(f"the scaling object's {method} does not take {len(tuples)} values indexed by {tuples[0]}, ...")
