"""Networks as ONNX files, in double precision, so that reading a file gives back every number.

A layer z = W h + b is Gemm where W is dense; where it is CSR, row i is the sum over its r nonzeros, Gather -> Mul ->
ReduceSum, which stays sparse in the file and when it is read. ReLUs are Relu; where only some neurons of a layer are
ReLUs, h = max(z, m z) with m = 0 at ReLUs and 1 at linear neurons, which is exact in floating point.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import NetworkError
from ..mixed import piecewise_linear
from ..network import Layer, Network
from .sidecar import sidecar_of, write_sidecar

OPSET, IR_VERSION = 17, 8
BATCH = "batch"


def save_onnx(network: Network, path: str | PathLike[str]) -> None:
    """Write `network` as ONNX, and its input box, where it has one, into the sidecar `<path>.bounds.json`.

    Inputs and outputs keep their names and shapes, with a symbolic batch in front. All numbers are doubles:
    `read_onnx` gives back the same layers where no two linear layers follow each other. A sidecar that lies there
    from an earlier network is replaced, or removed where this one has no box. Raises `NetworkError` where the input
    or output slices do not partition the vectors, or the file would exceed the 2 GB of the format.

    >>> import tempfile
    >>> from omlt_ext.readers.onnx import read_onnx
    >>> network = Network([Layer([[1.0, -1.0]], [0.5], relu=True)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_onnx(network, f"{folder}/net.onnx")
    ...     print(read_onnx(f"{folder}/net.onnx"))
    <Network 2-1 from net.onnx>
    """
    piecewise_linear(network)
    try:
        data = to_onnx(network).SerializeToString()
    except ValueError as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"{network!r} does not fit into one ONNX file: {error}") from None
    Path(path).write_bytes(data)
    if network.input_box is not None:
        write_sidecar(sidecar_of(path), network.input_box, network.input_shape)
    else:
        sidecar_of(path).unlink(missing_ok=True)


def to_onnx(network: Network) -> onnx.ModelProto:
    """The network as an `onnx.ModelProto`; see `save_onnx`."""
    graph = _Graph({*network.input_slices, *network.output_slices})
    x = _inputs(graph, network)
    for k, layer in enumerate(network.layers):
        x = _layer(graph, f"layer_{k}", layer, x)
    _outputs(graph, network, x)
    proto = helper.make_graph(graph.nodes, "omlt_ext", graph.inputs, graph.outputs, graph.initializers)
    model = helper.make_model(
        proto,
        producer_name="omlt_ext",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, {"source": network.source})
    return model


class _Graph:
    """The parts of a graph while it is written; `taken` are the names of its inputs and outputs."""

    def __init__(self, taken: set[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._taken = taken

    def name(self, wish: str) -> str:
        """`wish`, or the next free name made from it."""
        while wish in self._taken:
            wish += "_"
        self._taken.add(wish)
        return wish

    def constant(self, wish: str, values: NDArray[Any]) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(values), self.name(wish))
        self.initializers.append(tensor)
        return str(tensor.name)

    def node(self, operator: str, inputs: list[str], wish: str, *, output: str | None = None, **attributes: Any) -> str:
        """Append a node; its output is called `output`, or `wish` where that name is free."""
        result = self.name(wish) if output is None else output
        self.nodes.append(helper.make_node(operator, inputs, [result], name=wish, **attributes))
        return result


def _inputs(graph: _Graph, network: Network) -> str:
    """Declare the inputs; the name of the flat vector (batch, n)."""
    slices = _partition(network.input_slices, network.n_inputs, "input")
    flat = []
    for name, size in slices:
        shape = network.input_shape if len(slices) == 1 else (size,)
        graph.inputs.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, [BATCH, *shape]))
        flat.append(name if len(shape) == 1 else graph.node("Flatten", [name], "flat_input", axis=1))
    return flat[0] if len(flat) == 1 else graph.node("Concat", flat, "all_inputs", axis=1)


def _outputs(graph: _Graph, network: Network, y: str) -> None:
    slices = _partition(network.output_slices, network.n_outputs, "output")
    for name, size in slices:
        shape = network.output_shape if len(slices) == 1 else (size,)
        graph.outputs.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, [BATCH, *shape]))
    names = [name for name, _ in slices]
    if len(names) > 1:
        lengths = graph.constant("output_sizes", np.array([size for _, size in slices], dtype=np.int64))
        graph.nodes.append(helper.make_node("Split", [y, lengths], names, name="outputs", axis=1))
    elif len(network.output_shape) == 1:
        graph.node("Identity", [y], "outputs", output=names[0])
    else:
        shape_name = graph.constant("output_shape", np.array([-1, *network.output_shape], dtype=np.int64))
        graph.node("Reshape", [y, shape_name], "outputs", output=names[0])


def _partition(slices: Mapping[str, slice], n: int, kind: str) -> list[tuple[str, int]]:
    """Names and sizes, in order, of slices that make up 0..n-1 exactly once."""
    parts = sorted(((part.start or 0, part.stop, name) for name, part in slices.items()), key=lambda part: part[:2])
    ends = [0, *(stop for _, stop, _ in parts)]
    if [start for start, _, _ in parts] != ends[:-1] or ends[-1] != n or any(a >= b for a, b in pairwise(ends)):
        raise NetworkError(f"the {kind} slices {dict(slices)} do not make up 0 to {n}, one after the other")
    return [(name, stop - start) for start, stop, name in parts]


def _layer(graph: _Graph, name: str, layer: Layer, x: str) -> str:
    """max(0, W x + b) at ReLUs, W x + b elsewhere."""
    bias = graph.constant(f"{name}.bias", layer.bias)
    longest = int(np.diff(layer.weight.indptr).max(initial=0)) if layer.is_sparse else layer.n_in
    if 2 * longest < layer.n_in:
        z = _sparse_product(graph, name, layer, max(longest, 1), x)
        z = graph.node("Add", [z, bias], f"{name}.z")
    else:
        weight = graph.constant(f"{name}.weight", layer.dense_weight())
        z = graph.node("Gemm", [x, weight, bias], f"{name}.z", transB=1)
    if not layer.relu.any():
        return z
    if layer.relu.all():
        return graph.node("Relu", [z], f"{name}.h")
    mask = graph.constant(f"{name}.linear", (~layer.relu).astype(np.float64))
    kept = graph.node("Mul", [z, mask], f"{name}.linear_part")
    return graph.node("Max", [z, kept], f"{name}.h")


def _sparse_product(graph: _Graph, name: str, layer: Layer, longest: int, x: str) -> str:
    """W x for a CSR weight: rows padded with zeros to the length of the longest."""
    W = layer.weight
    row = np.repeat(np.arange(layer.n_out), np.diff(W.indptr))
    place = np.arange(W.nnz) - W.indptr[row]
    columns = np.zeros((layer.n_out, longest), dtype=np.int64)
    values = np.zeros((layer.n_out, longest))
    columns[row, place] = W.indices
    values[row, place] = W.data
    picked = graph.node("Gather", [x, graph.constant(f"{name}.columns", columns)], f"{name}.inputs", axis=1)
    scaled = graph.node("Mul", [picked, graph.constant(f"{name}.weight", values)], f"{name}.products")
    axes = graph.constant(f"{name}.axis", np.array([2], dtype=np.int64))
    return graph.node("ReduceSum", [scaled, axes], f"{name}.sums", keepdims=0)
