"""Searches with different seeds side by side, on the workers of any executor; the best of them counts.

A lost worker costs its search, never the result.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from ..domain import Floats
from ..tightening.parallel import ExecutorGone, outcomes
from .heuristic import Heuristic, nth
from .incumbent import Incumbent
from .problem import Problem

logger = logging.getLogger("omlt_ext")

SEARCHES = 8


@dataclass(frozen=True, eq=False)
class SearchTask:
    """One search: what a worker gets. `sent` and `deadline` are times of `time.time()`."""

    heuristic: Heuristic
    problem: Problem
    gap: float
    start: Floats | None
    seed: tuple[int, int]
    rounds: int | None
    sent: float
    deadline: float | None


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a worker gives back: its best point, what was proved, and `rows` (time of `time.time()`, value, bound)."""

    v: Floats | None
    rows: list[tuple[float, float | None, float | None]]
    bound: float
    propagated: float
    nodes: int
    stopped_by: str


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
    task = SearchTask(chosen, problem, incumbent.gap, incumbent.v, (seed, 0), rounds, time.time(), deadline)
    tasks = [replace(task, seed=(seed, j), heuristic=nth(chosen, j)) for j in range(count)]
    lost, rows = [], [(incumbent.begin + seconds, value, bound) for seconds, value, bound in incumbent.rows]
    try:
        for outcome in outcomes(run_search, tasks, executor, patient=True):
            if isinstance(outcome, str):
                lost.append(outcome)
            else:
                merge(incumbent, outcome)
                rows += outcome.rows
    except ExecutorGone as error:
        logger.warning(f"the executor takes no work ({error}); searching here")
        chosen.search(problem, incumbent, np.random.default_rng([seed, 0]), rounds)
    finally:
        incumbent.rows = merged(rows, incumbent)
    if lost:
        logger.warning(f"{len(lost)} of {count} searches were lost: {lost[0]}")


def run_search(task: SearchTask) -> SearchOutcome:
    """What a worker runs."""
    now = time.time()
    limit = None if task.deadline is None else max(0.0, task.deadline - now)
    incumbent = Incumbent(task.problem, task.gap, limit, now)
    if task.start is not None:
        incumbent.offer(task.start)
    try:
        with interruptible():
            if incumbent.goes_on() and task.sent > Interrupted.at:
                task.heuristic.search(task.problem, incumbent, np.random.default_rng(list(task.seed)), task.rounds)
    except KeyboardInterrupt:
        incumbent.stopped_by, Interrupted.at = "interrupted", time.time()
    rows = [(now + seconds, value, bound) for seconds, value, bound in incumbent.rows]
    proved = incumbent.bound, incumbent.propagated, incumbent.nodes, incumbent.stopped_by
    return SearchOutcome(incumbent.v, rows, *proved)


class Interrupted:
    """When this process last saw Ctrl-C: searches that were sent before and wait in a pool's queue are not begun."""

    at = -np.inf


def wait_quietly() -> None:
    """For workers' processes, as an `initializer`: Ctrl-C ends a search, and between two of them it is not seen."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C in again, in a worker that `wait_quietly` made."""
    mine = multiprocessing.parent_process() is not None and threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def merge(incumbent: Incumbent, outcome: SearchOutcome) -> None:
    """Take over a worker's points and bound."""
    if outcome.v is not None:
        incumbent.offer(outcome.v)
    if outcome.propagated < incumbent.propagated:
        incumbent.prove(outcome.propagated, rigorous=True)
    if outcome.bound >= incumbent.value:
        incumbent.prove(outcome.bound)
    incumbent.nodes += outcome.nodes
    if outcome.stopped_by != "limit" and not (outcome.stopped_by == "infeasible" and incumbent.v is not None):
        incumbent.stopped_by = outcome.stopped_by


def merged(
    rows: list[tuple[float, float | None, float | None]], incumbent: Incumbent
) -> list[tuple[float, float | None, float | None]]:
    """One history (seconds, value, bound) of several that ran side by side: at each time the best of all.

    Values and bounds that the incumbent did not take, since the network refutes them, are left out.
    """
    found: list[tuple[float, float | None, float | None]] = []
    value, bound = -np.inf, np.inf
    least = max(incumbent.bound, incumbent.value)
    for when, its_value, its_bound in sorted(rows, key=lambda row: row[0]):
        better = its_value is not None and value < its_value <= incumbent.value
        tighter = its_bound is not None and least <= its_bound < bound
        value = its_value if better and its_value is not None else value
        bound = its_bound if tighter and its_bound is not None else bound
        if better or tighter:
            seconds = max(0.0, when - incumbent.begin)
            found.append((seconds, None if value == -np.inf else value, None if bound == np.inf else bound))
    return found
