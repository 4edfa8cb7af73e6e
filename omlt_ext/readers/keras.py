"""Keras 3: Sequential and functional models, walked layer by layer with symbolic tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import keras
import numpy as np

from ..domain import Floats
from ..errors import ImportCheckError, OmltExtError, ReadError, UnsupportedOperatorError
from ..mixed import AnyNetwork
from .check import check_import, probe_points
from .keras_tables import ACTIVATIONS, FINAL, LAYERS, OPERATIONS
from .keras_values import Refusal, array
from .lowering import Lowering, Tensor
from .smooth import BY_NAME, HINT

SUPPORTED = f"{', '.join(LAYERS)}; activations {', '.join(ACTIVATIONS)}"
TOLERANCE = 1e-4  # the model itself is evaluated in single precision


def read_keras(model: Any, *, logits: bool = False, smooth: bool = False) -> AnyNetwork:
    """The network that a Keras 3 Sequential or functional model computes in inference, for one example.

    Several inputs become one vector, several outputs one vector, with named slices. `logits=True` drops a softmax or
    sigmoid activation of the last layer. `smooth=True` reads sigmoid, tanh and softplus.

    Raises `ReadError` where the model is not built or holds NaN, `UnsupportedOperatorError` for subclassed models,
    custom layers and layers that are not piecewise linear.

    >>> layers = [keras.Input((2,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(1)]
    >>> read_keras(keras.Sequential(layers, name="small"))
    <Network 2-3-1 from Keras model 'small'>
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras and its backend, about their own interfaces
        return _read(model, logits, smooth)


def _read(model: Any, logits: bool, smooth: bool) -> AnyNetwork:
    _check_model(model)
    graph = Lowering(smooth)
    names = [str(x.name) for x in model.inputs] if len(model.inputs) > 1 else ["input"]
    shapes = [_shape(model, x) for x in model.inputs]
    walk = _Walk(logits, _final_layer(model) if logits else None)
    inputs = [graph.input(name, (1, *shape)) for name, shape in zip(names, shapes, strict=True)]
    outputs = walk.model(model, inputs)
    labels = [str(name) for name in model.output_names] if len(outputs) > 1 else ["output"]
    single = len(outputs) == 1
    network = graph.to_network(
        dict(zip(labels, outputs, strict=True)),
        input_shape=shapes[0] if len(shapes) == 1 else None,
        output_shape=outputs[0].shape[1:] if single else None,
        source=f"Keras model {model.name!r}",
    )
    evaluate = partial(_evaluate, model, shapes)
    if walk.dropped is None:
        check_import(network, evaluate, source=network.source, tolerance=TOLERANCE)
    else:
        _check_logits(network, evaluate, outputs[0].shape[1:], walk.dropped)
    return network


def _check_model(model: Any) -> None:
    name = type(model).__name__
    if not hasattr(keras, "ops"):
        raise ReadError(f"Keras {keras.__version__} models are not read; Keras 3 is needed, or an export to ONNX")
    if name not in ("Sequential", "Functional") or not _is_ours(model):
        raise UnsupportedOperatorError(
            f"{name} is a subclassed Keras model: its call is Python code. Build the same layers with keras.Sequential "
            "or keras.Model(inputs, outputs), or export it to ONNX",
            node=str(getattr(model, "name", name)),
            operator=name,
        )
    try:
        built = bool(model.inputs)
    except (AttributeError, ValueError):
        built = False
    if not built:
        raise ReadError(f"the Keras model {model.name!r} has no input shape yet; begin it with keras.Input(shape)")
    for weight in model.weights:
        bad = ~np.isfinite(array(weight))
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ReadError(f"the Keras weight {weight.path!r} is not finite at {index}; train the model again")


def _is_ours(operation: Any) -> bool:
    """Whether the class is Keras's own: a subclass of a layer may compute anything."""
    return type(operation).__module__.split(".")[0] == "keras"


def _shape(model: Any, x: Any) -> tuple[int, ...]:
    shape = tuple(x.shape[1:])
    if None in shape:
        raise ReadError(f"input {x.name!r} of the Keras model {model.name!r} has the open shape {shape}; fix its sizes")
    return tuple(int(n) for n in shape)


def _final_layer(model: Any) -> Any:
    """The layer that gives the model's one output, seen through nested models."""
    while type(model).__name__ in ("Sequential", "Functional"):
        if len(model.outputs) != 1:
            return None
        model = model.layers[-1] if type(model).__name__ == "Sequential" else model.outputs[0]._keras_history.operation
    return model


class _Walk:
    """One pass through a model; `dropped` is the final activation that was left out, as a function of tensors."""

    def __init__(self, logits: bool, final: Any) -> None:
        self.logits = logits
        self.final = final
        self.dropped: Callable[[Any], Any] | None = None
        self.uses = 0  # of the final layer: one shared with the inside of the model keeps its activation

    def model(self, model: Any, inputs: list[Tensor]) -> list[Tensor]:
        if type(model).__name__ == "Sequential":
            t: Any = inputs[0]
            for layer in model.layers:
                t = self.operation(layer, t)
            return _flat(t)
        found = model._run_through_graph(inputs, operation_fn=lambda operation: partial(self.operation, operation))
        return _flat(found)

    def operation(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        kind = type(operation).__name__
        if not _is_ours(operation):
            self.refuse(operation, "is a class of its own, whose code cannot be read")
        if kind in ("Sequential", "Functional"):
            found = self.model(operation, _flat(args[0]))
            return found[0] if len(found) == 1 else found
        try:
            if ".ops." in type(operation).__module__:
                if kind not in OPERATIONS or any(value is not None for value in kwargs.values()):
                    raise Refusal("is not lowered")
                if kind.lower() in BY_NAME:
                    return self.smooth(kind.lower(), *args)
                return OPERATIONS[kind](*args)
            if kind not in LAYERS:
                raise Refusal("is not piecewise linear, or not lowered yet")
            t = LAYERS[kind](args[0], operation)
            return self.activate(t, operation)
        except Refusal as error:
            self.refuse(operation, str(error))
        except UnsupportedOperatorError:  # of an activation that is a layer itself
            raise
        except OmltExtError as error:
            raise ReadError(f"layer {operation.name!r} ({kind}): {error}") from None
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            self.refuse(operation, f"is not lowered in this use ({' '.join(str(error).split())[:120]})")

    def activate(self, t: Tensor, layer: Any) -> Tensor:
        """The layer's activation, which may be a function or a layer itself."""
        function = (
            keras.activations.softmax if type(layer).__name__ == "Softmax" else getattr(layer, "activation", None)
        )
        if function is None:
            return t
        if isinstance(function, keras.layers.Layer):
            return self.operation(function, t)
        name = getattr(function, "__name__", repr(function))
        if not str(getattr(function, "__module__", "")).startswith("keras."):
            raise Refusal(f"has the activation {name!r} of its own, whose code cannot be read")
        if name in FINAL and layer is self.final and self.dropped is None:
            self.dropped = layer if type(layer).__name__ == "Softmax" else function
            return t
        if name in ACTIVATIONS:
            return ACTIVATIONS[name](t)
        if name in BY_NAME:
            return self.smooth(name, t)
        hint = "; with logits=True it is dropped from the last layer" if name in FINAL else ""
        raise Refusal(f"has the activation {name!r}, which is not piecewise linear{hint}")

    def smooth(self, name: str, t: Tensor) -> Tensor:
        """sigmoid, tanh or softplus of t, if the caller has asked for smooth activations."""
        if t.graph.allows_smooth:
            return BY_NAME[name](t)
        hint = "with logits=True it is dropped from the last layer, and " if name in FINAL else ""
        raise Refusal(f"has the activation {name!r}, which is not piecewise linear; {hint}{HINT}")

    def refuse(self, operation: Any, reason: str) -> NoReturn:
        kind = type(operation).__name__
        raise UnsupportedOperatorError(
            f"layer {operation.name!r} ({kind}) {reason}. Supported: {SUPPORTED}", node=operation.name, operator=kind
        )


def _flat(values: Any) -> list[Tensor]:
    return [t for t in keras.tree.flatten(values) if t is not None]


def _evaluate(model: Any, shapes: list[tuple[int, ...]], x: Floats) -> Floats:
    """The model itself at x (batch, n_in), point by point where its batch size is fixed."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = [part.reshape(-1, *shape) for part, shape in zip(np.split(x, ends, axis=1), shapes, strict=True)]
    batch = model.inputs[0].shape[0]
    if batch is None:
        return _call(model, parts)
    points = ([np.repeat(part[i : i + 1], batch, axis=0) for part in parts] for i in range(len(x)))
    return np.concatenate([_call(model, point)[:1] for point in points])


def _call(model: Any, parts: list[Floats]) -> Floats:
    tensors = [keras.ops.convert_to_tensor(part, dtype=x.dtype) for part, x in zip(parts, model.inputs, strict=True)]
    single = type(model).__name__ == "Sequential"
    try:
        found = model(tensors[0] if single else keras.tree.pack_sequence_as(model.input, tensors), training=False)
    except Exception as error:
        raise ReadError(f"the Keras model {model.name!r} itself fails to run: {error}") from None
    return np.concatenate([array(y).reshape(len(parts[0]), -1) for y in keras.tree.flatten(found)], axis=1)


def _check_logits(
    network: AnyNetwork, evaluate: Callable[[Floats], Floats], shape: tuple[int, ...], final: Callable[[Any], Any]
) -> None:
    """Compare the dropped activation of the network's outputs with what the model itself gives."""
    points = probe_points(network)
    ours = array(final(keras.ops.convert_to_tensor(network(points).reshape(-1, *shape)))).reshape(len(points), -1)
    theirs = evaluate(points)
    if not (np.abs(ours - theirs) <= TOLERANCE * (1.0 + np.abs(theirs).max(axis=1, keepdims=True))).all():
        raise ImportCheckError(f"{network.source}: its outputs differ from its last activation of the lowered network")
