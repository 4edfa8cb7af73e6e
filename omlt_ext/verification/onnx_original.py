"""ONNX models evaluated as they are, in their own precision, one point at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..domain import Floats
from ..errors import ReadError
from ..readers.onnx_file import Source, load_model
from ..readers.onnx_reference import CORRECTED
from .original import Original

REALS = (np.float16, np.float32, np.float64)
Run = Callable[[list[str], dict[str, Any]], list[Any]]


def onnx_original(source: Source) -> Original:
    """The evaluator of an ONNX model: onnxruntime where it is installed and takes it, else the standard's own.

    Raises `ReadError` where the model cannot be read or run.

    >>> from onnx import parser
    >>> model = parser.parse_model('''
    ...     <ir_version: 8, opset_import: ["": 17]>
    ...     example (float[1, 2] x) => (float[1, 1] y) <float[2, 1] W = {1, -1}> { y = MatMul(x, W) }
    ... ''')
    >>> onnx_original(model)(np.array([0.5, 2.0]))
    array([-1.5])
    """
    model, name, _ = load_model(source)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs: list[tuple[str, slice, tuple[int, ...], Any]] = []
    at = 0
    for value in model.graph.input:
        if value.name in stored:
            continue
        tensor = value.type.tensor_type
        shape = tuple(max(int(dim.dim_value), 1) for dim in tensor.shape.dim)  # a batch of one
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).type
        if kind not in REALS:
            raise ReadError(f"{name}: input {value.name!r} takes {kind.__name__}; real inputs of 16 to 64 bits are fed")
        size = int(np.prod(shape))
        inputs.append((value.name, slice(at, at + size), shape, kind))
        at += size
    names = [value.name for value in model.graph.output]

    def feeds(x: Floats) -> dict[str, Any]:
        with np.errstate(over="ignore"):
            return {key: x[part].astype(kind).reshape(shape) for key, part, shape, kind in inputs}

    engine, run = _runtime(model) or _reference(model, name)

    def evaluate(x: Floats) -> Floats:
        try:
            results = run(names, feeds(x))
        except Exception as error:  # whatever the evaluator raises
            raise ReadError(f"{name}: {engine} does not run it: {type(error).__name__}: {error}") from None
        return np.concatenate([np.asarray(result, dtype=np.float64).ravel() for result in results])

    return Original(engine, at, tuple((part, kind) for _, part, _, kind in inputs), evaluate)


def _runtime(model: onnx.ModelProto) -> tuple[str, Run] | None:
    """onnxruntime as it comes, on one thread; None where it is not installed or does not take the model."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # it knows fewer types and versions of operators than the standard
        return None
    return "onnxruntime", session.run


def _reference(model: onnx.ModelProto, name: str) -> tuple[str, Run]:
    try:
        evaluator = ReferenceEvaluator(model, new_ops=CORRECTED)
    except Exception as error:
        raise ReadError(f"{name}: no evaluator runs it: {type(error).__name__}: {error}") from None

    def run(names: list[str], feeds: dict[str, Any]) -> list[Any]:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(evaluator.run(names, feeds))

    return "onnx.reference", run
