"""The graph that `torch.export` writes of a module, walked with symbolic tensors."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..errors import OmltExtError, ReadError, UnsupportedOperatorError
from .lowering import Lowering, Tensor
from .smooth import HINT
from .torch_affine import plane_map
from .torch_ops import FINAL, MOVING, OPERATORS, PLANES, SHAPED, SMOOTH, move
from .torch_values import NotLoweredError, Value, operator_name

SUPPORTED = "linear, convolutional, pooling, normalisation, ReLU-like, arithmetic, min, max and reshaping operators"


class TorchGraph:
    """One exported module: one data input, one output, everything else constant.

    `dropped` is the final softmax, log-softmax or sigmoid that `logits` leaves out, None where there is none.
    """

    def __init__(self, program: ExportedProgram, *, logits: bool) -> None:
        self.module = program.graph_module
        self.nodes = list(program.graph.nodes)
        self.constants = _constants(program)
        if program.graph_signature.buffers_to_mutate:
            changed = next(iter(program.graph_signature.buffers_to_mutate.values()))
            raise ReadError(f"the module changes its own buffer {changed!r} while it runs; such a state cannot be read")
        inputs = [n for n in self.nodes if n.op == "placeholder" and n.name not in self.constants]
        outputs = pytree.tree_leaves(self.nodes[-1].args)
        if len(inputs) != 1 or len(outputs) != 1 or not isinstance(outputs[0], torch.fx.Node):
            raise ReadError(
                f"the module takes {len(inputs)} tensors and gives {len(outputs)}; wrap it in a module with one of each"
            )
        self.input, self.output = inputs[0], outputs[0]
        self.dropped = self._final() if logits else None

    def _final(self) -> Any:
        """The softmax or sigmoid that nothing but reshaping follows."""
        node = self.output
        while node.op == "call_function" and len(node.users) == 1:
            name = operator_name(node.target)
            if name in FINAL:
                return node
            if name not in MOVING and name != "aten.clone":
                return None
            node = node.args[0] if isinstance(node.args[0], torch.fx.Node) else self.input
        return None

    def lower(self, x: Tensor) -> Tensor:
        """The output as a symbolic tensor, from the input x."""
        values: dict[Any, Value] = {self.input: x}
        for node in self.nodes:
            if node.op == "placeholder" and node is not self.input:
                values[node] = self.constants[node.name]
            elif node.op == "get_attr":
                values[node] = getattr(self.module, node.target)
            elif node.op == "call_function":
                args, kwargs = pytree.tree_map(
                    lambda v: values[v] if isinstance(v, torch.fx.Node) else v, (node.args, node.kwargs)
                )
                values[node] = self._call(x.graph, node, args, kwargs)
        y = values[self.output]
        if not isinstance(y, Tensor):
            raise ReadError("the module's output does not depend on its input")
        return y

    def _call(self, graph: Lowering, node: Any, args: Any, kwargs: Any) -> Value:
        leaves = pytree.tree_leaves((args, kwargs))
        if not any(isinstance(leaf, Tensor) for leaf in leaves):
            if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
                _refuse(node, "is random")
            return node.target(*args, **kwargs)
        if node.target is operator.getitem:
            return args[0][args[1]]
        if node is self.dropped:
            return args[0]
        name = operator_name(node.target)
        if name == "aten._assert_tensor_metadata":
            return None
        try:
            if name in MOVING:
                return move(graph, node.target, args, kwargs)
            if name in SHAPED:
                return node.target(torch.zeros(args[0].shape, dtype=torch.float64), *args[1:], **kwargs)
            if name in PLANES:
                return plane_map(args[0], node.target, args[1:], kwargs, PLANES[name])
            if name in SMOOTH and not graph.allows_smooth:
                raise NotLoweredError(f"is not piecewise linear; {HINT}")
            lower = OPERATORS.get(str(node.target)) or OPERATORS.get(name)
            if lower is None:
                raise NotLoweredError("is not piecewise linear, or not lowered yet")
            kwargs = {key: value for key, value in kwargs.items() if key not in ("device", "layout", "memory_format")}
            return lower(*args, **kwargs)
        except NotLoweredError as error:
            hint = "; with logits=True it is dropped where it ends the network" if name in FINAL else ""
            _refuse(node, f"{error}{hint}")
        except OmltExtError as error:
            raise ReadError(f"{where(node)}: {error}") from None
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            _refuse(node, f"is not lowered in this use ({' '.join(str(error).split())[:120]})")

    def run(self, x: Any) -> tuple[Any, Any]:
        """(output, argument of the dropped operator) of the exported graph itself at x."""
        values = [x if n is self.input else self.constants[n.name] for n in self.nodes if n.op == "placeholder"]
        interpreter = torch.fx.Interpreter(self.module, garbage_collect_values=False)
        interpreter.run(*values)
        final = self.dropped.args[0] if self.dropped is not None else self.output
        return interpreter.env[self.output], interpreter.env[final]


def _constants(program: ExportedProgram) -> dict[str, Any]:
    """Parameters, buffers and constants of the module, under the names of their placeholders."""
    held = {**program.constants, **program.state_dict}
    return {
        spec.arg.name: held[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.target is not None and spec.target in held
    }


def where(node: Any) -> str:
    """The submodule and the operator of a node."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]).replace("L['self'].", "").replace("L['self']", "") if stack else ""
    return f"submodule {path!r}, node {node.name!r}" if path else f"node {node.name!r}"


def _refuse(node: Any, reason: str) -> NoReturn:
    name = str(node.target)
    raise UnsupportedOperatorError(
        f"{where(node)}: the operator {name} {reason}. Supported: {SUPPORTED}", node=node.name, operator=name
    )
