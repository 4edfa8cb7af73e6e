"""Nodes without data: what depends on constants only is evaluated at once, by the standard's own evaluator."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..errors import ReadError
from .onnx_file import STANDARD, subgraphs
from .onnx_node import Array, Node, Value
from .symbolic import MAX_ENTRIES

RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")


def fold(node: Node) -> list[Value]:
    """The outputs of a node whose inputs are all constant."""
    if node.operator in RANDOM:
        node.refuse("is random")
    if any(subgraphs(a) for a in node.proto.attribute):
        node.refuse("is control flow, which is not lowered")
    _check_growth(node)
    return [*evaluate(node.proto, node.opset, node.inputs)]


def evaluate(proto: onnx.NodeProto, opset: int, inputs: list[Value]) -> list[Array]:
    """The outputs of one standard node at these arrays; `ReadError` where the evaluator fails."""
    given = {name: np.asarray(value) for name, value in zip(proto.input, inputs, strict=True) if value is not None}
    graph = onnx.GraphProto(name="one node")
    graph.node.append(proto)
    for names, entries in ((given, graph.input), (filter(None, proto.output), graph.output)):
        entries.extend(onnx.ValueInfoProto(name=name) for name in names)
    domain = "" if proto.domain in STANDARD else proto.domain
    model = onnx.ModelProto(
        ir_version=8, graph=graph, opset_import=[onnx.OperatorSetIdProto(domain=domain, version=opset)]
    )
    try:
        results = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # the evaluator raises whatever its operators raise
        raise ReadError(f"its constant value cannot be computed: {type(error).__name__}: {error}") from None
    return [np.asarray(result) for result in results]


def _check_growth(node: Node) -> None:
    """Refuse constants that would fill the memory, before they are made."""
    if node.operator not in ("Expand", "Tile", "ConstantOfShape", "Range"):
        return
    last = [np.asarray(v).ravel().astype(np.float64) for v in node.inputs if v is not None]
    size = math.prod(max(1.0, abs(float(v))) for v in last[-1]) if last else 1.0
    if node.operator == "Tile":
        size *= np.asarray(node.inputs[0]).size
    if node.operator == "Range":
        size = float(abs(last[1][0] - last[0][0]) / abs(last[2][0])) if last[2][0] else math.inf
    if not size <= MAX_ENTRIES:
        raise ReadError(f"it makes a constant of {size:.3g} entries; at most {MAX_ENTRIES} are taken")
