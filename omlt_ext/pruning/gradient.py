"""Pruning by how much the loss would change to first order: the weights with the smallest |w g| go.

Symbols: w the weights, g the gradient of the mean loss on the data by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domain import Floats
from ..errors import OptionError
from .gradients import SampleGradients
from .method import Task, keep_largest

SAMPLES = 4096  # whose factors are held together
ROUNDING = 1e-9  # of the largest value: a network whose errors are below it reproduces its data


@dataclass(frozen=True)
class Gradient:
    """Keeps the weights with the largest |w_i g_i|.

    Raises `OptionError` where the network reproduces the values of the data: every g_i is 0 then, as it is for a
    network that is pruned on its own outputs.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.pruning import prune
    >>> network = Network([Layer([[3.0, 0.1], [0.2, 3.0]], [0.0, 0.0], relu=False)])
    >>> prune(network, Gradient(), 0.5, data=([[0.0, 1.0]], [0])).masks[0].tolist()  # the first input is always 0
    [[False, True], [False, True]]
    """

    needs_data: ClassVar[bool] = True
    by_neuron: ClassVar[bool] = False

    def prune(self, task: Task) -> Floats:
        """w (d,) with zeros where the scores are smallest."""
        if reproduces(task):
            raise OptionError(
                "the network reproduces the values of the data, so that every gradient is 0; give labels or measured "
                'values, or take another method, such as "undecayed" or "cbs"'
            )
        return np.where(keep_largest(np.abs(task.w * loss_gradient(task)), task), task.w, 0.0)


def loss_gradient(task: Task) -> Floats:
    """(d,): the gradient of the mean loss on all the data, without weight decay; `OptionError` where it overflows."""
    n_samples, total = task.samples.n_samples, np.zeros(task.w.size)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, n_samples, SAMPLES):
            some = task.samples.take(slice(first, first + SAMPLES))
            total += SampleGradients.of(task.weights, task.network, some).mean() * (some.n_samples / n_samples)
        if not np.isfinite(total @ total):
            raise OptionError("the gradients of the loss overflow on these data; scale the data or the network")
    return total


def reproduces(task: Task) -> bool:
    """Whether the network's outputs are the values of the data, up to rounding."""
    wanted = task.samples.values
    if wanted is None:
        return False
    error = np.abs(task.network(task.samples.inputs) - wanted).max()
    return bool(error <= ROUNDING * np.abs(wanted).max())
