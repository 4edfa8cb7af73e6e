"""Undecayed pruning: magnitude and gradient in one score, the gradient of the loss with the weight decay taken out.

Good et al., "Recall Distortion in Neural Network Pruning and the Undecayed Pruning Algorithm", NeurIPS 2022
(arXiv 2206.02976). Symbols: w the weights, g the gradient of the mean loss on the data (without decay), lambda the
weight decay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domain import Floats
from ..options import check_number
from .gradient import loss_gradient, reproduces
from .method import Task, keep_largest
from .recall import Recall

RATIOS = np.logspace(2.5, -0.5, 7)  # of lambda |w| to |g|, from almost magnitude to almost gradient


@dataclass(frozen=True)
class Undecayed:
    """Keeps the weights with the largest |-w_i g_i + lambda w_i^2|.

    Training has come to rest where g = -lambda w: there the score is 2 lambda w^2, and the order that of magnitudes.
    Elsewhere a weight counts for what the data do with it. `decay` is lambda, for a loss + lambda/2 |w|^2 (PyTorch's
    `weight_decay`; scikit-learn's `alpha` by the samples of a batch): the paper takes that of the training. A network
    that has not come to rest has gradients far larger than lambda w, mere noise, and the score goes wrong (measured
    in docs/PERFORMANCE.md). Without a `decay`, the default, lambda is therefore chosen: of seven from 0.3 to 300 times
    |g| / |w|, and of lambda -> infinity, which is magnitude, the one whose pruned network recognises most of the
    samples, and of equal ones the one with the least loss. Where the network reproduces the values of the data, g is
    rounding and magnitudes decide.

    Raises `OptionError` for a decay that is no number above 0.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.pruning import prune
    >>> network = Network([Layer([[3.0, 0.1], [0.2, 3.0]], [0.0, 0.0], relu=False)])
    >>> for decay in (1e-3, 1e3):  # the first input is always 0
    ...     print(prune(network, Undecayed(decay), 0.75, data=([[0.0, 1.0]], [0])).masks[0].tolist())
    [[False, False], [False, True]]
    [[True, False], [False, False]]
    """

    needs_data: ClassVar[bool] = True
    by_neuron: ClassVar[bool] = False
    decay: float | None = None

    def __post_init__(self) -> None:
        if self.decay is not None:
            check_number("decay", self.decay, positive=True)

    def prune(self, task: Task) -> Floats:
        """w (d,) with zeros where the scores are smallest."""
        if self.decay is None:
            pruned = (np.where(keep_largest(score, task), task.w, 0.0) for score in _candidates(task))
            return min(pruned, key=lambda w: _cost(task, w))
        return np.where(keep_largest(undecayed(task.w, loss_gradient(task), self.decay), task), task.w, 0.0)


def undecayed(w: Floats, g: Floats, decay: float) -> Floats:
    """(d,): the scores.

    >>> undecayed(np.array([1.0, -2.0, 3.0]), np.array([-0.1, 0.2, 0.0]), 0.1)
    array([0.2, 0.8, 0.9])
    """
    return np.abs(decay * w**2 - w * g)


def _cost(task: Task, w: Floats) -> tuple[float, float]:
    """(share of the samples that are not recognised, mean loss)."""
    samples, outputs = task.samples, task.weights.network_with(w)(task.samples.inputs)
    wrong = 0.0 if samples.labels is None else 1.0 - Recall.of(outputs, samples.labels).accuracy
    return wrong, float(samples.losses(outputs).mean())


def _candidates(task: Task) -> Iterator[Floats]:
    """Scores for growing weight of the gradient, magnitudes first; of equal costs the first one counts."""
    yield np.abs(task.w)
    if reproduces(task) or not task.w.any():
        return
    g = loss_gradient(task)
    for ratio in RATIOS:
        yield undecayed(task.w, g, ratio * float(np.linalg.norm(g) / np.linalg.norm(task.w)))
