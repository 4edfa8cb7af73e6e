"""Structured pruning: whole ReLUs go, those with the smallest incoming weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domain import Floats
from ..errors import OptionError
from ..network import Bools
from .method import Task

LEAST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Neurons:
    """In each hidden layer, set the incoming weights of the ReLUs with the smallest norm |W_j|_1 or |W_j|_2 to 0.

    Of n ReLUs of a layer round(sparsity n) go, those that have no weights from the start among them, but one stays
    unless the sparsity is 1; of equal ones those that come first stay. Linear neurons, which carry values past a layer
    and cost no binary, and the output layer stay. A neuron that goes keeps its bias: it is the constant max(0, b_j),
    which `fold` adds to the next biases. Needs no data.

    `norm`: 1 (the default, as in arXiv 2505.01985) or 2. Raises `OptionError` for another one.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.pruning import prune
    >>> hidden = Layer([[1.0, -3.0], [0.5, 2.0], [1.0, 1.0]], [0.0, 0.0, 3.0], relu=True)
    >>> pruned = prune(Network([hidden, Layer([[1.0, 1.0, 2.0]], [0.0], relu=False)]), "neurons", 0.3)
    >>> pruned.network, pruned.network.layers[1].bias
    (<Network 2-2-1 from arrays>, array([6.]))
    """

    norm: int = 1

    needs_data: ClassVar[bool] = False
    by_neuron: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.norm, bool) or self.norm not in (1, 2):
            raise OptionError(f"norm is {self.norm!r}; it must be 1 or 2")

    def prune(self, task: Task) -> Floats:
        """w with the rows of the neurons that go set to 0."""
        w, places = task.w.copy(), task.weights
        for layer, rows, part in zip(task.network.layers[:-1], places.rows, places.slices, strict=False):
            shares = np.abs(task.w[part]) / np.abs(task.w[part]).max(initial=LEAST)  # squares of huge weights overflow
            sizes = np.bincount(rows, shares**self.norm, minlength=layer.n_out).astype(np.float64)
            w[part][_smallest(sizes, layer.relu, task.sparsity)[rows]] = 0.0
        return w


def _smallest(sizes: Floats, relu: Bools, sparsity: float) -> Bools:
    """(n_out,): True at the share of the ReLUs that goes."""
    ranked = np.flatnonzero(relu)
    ranked = ranked[np.argsort(-sizes[ranked], kind="stable")]
    gone = round(sparsity * ranked.size)
    if sparsity < 1.0:
        gone = min(gone, max(0, ranked.size - 1))
    goes = np.zeros(relu.size, dtype=bool)
    goes[ranked[ranked.size - gone :]] = True
    return goes
