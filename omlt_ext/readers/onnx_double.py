"""An ONNX model in double precision: so that the check of an import can ask for nine digits instead of five."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from ..errors import ReadError
from .onnx_file import array_of, subgraphs
from .symbolic import check_size

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16, "FLOAT16")
REALS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def to_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every real tensor, input, output and cast is of type DOUBLE; integers stay what they are."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _convert_graph(copy.graph)
    return copy


def _convert_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _convert_tensor(tensor)
    for entry in graph.sparse_initializer:  # dense: the evaluator does not take them in every version
        graph.initializer.append(numpy_helper.from_array(_dense(entry), entry.values.name))
    del graph.sparse_initializer[:]
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in REALS:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        _convert_node(node)


def _convert_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in REALS and tensor.data_type != TensorProto.DOUBLE:
        tensor.CopyFrom(numpy_helper.from_array(array_of(tensor).astype(np.float64), tensor.name))


def _convert_node(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            _convert_tensor(attribute.t)
        for inner in subgraphs(attribute):
            _convert_graph(inner)
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in REALS and attribute.i not in HALVES:
            attribute.i = TensorProto.DOUBLE
        if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            single = attribute.name == "value_float"
            values = np.array(attribute.f if single else attribute.floats, dtype=np.float64)
            attribute.CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(values)))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))


def _dense(entry: onnx.SparseTensorProto) -> NDArray[np.float64]:
    values, indices, dims = array_of(entry.values), array_of(entry.indices), tuple(entry.dims)
    check_size(dims)
    dense = np.zeros(dims)
    try:
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
    except (IndexError, ValueError) as error:
        raise ReadError(f"the sparse tensor {entry.values.name!r} is malformed: {error}") from None
    return dense
