"""One node of an ONNX graph while it is lowered: its attributes, its inputs as tensors or constants, and its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from ..domain import Floats
from ..errors import ReadError, UnsupportedOperatorError
from .lowering import Lowering, Tensor

Array: TypeAlias = NDArray[Any]
Value: TypeAlias = "Tensor | Array | None"

#: What lowers each operator: a function from a node to the values of its outputs. Filled by `lowers`.
OPERATORS: dict[tuple[str, str], Callable[[Node], Value | list[Value]]] = {}


def lowers(*names: str, domain: str = "") -> Callable[[Callable[[Node], Value | list[Value]]], Any]:
    """Decorator: this function lowers the operators `names`."""

    def register(function: Callable[[Node], Value | list[Value]]) -> Callable[[Node], Value | list[Value]]:
        for name in names:
            OPERATORS[domain, name] = function
        return function

    return register


@dataclass(eq=False)
class Node:
    """A node with its inputs: `Tensor`s that depend on the network's inputs, arrays, or None where omitted."""

    proto: onnx.NodeProto
    graph: Lowering
    opset: int
    inputs: list[Value]

    def __post_init__(self) -> None:
        self.label = self.proto.name
        self.operator = self.proto.op_type
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in self.proto.attribute}

    @property
    def place(self) -> str:
        """The node for a message: its name and its operator."""
        return self.label if self.label.endswith(f"({self.operator})") else f"{self.label} ({self.operator})"

    def refuse(self, reason: str) -> NoReturn:
        """Raise `UnsupportedOperatorError` for this node."""
        message = f"{self.label}: operator {self.operator} {reason}"
        raise UnsupportedOperatorError(message, node=self.label, operator=self.operator)

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute, or the standard's default."""
        value = self.attributes.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def number(self, name: str, default: float) -> float:
        """A real attribute; the standard keeps its defaults, like every real attribute, in single precision."""
        return float(self.attribute(name, np.float32(default)))

    def has(self, i: int) -> bool:
        """Whether input i is given."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def data(self, i: int = 0) -> Tensor:
        """Input i as a symbolic tensor."""
        if not self.has(i):
            raise ReadError(f"input {i} is missing")
        value = self.inputs[i]
        return value if isinstance(value, Tensor) else self.graph.constant(self.finite(i))

    def is_constant(self, i: int) -> bool:
        value = self.inputs[i]
        return not isinstance(value, Tensor) or value.matrix.nnz == 0

    def constant(self, i: int, what: str) -> Array:
        """Input i as an array; refused where it depends on the network's inputs."""
        if not self.has(i):
            raise ReadError(f"input {i} ({what}) is missing")
        value = self.inputs[i]
        if not isinstance(value, Tensor):
            return np.asarray(value)
        if value.matrix.nnz:
            self.refuse(f"is lowered only where its {what} (input {i}, {self.proto.input[i]!r}) is constant")
        return value.offset.reshape(value.shape)

    def finite(self, i: int, what: str = "values") -> Floats:
        """Input i as an array of finite numbers."""
        values = np.asarray(self.constant(i, what), dtype=np.float64)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            where = tuple(bad[0].tolist())
            raise ReadError(f"tensor {self.proto.input[i]!r} holds {values[where]} at {where}, not a finite number")
        return values

    def integers(self, i: int, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """Integers that older versions of the standard keep in attribute `name`, newer ones in input i."""
        if self.has(i):
            values = self.constant(i, name)
            if values.dtype.kind not in "iu":
                raise ReadError(f"its {name} are of type {values.dtype}, not integers")
            return [int(v) for v in values.ravel()]
        value = self.attribute(name, default)
        if value is None:
            return None
        return [int(v) for v in (value if isinstance(value, (list, tuple)) else [value])]

    def axis(self, axis: int, ndim: int) -> int:
        """A possibly negative axis of a tensor of `ndim` axes, checked."""
        if not -ndim <= axis < ndim:
            raise ReadError(f"axis {axis} does not exist in a tensor of {ndim} axes")
        return int(axis) % ndim

    def axes(self, axes: Sequence[int], ndim: int) -> tuple[int, ...]:
        """Several axes, checked and each once."""
        found = tuple(self.axis(a, ndim) for a in axes)
        if len(set(found)) < len(found):
            raise ReadError(f"an axis is named twice in {tuple(axes)}")
        return found
