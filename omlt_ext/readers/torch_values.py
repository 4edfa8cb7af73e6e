"""What the PyTorch readers share: operands, their numbers, and the refusal of an operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from ..domain import Floats
from .lowering import Tensor

Value: TypeAlias = Any  # Tensor, a constant torch.Tensor, a number, or a sequence of these


class NotLoweredError(Exception):
    """An operator, or this use of it, is not lowered: the message says why, the reader adds where."""


def numbers(value: Value) -> Floats:
    """A constant operand as an array."""
    if isinstance(value, Tensor):
        raise NotLoweredError("of two tensors that both depend on the input is not piecewise linear")
    array = value.detach().cpu().double().numpy() if isinstance(value, torch.Tensor) else value
    return np.asarray(array, dtype=np.float64)


def operator_name(target: Any) -> str:
    """An operator's name without its overload: "aten.add" for aten.add.Tensor."""
    return ".".join(str(target).split(".")[:2])


def spatial(values: int | Sequence[int], n: int) -> tuple[int, ...]:
    """One number, or one for each of n axes."""
    numbers_ = (values,) if isinstance(values, int) else tuple(values)
    return numbers_ * n if len(numbers_) == 1 else numbers_


def axes_of(dims: Value, ndim: int) -> tuple[int, ...]:
    listed = (dims,) if isinstance(dims, int) else tuple(dims or range(ndim))
    return tuple(sorted(d % ndim for d in listed))
