"""Smooth activations of symbolic tensors, where the caller of the reader has asked for them."""

from __future__ import annotations

from ..curves import SIGMOID, SOFTPLUS, TANH
from .lowering import Tensor

HINT = "load_network(..., smooth=True) reads it, for formulations of nonlinear models"


def sigmoid(t: Tensor) -> Tensor:
    """1 / (1 + e^-t).

    >>> from omlt_ext.readers.lowering import Lowering
    >>> x = Lowering(allows_smooth=True).input("x", (1,))
    >>> x.graph.to_network({"y": 2.0 * sigmoid(x)})([0.0])
    array([1.])
    """
    return t.graph.smooth(t, SIGMOID)


def tanh(t: Tensor) -> Tensor:
    """tanh(t)."""
    return t.graph.smooth(t, TANH)


def softplus(t: Tensor) -> Tensor:
    """log(1 + e^t)."""
    return t.graph.smooth(t, SOFTPLUS)


BY_NAME = {"sigmoid": sigmoid, "tanh": tanh, "softplus": softplus}
