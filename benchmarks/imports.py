"""Of a folder of ONNX files: how many load and match onnxruntime, how many are refused by name, how many are wrong.

A file matches where |f(x) - g(x)|_inf <= 1e-5 max |g|_inf at random points, the maximum taken over the points of the
same scale: f as loaded, g what onnxruntime computes ("unchecked" where it refuses the file). Points come in four
scales, because ReLUs can hide an error on small inputs and large values one on the others. OMLT's loader is held to
the same on the same points, where it is there.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from record import Tables

from omlt_ext import OmltExtError, load_network
from omlt_ext.domain import Floats
from omlt_ext.errors import UnsupportedOperatorError

TOLERANCE = 1e-5
POINTS = 15  # of each scale
SMALL_COUNT = 4

Inputs = dict[str, tuple[tuple[int, ...], Any]]  # name: shape, with 1 for an open axis, and NumPy type


def main(data: Path, *, small: bool = False) -> Tables:
    if not find_spec("onnxruntime"):
        print("onnxruntime is not installed: there is nothing to hold the files against (pip install onnxruntime)")
        return {}
    if not find_spec("omlt"):
        print("OMLT is not installed: its half of the comparison is left out (pip install omlt==1.2.2)")
    paths = sorted(data.rglob("*.onnx"))[: SMALL_COUNT if small else None]
    rows = [{"file": str(path.relative_to(data)), **ours(path), **theirs(path)} for path in paths]
    table = pd.DataFrame(rows)
    counts = [
        {"loader": loader, "files": len(table), **table[loader].value_counts().to_dict()}
        for loader in ("omlt_ext", "omlt")
        if loader in table
    ]
    kinds = ["match", "refused", "refused, no node", "not loaded", "unchecked", "crash", "wrong"]
    summary = pd.DataFrame(counts).reindex(columns=["loader", "files", *kinds]).fillna(0)
    refused = table.loc[table["omlt_ext"].str.startswith("refused"), ["file", "node", "why"]]
    return {"files": table, "refused": refused, "summary": summary.astype(dict.fromkeys(kinds, int))}


def ours(path: Path) -> dict[str, Any]:
    """omlt_ext's outcome: match, wrong, refused (with the node's name and operator), or crash."""
    try:
        network = load_network(path)
    except UnsupportedOperatorError as error:
        named = "refused" if error.node and error.node in str(error) else "refused, no node"
        return {"omlt_ext": named, "difference": None, "node": error.node, "why": error.operator}
    except OmltExtError as error:
        why = str(error).replace(str(path), path.name)
        return {"omlt_ext": "refused, no node", "difference": None, "node": None, "why": why}
    except Exception as error:  # whatever else escapes is the defect that this benchmark looks for
        return {"omlt_ext": "crash", "difference": None, "node": None, "why": repr(error)}
    points = points_for(network.n_inputs)
    outcome, difference = verdict(network(points), oracle(path, inputs_of(path), points))
    return {"omlt_ext": outcome, "difference": difference, "node": None, "why": repr(network).split(" from ")[0][9:]}


def theirs(path: Path) -> dict[str, Any]:
    """OMLT's outcome: its parser's layers evaluated one after another by their own method."""
    if not find_spec("omlt"):
        return {}
    from omlt.io.onnx import load_onnx_neural_network

    try:
        definition = load_onnx_neural_network(onnx.load(path))
        inputs = inputs_of(path)
        size = sum(int(np.prod(shape)) for shape, _ in inputs.values())
        points = points_for(size)
        values = np.array([_layers(definition, point) for point in points])
    except Exception as error:  # OMLT has no family of errors
        return {"omlt": "not loaded", "omlt why": f"{type(error).__name__}: {error}"[:80]}
    outcome, difference = verdict(values, oracle(path, inputs, points))
    return {"omlt": outcome, "omlt why": "" if difference is None else f"difference {difference:.2g}"}


def points_for(size: int) -> Floats:
    """Points (4 POINTS, size): uniform on [-1, 1], then normal of the scales 0.1, 1 and 10."""
    rng = np.random.default_rng(0)
    normal = [scale * rng.normal(size=(POINTS, size)) for scale in (0.1, 1.0, 10.0)]
    return np.concatenate([rng.uniform(-1, 1, (POINTS, size)), *normal])


def _layers(definition: Any, point: Floats) -> Floats:
    layers = list(definition.layers)
    h = point.reshape(layers[0].output_size)
    for layer in layers:
        h = layer.eval_single_layer(h)
    return np.ravel(h)


def relative(ours: Floats, truth: Floats) -> float:
    """max |f - g| / max |g| within each scale, the largest of them; infinite for other shapes and for NaN."""
    if ours.shape != truth.shape:
        return float("inf")
    scales = zip(np.split(ours, 4), np.split(truth, 4), strict=True)
    gaps = [np.abs(f - g).max() / max(np.abs(g).max(), np.finfo(np.float64).tiny) for f, g in scales]
    return float(max(gaps)) if np.isfinite(gaps).all() else float("inf")


def inputs_of(path: Path) -> Inputs:
    """The inputs of the graph that are no weights."""
    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    found: Inputs = {}
    for value in graph.input:
        if value.name not in weights:
            kind = value.type.tensor_type
            shape = tuple(max(1, int(dim.dim_value)) for dim in kind.shape.dim)
            found[value.name] = shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return found


def oracle(path: Path, inputs: Inputs, points: Floats) -> Floats | None:
    """The file's outputs by onnxruntime, flat, point by point; None where it refuses the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # an operator or a version that this onnxruntime does not know
        print(f"{path.name}: onnxruntime refuses it: {str(error)[:80]}")
        return None
    ends = np.cumsum([int(np.prod(shape)) for shape, _ in inputs.values()])[:-1]
    rows = []
    for point in points:
        parts = zip(np.split(point, ends), inputs.items(), strict=True)
        feed = {name: part.reshape(shape).astype(kind) for part, (name, (shape, kind)) in parts}
        rows.append(np.concatenate([np.ravel(value) for value in session.run(None, feed)]))
    return np.array(rows, dtype=np.float64)


def verdict(values: Floats, truth: Floats | None) -> tuple[str, float | None]:
    """match, wrong or unchecked, and the relative difference."""
    if truth is None:
        return "unchecked", None
    difference = relative(values, truth)
    return ("match" if difference <= TOLERANCE else "wrong"), difference
