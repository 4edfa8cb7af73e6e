"""What a worker gets and gives back: one rung for some neurons of one layer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..bounds import Bounds
from ..domain import Floats
from ..network import Network
from .effort import Effort


@dataclass(frozen=True, eq=False)
class Task:
    """Bound every neuron of the last layer of `network`.

    `network` is the part of the network up to a layer, with only the neurons asked for in that layer; `bounds` are
    known for all of it (and say on which domain), those of the last layer are to be improved. `points` (m, n_in) lie
    in the domain. `deadline` is a time of `time.time()`, the one clock that workers on several machines share.
    `watch(n)` hears of every n bounds that are settled, in the process that made the task only.
    """

    network: Network
    bounds: Bounds
    effort: Effort
    points: Floats
    deadline: float | None = None
    watch: Callable[[int], object] | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    def settle(self, count: int = 1) -> None:
        """Report that `count` more bounds are settled, two for each neuron."""
        if self.watch is not None:
            self.watch(count)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"watch": None}


class Outcome(NamedTuple):
    """What a task found: valid bounds of the last layer's n neurons, infinite where it has nothing to say.

    `lower`, `upper` and `seconds` have shape (n,): what was spent on each neuron. `points` (m, n_in) were found on the
    way and lie in the domain. `finished` is False where a time limit or Ctrl-C ended the task early.
    """

    lower: Floats
    upper: Floats
    seconds: Floats
    points: Floats
    finished: bool
