"""Tasks run here or by the workers of any executor: same results, and a lost worker costs its tasks only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from typing import NamedTuple

from .task import Outcome, Task

PATIENCE = 10.0  # seconds past the deadline that a worker gets to hand in what it has


class ExecutorGone(Exception):
    """An executor that is broken or shut down."""


class Failure(NamedTuple):
    """An error that a task raised, carried home: what a future itself raises is then always the executor's."""

    error: Exception


def outcomes(
    function: Callable[[Task], Outcome], tasks: Sequence[Task], executor: Executor | None
) -> Iterator[Outcome | str]:
    """The outcome of every task in order; a sentence in place of one that was lost. Errors of a task are raised.

    Raises `ExecutorGone`, before anything else, where the executor takes no tasks any more.
    """
    if executor is None:
        for task in tasks:
            yield function(task)
        return
    futures: list[Future[Outcome | Failure]] = []
    try:
        try:
            futures += [executor.submit(guarded, function, task) for task in tasks]
        except Exception as error:  # broken or shut down: each kind of executor has its own error
            raise ExecutorGone(_sentence(error)) from error
        for task, future in zip(tasks, futures, strict=True):
            yield _result(task, future)
    finally:
        for future in futures:
            future.cancel()


def guarded(function: Callable[[Task], Outcome], task: Task) -> Outcome | Failure:
    """What a worker runs."""
    try:
        return function(task)
    except Exception as error:
        return Failure(error)


def _result(task: Task, future: Future[Outcome | Failure]) -> Outcome | str:
    left = None if task.deadline is None else max(0.0, task.deadline - time.time()) + PATIENCE
    try:
        result = future.result(left)
    except TimeoutError:
        return "no answer by the time limit"
    except (Exception, CancelledError) as error:
        return _sentence(error)
    if isinstance(result, Failure):
        if isinstance(result.error, MemoryError):
            return _sentence(result.error)
        raise result.error
    return result


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
