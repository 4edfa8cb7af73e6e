"""Tasks run here or by the workers of any executor: same results, and a lost worker costs its tasks only.

BLAS adds up in another order on another number of threads. Each task therefore works on one thread, wherever it runs:
its result is the same bit for bit, and workers that share a machine do not get in each other's way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NoAnswer  # in Python 3.10 not yet the built-in one
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

from ..errors import OptionError

PATIENCE = 5.0  # seconds past the deadline in which workers hand in what they have


class Timed(Protocol):
    """A task that should be done by a time of `time.time()`, or whenever it is."""

    @property
    def deadline(self) -> float | None: ...


Job = TypeVar("Job", bound=Timed)
Result = TypeVar("Result")


class ExecutorGone(Exception):
    """An executor that is broken or shut down."""


class Failure(NamedTuple):
    """An error that a task raised, carried home: what a future itself raises is then always the executor's."""

    error: Exception


def check_executor(executor: object) -> None:
    """Raise `OptionError` for what takes no tasks; None is fine."""
    if executor is not None and (isinstance(executor, type) or not callable(getattr(executor, "submit", None))):
        raise OptionError(f"executor is {executor!r}; it must be an executor of concurrent.futures")


class OneThread:
    """BLAS on one thread while anyone is inside, also where the threads of a pool come and go."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._limiter: Any = None

    @cached_property
    def _libraries(self) -> ThreadpoolController:
        return ThreadpoolController()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limiter = self._libraries.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limiter.restore_original_limits()


one_thread = OneThread()


def outcomes(
    function: Callable[[Job], Result], tasks: Sequence[Job], executor: Executor | None, *, patient: bool = False
) -> Iterator[Result | str]:
    """The outcome of every task in order; a sentence in place of one that was lost. Errors of a task are raised.

    Ctrl-C is raised at once or, with `patient`, after those that are under way have had `PATIENCE` seconds to hand in
    what they have: a terminal sends it to its workers too.

    Raises `ExecutorGone`, before anything else, where the executor takes no tasks any more.
    """
    if executor is None:
        for task in tasks:
            with one_thread:
                outcome = function(task)
            yield outcome
        return
    futures: list[Future[Result | Failure]] = []
    try:
        try:
            futures += [executor.submit(guarded, function, task) for task in tasks]
        except Exception as error:  # broken or shut down: each kind of executor has its own error
            raise ExecutorGone(_sentence(error)) from error
        until = None
        for task, future in zip(tasks, futures, strict=True):
            try:
                outcome = _result(task, future, until)
            except KeyboardInterrupt:
                if not patient or until is not None:
                    raise
                until = time.time() + PATIENCE
                for other in futures:
                    other.cancel()
                outcome = _result(task, future, until)
            if not future.cancelled():
                yield outcome
        if until is not None:
            raise KeyboardInterrupt
    finally:
        for future in futures:
            future.cancel()


def guarded(function: Callable[[Job], Result], task: Job) -> Result | Failure:
    """What a worker runs."""
    try:
        with one_thread:
            return function(task)
    except Exception as error:
        return Failure(error)


def _result(task: Timed, future: Future[Any], until: float | None) -> Any:
    left = threading.TIMEOUT_MAX if until is None else max(0.0, until - time.time())
    if task.deadline is not None:
        left = min(left, max(0.0, task.deadline + PATIENCE - time.time()))
    try:
        result = future.result(left)
    except NoAnswer:
        return "no answer by the time limit"
    except Exception as error:  # the worker died, the pool broke, the cluster went away: its own error each time
        return _sentence(error)
    if isinstance(result, Failure):
        if isinstance(result.error, MemoryError):
            return _sentence(result.error)
        raise result.error
    return result


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
