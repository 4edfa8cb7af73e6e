"""The rungs by name, and those that need no solver as tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from ..domain import Floats
from ..plugins import formulation
from ..propagation import dual_rows, split_rows
from ..propagation.backend import open_backend
from .cut_lp import cut_rung
from .lp import lp_rung
from .strong import milp_rung
from .task import Outcome, Task


def dual_rung(task: Task) -> Outcome:
    """Dual ascent for all neurons of the task at once."""
    return _timed(task, dual_rows)


def split_rung(task: Task) -> Outcome:
    """A small tree over signs for each bound, all in one batch."""
    return _timed(task, partial(split_rows, leaves=task.effort.leaves))


def relaxed_rung(task: Task) -> Outcome:
    """LPs over triangles; where the formulation has separators, LPs over it and its cuts as well."""
    relus = formulation(task.effort.formulation)
    return cut_rung(task, relus) if getattr(relus, "separates", False) else lp_rung(task)


def _timed(task: Task, rows: Callable[..., tuple[Floats, Floats]]) -> Outcome:
    """Both bounds by `rows`; the time is shared out evenly."""
    effort, begin = task.effort, time.perf_counter()
    lower, upper = rows(
        *(task.network, task.bounds),
        steps=effort.steps,
        stop_at_sign=effort.stop_at_sign,
        backend=open_backend(effort.backend, effort.device),
        deadline=task.deadline,
    )
    seconds = np.full(lower.size, (time.perf_counter() - begin) / max(1, lower.size))
    finished = task.seconds_left is None or task.seconds_left > 0.0
    return Outcome(lower, upper, seconds, np.empty((0, task.network.n_inputs)), finished)


RUNGS: dict[str, Callable[[Task], Outcome]] = {
    "dual": dual_rung,
    "split": split_rung,
    "lp": relaxed_rung,
    "milp": milp_rung,
}
CHUNK_ROWS = {"dual": 256, "split": 64, "lp": 64, "milp": 16}  # neurons in a task
