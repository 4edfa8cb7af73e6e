"""The check of an ONNX import: the lowered network against the standard's own evaluator, on random points.

The evaluator runs a copy of the model in double precision, so that nine digits must agree: a wrong epsilon does not
pass as rounding. Where it cannot run, it runs the model as it is, to five digits. Where it fails or differs, and
onnxruntime is installed, onnxruntime decides; an import that nothing confirms is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..domain import Floats
from ..errors import ImportCheckError
from ..mixed import AnyNetwork, skeleton_of
from .check import POINTS, check_import, probe_points
from .onnx_node import Array
from .onnx_reference import CORRECTED

DOUBLE, SINGLE, RUNTIME = 1e-9, 1e-5, 1e-4  # relative tolerances
CLEAR = 1e-3  # a gap this large is a fault of an evaluator or of the reader, not a small misreading
WORK = 4 * 10**7  # products after which fewer points are taken: the evaluator is slow on large convolutions

Evaluate = Callable[[Floats], Floats]


def check_onnx(network: AnyNetwork, model: onnx.ModelProto, exact: onnx.ModelProto, name: str) -> None:
    """Raise `ImportCheckError` unless an evaluator confirms the network; `exact` is `model` in double precision."""
    size = sum(layer.nnz for layer in skeleton_of(network).layers)
    points = probe_points(network, count=int(np.clip(WORK // max(size, 1), 4, POINTS)))
    points = points.astype(np.float32).astype(np.float64)  # the same points in every precision
    try:
        theirs = _reference(exact, network, np.float64)(points)
    except Exception as error:  # the evaluator raises whatever its operators raise
        _check_single(network, model, points, name, error)
        return
    try:
        check_import(network, lambda _: theirs, source=name, tolerance=DOUBLE, points=points)
    except ImportCheckError:
        runtime = _runtime(model, network)
        ours = network(points)
        gap = (
            np.inf
            if theirs.shape != ours.shape
            else np.abs(theirs - ours) / (1 + np.abs(ours).max(axis=1, keepdims=True))
        )
        if runtime is None or np.max(gap) < CLEAR:
            raise
        _check(network, runtime, points, name, RUNTIME)


def _check_single(network: AnyNetwork, model: onnx.ModelProto, points: Floats, name: str, error: Exception) -> None:
    """The check where the evaluator cannot run in double precision."""
    try:
        theirs = _reference(model, network, np.float32)(points)
        check_import(network, lambda _: theirs, source=name, tolerance=SINGLE, points=points)
    except Exception as second:
        runtime = _runtime(model, network)
        if runtime is None:
            why = f"{type(error).__name__}: {error}"
            if isinstance(second, ImportCheckError):
                raise
            raise ImportCheckError(
                f"{name}: the import cannot be checked, because onnx's own evaluator fails ({why}); install "
                "onnxruntime, which is then asked instead"
            ) from None
        _check(network, runtime, points, name, RUNTIME)


def _check(network: AnyNetwork, evaluate: Evaluate, points: Floats, name: str, tolerance: float) -> None:
    try:
        theirs = evaluate(points)
    except Exception as error:
        raise ImportCheckError(f"{name}: no evaluator runs this model: {type(error).__name__}: {error}") from None
    check_import(network, lambda _: theirs, source=name, tolerance=tolerance, points=points)


def _reference(model: onnx.ModelProto, network: AnyNetwork, dtype: type[np.floating[Any]]) -> Evaluate:
    """The standard's evaluator, one point after the other: models are written for a batch of one."""
    evaluator = ReferenceEvaluator(model, new_ops=CORRECTED)
    shapes = _shapes(model, network)

    def run(points: Floats) -> Floats:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.stack([_flat(evaluator.run(None, _feeds(x, network, shapes, dtype))) for x in points])

    return run


def _runtime(model: onnx.ModelProto, network: AnyNetwork) -> Evaluate | None:
    """onnxruntime in the precision of the model, or None where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    shapes = _shapes(model, network)
    kinds = {value.name: _dtype(value.type.tensor_type.elem_type) for value in model.graph.input}

    def run(points: Floats) -> Floats:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        rows = []
        for x in points:
            feeds = _feeds(x, network, shapes, np.float64)
            rows.append(_flat(session.run(None, {key: value.astype(kinds[key]) for key, value in feeds.items()})))
        return np.stack(rows)

    return run


def _dtype(element: int) -> Any:
    return onnx.helper.tensor_dtype_to_np_dtype(element)


def _shapes(model: onnx.ModelProto, network: AnyNetwork) -> dict[str, tuple[int, ...]]:
    """The shape of every input with a batch of one."""
    return {
        value.name: tuple(max(int(dim.dim_value), 1) for dim in value.type.tensor_type.shape.dim)
        for value in model.graph.input
        if value.name in network.input_slices
    }


def _feeds(x: Floats, network: AnyNetwork, shapes: dict[str, tuple[int, ...]], dtype: Any) -> dict[str, Array]:
    return {key: x[part].reshape(shapes[key]).astype(dtype) for key, part in network.input_slices.items()}


def _flat(results: list[Any]) -> Floats:
    return np.concatenate([np.asarray(result, dtype=np.float64).ravel() for result in results])
