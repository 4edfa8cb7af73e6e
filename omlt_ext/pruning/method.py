"""What a pruning method is: options, and one step that sets weights to 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from ..domain import Floats
from ..network import Bools, Network
from ..plugins import PRUNING, component
from .data import Data
from .weights import Weights


@dataclass(frozen=True, eq=False)
class Task:
    """One step: `weights` as they are now, zeros where earlier steps have pruned.

    `sparsity` is the share of all weights (of neurons, for methods that prune those) that is 0 after this step;
    `groups` are parts of w and how many weights of each stay: one group for all layers, or one for each.
    `data` are there for methods that need them.
    """

    weights: Weights
    sparsity: float
    groups: tuple[tuple[slice, int], ...]
    data: Data | None
    rng: np.random.Generator

    @property
    def network(self) -> Network:
        return self.weights.network

    @property
    def w(self) -> Floats:
        """(d,), read-only."""
        return self.weights.vector

    @property
    def samples(self) -> Data:
        """The data of a method that needs them."""
        assert self.data is not None
        return self.data


class Method(Protocol):
    """A frozen dataclass of options, found by its name through the entry points `omlt_ext.pruning`.

    `prune` returns w (d,) after the step: 0.0 where a weight is pruned, and other weights changed where the method
    makes up for the loss. Weights that are 0 stay 0. `by_neuron`: it prunes whole neurons and does not look at the
    task's groups.
    """

    needs_data: ClassVar[bool]
    by_neuron: ClassVar[bool]

    def prune(self, task: Task) -> Floats: ...


def keep_largest(scores: Floats, task: Task) -> Bools:
    """(d,): in each group the weights with the largest scores, as many as stay; of equal ones those that come first.

    Weights that are 0 already are the last to be kept, whatever their scores.
    """
    keep = np.zeros(scores.size, dtype=bool)
    for part, count in task.groups:
        order = np.lexsort((-scores[part], task.w[part] == 0.0))
        keep[part.start + order[:count]] = True
    return keep & (task.w != 0.0)


def pruning_method(choice: str | Method) -> Method:
    """A method by name ("magnitude", "cbs", ...) or the object itself.

    >>> pruning_method("scissors")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    omlt_ext.errors.OptionError: unknown pruning method 'scissors'; choose one of ...
    """
    found: Method = component(PRUNING, choice, "pruning method", "prune(task)")
    return found
