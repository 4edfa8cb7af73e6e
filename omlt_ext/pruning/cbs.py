"""The Combinatorial Brain Surgeon: which weights are best pruned together, and how the others make up for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domain import Floats, Ints
from ..errors import OptionError
from ..network import Bools
from ..options import check_choice, check_count, check_flag, check_number
from .exact_selection import exact_selection
from .gradients import SampleGradients, curvature_gradients
from .method import Task, keep_largest
from .swaps import Selection, search
from .weight_update import Update, updated

LARGEST_CHUNK = 1_000  # weights of a random start that compete with each other
JUDGED = 5_000  # samples on which the training loss chooses between selections
DAMPS = (0.1, 1.0, 10.0)  # times the damping: those that the update tries


@dataclass(frozen=True)
class CBS:
    """Prune the set of weights P with the least w_P' H_PP w_P; then move the others by delta, least delta' H delta.

    H = G' G / N + damp m I stands for the Hessian of the training loss, G (N, d) a gradient for each of N samples, m
    the mean diagonal entry of G' G / N, so that damping has no unit. Selection (`swaps`): the best by training loss of
    `starts` masks of large weights (the first is plain magnitude, the others random), then up to `passes` passes of
    swaps between `window` promising weights on either side; swaps stay within a layer where layers are pruned one by
    one. `exact`: the proven optimum of the selection instead, by mixed-integer programming (`exact_selection`), for
    small networks. `update` (`weight_update`): damped least squares, a step as long as the training loss falls, for
    the mask before the swaps and for the one after them; the better of the two is taken.

    `curvature`: "softened", or "empirical" as in the source, see `curvature_gradients`. `samples`: how many at most G
    is made of, drawn at random. Memory is that of a few arrays (N, N) and (N, neurons): H and G are never formed.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.pruning import prune
    >>> network = Network([Layer([[1.0, 1.2, -3.0]], [0.0], relu=False)])
    >>> X = [[1.0, 1.0, 0.0], [-2.0, -2.0, 1.0], [0.5, 0.5, -1.0]]  # the first two inputs are the same
    >>> prune(network, CBS(damp=1e-9), 1 / 3, X).unfolded.layers[0].weight.round(3)
    array([[ 0. ,  2.2, -3. ]])

    Raises `OptionError` for options that cannot be, for an exact selection among too many weights and for data on
    which the gradients overflow. Source: Yu, Serra, Ramalingam and Zhe, The Combinatorial Brain Surgeon, ICML 2022
    (arXiv 2203.04466).
    """

    update: bool = True
    damp: float = 1.0
    starts: int = 10
    passes: int = 50
    window: int = 128
    samples: int = 1_000
    curvature: str = "softened"
    exact: bool = False

    needs_data: ClassVar[bool] = True
    by_neuron: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_flag("update", self.update)
        check_flag("exact", self.exact)
        check_number("damp", self.damp, positive=True)
        check_choice("curvature", self.curvature, ("softened", "empirical"))
        for name, least in (("starts", 1), ("passes", 0), ("window", 1), ("samples", 1)):
            check_count(name, getattr(self, name), least)

    def prune(self, task: Task) -> Floats:
        """w (d,), 0.0 where it is pruned."""
        w, weights = task.w, task.weights
        judges = task.samples.take(_some(task.samples.n_samples, JUDGED, task.rng))
        gradients, damp = self._curvature(task)

        def loss(moved: Floats) -> float:
            return judges.loss(weights.network_with(moved))

        def loss_of_mask(keep: Bools) -> float:
            return loss(np.where(keep, w, 0.0))

        masks = self._masks(task, Selection(gradients, w, damp), loss_of_mask)
        if not self.update:
            return np.where(masks[-1], w, 0.0)
        damps = tuple(damp * times for times in DAMPS)
        return min((updated(Update(gradients, w, keep), damps, loss) for keep in masks), key=loss)

    def _curvature(self, task: Task) -> tuple[SampleGradients, float]:
        """G, and what is added to the diagonal of G' G / N."""
        learned = task.samples.take(_some(task.samples.n_samples, self.samples, task.rng))
        with np.errstate(over="ignore", invalid="ignore"):
            gradients = curvature_gradients(task.weights, task.network, learned, task.rng, kind=self.curvature)
            total = float((gradients.squares() * (task.w != 0.0)).sum())
            if not np.isfinite(total * total * learned.n_samples**2):
                raise OptionError("the gradients of the loss overflow on these data; scale the data or the network")
        mean = total / max(1, int((task.w != 0.0).sum()))
        return gradients, self.damp * mean or 1.0  # where no weight has any effect, magnitudes decide

    def _masks(self, task: Task, selection: Selection, loss: Callable[[Bools], float]) -> list[Bools]:
        """Weights to keep, the best selection last."""
        if self.exact:
            return [exact_selection(selection, task)]
        starts = [keep_largest(np.abs(task.w), task), *(_random_start(task) for _ in range(self.starts - 1))]
        start = min(starts, key=loss)
        found = search(selection, start, _groups(task), loss, passes=self.passes, window=self.window)
        return [start] if found is start else [start, found]


def _some(n: int, most: int, rng: np.random.Generator) -> Ints:
    """At most so many of n samples, at random."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def _groups(task: Task) -> Ints:
    """(d,): the number of each weight's group, -1 where it is 0 already."""
    group = np.full(task.w.size, -1)
    for k, (part, _) in enumerate(task.groups):
        group[part] = k
    return np.where(task.w != 0.0, group, -1)


def _random_start(task: Task) -> Bools:
    """Randomized magnitude: the weights of a group are shuffled into chunks, the largest of each chunk stay."""
    score = np.full(task.w.size, -np.inf)
    for part, _ in task.groups:
        alive = part.start + np.flatnonzero(task.w[part])
        size = np.abs(task.w[alive])
        chunk = task.rng.permutation(alive.size) // min(max(int(np.sqrt(alive.size)), 1), LARGEST_CHUNK)
        order = np.lexsort((-size, chunk))
        place = np.empty(alive.size)
        place[order] = np.arange(alive.size) - np.searchsorted(chunk[order], chunk[order])  # 0: largest of its chunk
        score[alive[np.lexsort((-size, place))]] = -np.arange(alive.size, dtype=np.float64)
    return keep_largest(score, task)
