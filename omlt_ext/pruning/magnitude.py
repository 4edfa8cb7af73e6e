"""Magnitude pruning: the smallest weights go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domain import Floats
from .method import Task, keep_largest


@dataclass(frozen=True)
class Magnitude:
    """Keep the weights with the largest |w|. Needs no data.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.pruning import prune
    >>> network = Network([Layer([[1.0, -3.0], [0.5, 2.0]], [0.0, 0.0], relu=False)])
    >>> prune(network, "magnitude", 0.5).masks[0].tolist()
    [[False, True], [False, True]]
    """

    needs_data: ClassVar[bool] = False
    by_neuron: ClassVar[bool] = False

    def prune(self, task: Task) -> Floats:
        """w with the rest set to 0."""
        return np.where(keep_largest(np.abs(task.w), task), task.w, 0.0)
