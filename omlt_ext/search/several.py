"""Searches with different seeds side by side, on the workers of any executor; the best of them counts.

A lost worker costs its search, never the result.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ..domain import Floats
from ..tightening.parallel import ExecutorGone, outcomes
from .heuristic import Heuristic
from .incumbent import Incumbent
from .problem import Problem

logger = logging.getLogger("omlt_ext")

SEARCHES = 8


@dataclass(frozen=True, eq=False)
class SearchTask:
    """One search: what a worker gets. `deadline` is a time of `time.time()`."""

    heuristic: Heuristic
    problem: Problem
    gap: float
    start: Floats | None
    seed: tuple[int, int]
    rounds: int | None
    deadline: float | None


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a worker gives back: every improvement with its time, and what was proved."""

    points: list[tuple[float, Floats]]
    bound: float
    propagated: float
    nodes: int
    stopped_by: str


class Recorder(Incumbent):
    """An incumbent that keeps each of its points with the time it was found."""

    def __post_init__(self) -> None:
        self.found: list[tuple[float, Floats]] = []

    def record(self) -> None:
        if self.v is not None and (not self.found or self.found[-1][1] is not self.v):
            self.found.append((time.time(), self.v))
        super().record()


def search_several(
    chosen: Heuristic,
    problem: Problem,
    incumbent: Incumbent,
    seed: int,
    rounds: int | None,
    executor: Executor | None,
    searches: int | None,
) -> None:
    """Run `chosen` here, or `searches` of it by `executor`, and put what they find into `incumbent`."""
    if executor is None and searches in (None, 1):
        chosen.search(problem, incumbent, np.random.default_rng([seed, 0]), rounds)
        return
    count = SEARCHES if searches is None else searches
    deadline = None if incumbent.time_limit is None else incumbent.begin + incumbent.time_limit
    task = SearchTask(chosen, problem, incumbent.gap, incumbent.v, (seed, 0), rounds, deadline)
    tasks = [replace(task, seed=(seed, j)) for j in range(count)]
    lost = []
    try:
        for outcome in outcomes(run_search, tasks, executor):
            if isinstance(outcome, str):
                lost.append(outcome)
            else:
                merge(incumbent, outcome)
    except ExecutorGone as error:
        logger.warning(f"the executor takes no work ({error}); searching here")
        chosen.search(problem, incumbent, np.random.default_rng([seed, 0]), rounds)
    if lost:
        logger.warning(f"{len(lost)} of {count} searches were lost: {lost[0]}")


def run_search(task: SearchTask) -> SearchOutcome:
    """What a worker runs."""
    now = time.time()
    limit = None if task.deadline is None else max(0.0, task.deadline - now)
    recorder = Recorder(task.problem, task.gap, limit, now)
    if task.start is not None:
        recorder.offer(task.start)
    try:
        if recorder.goes_on():
            task.heuristic.search(task.problem, recorder, np.random.default_rng(list(task.seed)), task.rounds)
    except KeyboardInterrupt:
        recorder.stopped_by = "interrupted"
    return SearchOutcome(recorder.found, recorder.bound, recorder.propagated, recorder.nodes, recorder.stopped_by)


def merge(incumbent: Incumbent, outcome: SearchOutcome) -> None:
    """Take over a worker's points and bound."""
    for _, point in outcome.points[-1:]:
        incumbent.offer(point)
    if outcome.propagated < incumbent.propagated:
        incumbent.prove(outcome.propagated, rigorous=True)
    if outcome.bound >= incumbent.value:
        incumbent.prove(outcome.bound)
    incumbent.nodes += outcome.nodes
    if outcome.stopped_by != "limit":
        incumbent.stopped_by = outcome.stopped_by
