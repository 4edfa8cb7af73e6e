"""What a heuristic is: options, and one method that searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ..plugins import HEURISTICS, component
from .incumbent import Incumbent
from .problem import Problem


class Heuristic(Protocol):
    """A frozen dataclass of options, found by its name through the entry points `omlt_ext.heuristics`.

    `search` offers points to `incumbent` until `incumbent.goes_on()` is False or its own work is done: `rounds` of it,
    where `rounds` is given; what a round is, the heuristic says. With the same `rng` and enough time it does the same.
    It lets Ctrl-C pass through: what was offered is kept. Without a time limit and without `rounds` it ends by itself.

    It may have a method `nth(j)` as well: the heuristic that takes its place as the j-th of several side by side.
    """

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None: ...


def heuristic(choice: str | Heuristic) -> Heuristic:
    """A heuristic by name ("auto", "relaxing_walk", ...) or the object itself.

    >>> heuristic("hill")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    omlt_ext.errors.OptionError: unknown method 'hill'; choose one of ...
    """
    found: Heuristic = component(HEURISTICS, choice, "method", "search(problem, incumbent, rng, rounds)")
    return found


def nth(chosen: Heuristic, j: int) -> Heuristic:
    """The j-th of several searches side by side: the heuristic itself, unless it says otherwise."""
    other: Callable[[int], Heuristic] | None = getattr(chosen, "nth", None)
    return chosen if other is None else other(j)
