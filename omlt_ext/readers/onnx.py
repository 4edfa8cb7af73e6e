"""ONNX files as networks: the graph is walked once, node by node, on symbolic tensors.

`OPERATORS` (onnx_affine, onnx_piecewise, onnx_index) lowers each operator; nodes without data are folded. The
result is compared with the standard's own evaluator before it is returned.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx

from ..errors import ImportCheckError, OmltExtError, ReadError, UnsupportedOperatorError
from ..mixed import AnyNetwork, relabelled
from ..writers.sidecar import read_sidecar, sidecar_of
from . import onnx_affine, onnx_index, onnx_piecewise
from .lowering import Lowering, Tensor
from .onnx_check import check_onnx
from .onnx_double import REALS, to_double
from .onnx_file import STANDARD, Source, array_of, load_model, needs, opset
from .onnx_fold import fold
from .onnx_node import OPERATORS, Node, Value
from .smooth import HINT

__all__ = ["read_onnx"]

_LOWERED = (onnx_affine, onnx_index, onnx_piecewise)  # imported to fill OPERATORS
HEADS = ("Softmax", "LogSoftmax", "Sigmoid")
SMOOTH = ("Sigmoid", "Tanh", "Softplus")
PLAIN = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")


def read_onnx(source: Source, *, logits: bool = False, smooth: bool = False) -> AnyNetwork:
    """The `Network` that an ONNX model computes: a path, the bytes of a file, or an `onnx.ModelProto`.

    All inputs, in order, make up the flat input vector (`input_slices`), all outputs the output vector
    (`output_slices`). A leading axis that is 1, symbolic or missing is the batch, and is one. `logits=True` drops a
    Softmax, LogSoftmax or Sigmoid that ends the graph: the outputs are then its arguments. `smooth=True` reads Sigmoid,
    Tanh and Softplus as well. A box in the sidecar `<path>.bounds.json` becomes `network.input_box`.

    Raises `ReadError` for what is not a well-formed model, `UnsupportedOperatorError` for a node that is not
    piecewise linear, `ImportCheckError` where the standard's evaluator gives other numbers.

    >>> from onnx import parser
    >>> model = parser.parse_model('''
    ...     <ir_version: 8, opset_import: ["": 17]>
    ...     example (float[N, 2] x) => (float[N, 1] y) <float[2, 1] W = {1, -1}> { z = MatMul(x, W)  y = Relu(z) }
    ... ''')
    >>> network = read_onnx(model)
    >>> network, network([3.0, 1.0])
    (<Network 2-1 from example>, array([2.]))
    """
    model, name, path = load_model(source)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused by name
            _treat_heads(model.graph, logits, smooth)
            exact = to_double(model)
            network = _lower(exact, name if path is None else path.name, smooth)
            if path is not None and sidecar_of(path).exists():
                network = relabelled(network, input_box=read_sidecar(sidecar_of(path), network.input_shape))
            check_onnx(network, model, exact, name)
    except UnsupportedOperatorError as error:
        raise UnsupportedOperatorError(f"{name}: {error}", node=error.node, operator=error.operator) from None
    except ImportCheckError:
        raise
    except OmltExtError as error:
        raise type(error)(f"{name}: {error}") from None
    except MemoryError:
        raise ReadError(f"{name}: the lowered network does not fit into the memory") from None
    return network


def _treat_heads(graph: onnx.GraphProto, logits: bool, smooth: bool) -> None:
    """Turn a Softmax, LogSoftmax or Sigmoid that ends the graph into Identity where logits are wanted."""
    makers = {output: node for node in graph.node for output in node.output}
    outputs = {value.name for value in graph.output}
    uses = Counter([*outputs, *(need for node in graph.node for need in needs(node))])
    for value in sorted(outputs):
        node = makers.get(value)
        while node is not None and node.op_type in PLAIN and node.input and uses[node.output[0]] == 1:
            node = makers.get(node.input[0])
        if node is None or node.op_type not in HEADS or node.domain not in STANDARD or uses[node.output[0]] > 1:
            continue
        if not logits and smooth and node.op_type in SMOOTH:
            continue
        if not logits:
            hint = f", and {HINT}" if node.op_type in SMOOTH else ""
            raise UnsupportedOperatorError(
                f"{node.name}: operator {node.op_type} is not piecewise linear; it ends the graph, and logits=True "
                f"drops it: the outputs are then its arguments{hint}",
                node=node.name,
                operator=node.op_type,
            )
        node.op_type = "Identity"
        del node.attribute[:]


def _lower(model: onnx.ModelProto, source: str, smooth: bool) -> AnyNetwork:
    graph, lowering = model.graph, Lowering(smooth)
    values: dict[str, Value] = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    for value in graph.input:
        if value.name not in values:
            shapes[value.name] = _input_shape(value)
            values[value.name] = lowering.input(value.name, shapes[value.name])
    if not shapes:
        raise ReadError("the graph has no inputs")
    _walk(graph, model, lowering, values)
    outputs: dict[str, Tensor] = {}
    for value in graph.output:
        result = values[value.name]
        if not isinstance(result, Tensor):
            if result is None or np.asarray(result).dtype.kind not in "fiub":
                raise ReadError(f"output {value.name!r} is not a tensor of numbers")
            result = lowering.constant(result)
        outputs[value.name] = result
    if sum(t.size for t in outputs.values()) == 0:
        raise ReadError(f"the outputs {list(outputs)} hold no numbers at all")
    one_in, one_out = next(iter(shapes.values())), next(iter(outputs.values())).shape
    n_out = sum(t.size for t in outputs.values())
    return lowering.to_network(
        outputs,
        input_shape=_unbatched(one_in) if len(shapes) == 1 else (lowering.n_inputs,),
        output_shape=_unbatched(one_out) if len(outputs) == 1 else (n_out,),
        source=source,
    )


def _walk(graph: onnx.GraphProto, model: onnx.ModelProto, lowering: Lowering, values: dict[str, Value]) -> None:
    """Give every value of the graph, in order."""
    for proto in graph.node:
        domain = "" if proto.domain in STANDARD else proto.domain
        inputs = [values[name] if name else None for name in proto.input]
        node = Node(proto, lowering, opset(model, domain), inputs)
        results = _results(node, domain, model, values)
        for name, result in zip(proto.output, results, strict=False):
            if name:
                values[name] = result
        missing = [name for name in proto.output if name and name not in values]
        if missing:
            node.refuse(f"is lowered without its output {missing[0]!r}")


def _results(node: Node, domain: str, model: onnx.ModelProto, values: dict[str, Value]) -> list[Value]:
    lower = OPERATORS.get((domain, node.operator))
    symbolic = any(isinstance(value, Tensor) for value in node.inputs)
    try:
        if node.operator == "If" and not domain:
            return _branch(node, model, values)
        if not symbolic and domain in ("", "ai.onnx.ml") and node.operator != "ConstantOfShape":
            return fold(node)
        if lower is None or (node.operator in SMOOTH and not node.graph.allows_smooth):
            node.refuse(_reason(node.operator, domain))
        found = lower(node)
        results = found if isinstance(found, list) else [found]
        for result in results:
            if isinstance(result, Tensor):
                _check_finite(node, result)
    except UnsupportedOperatorError:
        raise
    except OmltExtError as error:
        raise ReadError(f"{node.place}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # malformed attributes and shapes surface as whatever NumPy raises
        raise ReadError(f"{node.place} is malformed: {type(error).__name__}: {error}") from None
    return results


def _reason(operator: str, domain: str) -> str:
    if operator in SMOOTH and not domain:
        return f"is not piecewise linear; {HINT}"
    if domain:
        return f"of the domain {domain!r} is not lowered; only operators of the standard are"
    known = ", ".join(sorted(name for place, name in OPERATORS if not place))
    return f"is not piecewise linear in its data, or not lowered; these operators are: {known}"


def _branch(node: Node, model: onnx.ModelProto, values: dict[str, Value]) -> list[Value]:
    """An If whose condition is known: the nodes of the branch that is taken."""
    taken = bool(node.constant(0, "condition").reshape(()))
    branch: onnx.GraphProto = node.attribute("then_branch" if taken else "else_branch")
    inner = dict(values)
    inner.update({tensor.name: array_of(tensor) for tensor in branch.initializer})
    _walk(branch, model, node.graph, inner)
    return [inner[value.name] for value in branch.output]


def _check_finite(node: Node, result: Tensor) -> None:
    if np.isfinite(result.offset).all() and np.isfinite(result.matrix.data).all():
        return
    for i, value in enumerate(node.inputs):
        if value is not None and not isinstance(value, Tensor) and np.asarray(value).dtype.kind == "f":
            node.finite(i)
    raise ReadError("its result is not finite")


def _input_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in REALS:
        raise ReadError(f"input {value.name!r} is not a tensor of real numbers; give the network real inputs")
    if not kind.HasField("shape"):
        raise ReadError(f"input {value.name!r} has no shape; export the model with the shapes of its inputs")
    shape = []
    for axis, dim in enumerate(kind.shape.dim):
        size = int(dim.dim_value) if dim.HasField("dim_value") else -1
        if size < 1 and axis > 0:
            shown = dim.dim_param or size
            raise ReadError(
                f"input {value.name!r}: axis {axis} has the size {shown!r}; only the batch, axis 0, may vary"
            )
        shape.append(max(size, 1))
    return tuple(shape)


def _unbatched(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape or (1,)
