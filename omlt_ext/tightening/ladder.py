"""The effort ladder: each rung starts from the one before and gives bounds that are at least as tight."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from ..bounds import Bounds
from ..domain import Box, Floats, Polytope, as_domain
from ..encoding import Ints
from ..errors import NetworkError, OptionError
from ..network import Network
from ..propagation import crown, interval
from ..propagation.crown import layer_by_layer
from ..propagation.dual import head
from ..propagation.interval import Range, collect, given
from .effort import Effort
from .parallel import ExecutorGone, outcomes
from .rungs import CHUNK_ROWS, RUNGS
from .sidecar import Sidecar
from .task import Outcome, Task

logger = logging.getLogger("omlt_ext")

MOST_POINTS = 256  # found points that are handed on from layer to layer


def tighten_bounds(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    effort: str | Effort = "dual",
    *,
    bounds: Bounds | None = None,
    time_limit: float | None = None,
    executor: Executor | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> Bounds:
    """Bounds l <= z <= u of every pre-activation of a network over a domain, as tight as `effort` asks.

    `domain` is a `Box`, a `Polytope`, or a pair (lower, upper), each a number or n_in numbers. Efforts, each starting
    from the one before: "interval" (also "naive"), interval arithmetic; "crown", a linear relaxation of every ReLU;
    "dual" (default), the same with its slopes optimised for each bound, close to the LP over the relaxation; "split",
    the same over a small tree of signs for each bound, below the LP; "lp" ("weak"), one LP per bound; "milp"
    ("strong"), one MILP per bound. `Effort` has the dials in between. All bounds up to "lp" are valid in exact
    arithmetic for the float64 weights; those of MILPs are the solver's dual bounds, widened by its tolerance.

    `bounds`, known already on the domain or on a larger one, are met layer by layer and make later layers tighter.
    `time_limit` in seconds: interval and CROWN always run, of the rest what there is time for. Ctrl-C ends the run as
    well; both return the best bounds so far, whose `notes` say so. `executor`, any of `concurrent.futures`, shares out
    the tasks of each layer; the bounds are the same whatever its workers, and tasks lost with a worker leave their
    neurons at the bounds before, which `notes` say. `resume` names a file: the run writes it after each layer, and goes
    on from it if it is there. `progress` draws a bar on standard error.

    Raises `BoundsError` for an unknown effort, for bounds that overflow and for given bounds that do not hold on the
    domain, `ShapeError` for a domain of the wrong size, `NetworkError` for anything but a `Network`, `OptionError` for
    other arguments.

    >>> from omlt_ext import Layer
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    >>> for effort in ("interval", "crown", "dual", "split"):
    ...     print(f"{tighten_bounds(network, (-1, 1), effort).upper[1][0]:.6f}")
    4.000000
    3.000000
    3.000000
    2.000000
    """
    if not isinstance(network, Network):
        raise NetworkError(f"expected a Network, not {type(network).__name__}; load_network makes one")
    chosen = Effort.of(effort).within(time_limit)
    if chosen.layers is not None and max(chosen.layers, default=0) >= len(network.layers):
        raise OptionError(f"layers {chosen.layers}: the network has the layers 0 to {len(network.layers) - 1}")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise OptionError(f"executor is {executor!r}; it must be an executor of concurrent.futures")
    begin = time.time()
    box, polytope = as_domain(domain, network.n_inputs)
    sidecar = None if resume is None else Sidecar(resume, network, box, polytope)
    climb = Climb(network, chosen, executor, sidecar, begin)
    known = climb.recall(bounds)
    found = interval(network, domain, known)
    if "crown" in chosen.rungs:
        found = crown(network, domain, found)
    with climb.bar(progress):
        for position, rung in enumerate(chosen.rungs):
            if rung in RUNGS and climb.stopped is None:
                found = layer_by_layer(network, found, partial(climb.improve, found, position))
                climb.remember(found, (position, len(network.layers) - 1))
    return replace(found, notes=tuple(climb.notes))


class Climb:
    """One run up the ladder: its tasks, its clock, its file, and what happened on the way."""

    def __init__(
        self, network: Network, effort: Effort, executor: Executor | None, sidecar: Sidecar | None, begin: float
    ) -> None:
        self.network, self.effort, self.executor, self.sidecar = network, effort, executor, sidecar
        self.deadline = None if effort.seconds is None else begin + effort.seconds
        self.points: Floats = np.empty((0, network.n_inputs))
        self.done = (-1, -1)  # (position of the rung, layer) finished last
        self.stopped: str | None = None
        self.notes: list[str] = []
        self._bar: tqdm[Any] = tqdm(disable=True)

    def recall(self, bounds: Bounds | None) -> Bounds | None:
        """The given bounds and those of the run's file, if there is one."""
        if self.sidecar is None:
            return bounds
        saved, self.done, points = self.sidecar.read(self.effort)
        if saved is None:
            return bounds
        self.points = self.points if points is None else points
        return saved if bounds is None else saved.intersect(bounds)

    def remember(self, bounds: Bounds, position: tuple[int, int]) -> None:
        """Write the file, unless the run was stopped in this layer."""
        if self.sidecar is not None and self.stopped is None and position > self.done:
            self.done = position
            self.sidecar.write(bounds, self.effort, position, self.points)

    def bar(self, progress: bool) -> tqdm[Any]:
        """A bar of neurons, each counted once a rung."""
        neurons = sum(layer.n_out for layer in self.network.layers)
        rungs = sum(rung in RUNGS for rung in self.effort.rungs)
        self._bar = tqdm(total=rungs * neurons, disable=not progress, unit="neuron", leave=False)
        return self._bar

    def improve(
        self, start: Bounds, position: int, k: int, ranges: Sequence[Range], p: Floats, q: Floats
    ) -> Range | None:
        """Layer k's range by one rung, None where there is nothing to do."""
        rung, z, layer = self.effort.rungs[position], ranges[-1], self.network.layers[k]
        self._bar.set_postfix_str(f"{rung}, layer {k}", refresh=False)
        if k > 0:
            later = [given(start, i) for i in range(k, len(self.network.layers))]
            self.remember(collect([*ranges[:-1], *later], self.network, start.box, start.polytope), (position, k - 1))
        neurons = self.effort.select(k, z, layer.relu, last=k == len(self.network.layers) - 1)
        affine = k == 0 and start.polytope is None  # in x: the interval is as tight as can be
        if affine or neurons.size == 0 or self.stopped is not None or (position, k) <= self.done:
            self._bar.update(layer.n_out)
            return None
        self._bar.update(layer.n_out - neurons.size)
        size = self.effort.chunk_rows or CHUNK_ROWS[rung]
        parts = np.split(neurons, range(size, neurons.size, size))
        return self._gather(rung, k, parts, [self._task(start, ranges, part) for part in parts])

    def _task(self, start: Bounds, ranges: Sequence[Range], neurons: Ints) -> Task:
        return Task(*head(self.network, start, ranges, neurons), self.effort, self.points, self.deadline)

    def _gather(self, rung: str, k: int, parts: Sequence[Ints], tasks: Sequence[Task]) -> Range:
        """The outcomes of all tasks as one range, infinite where nothing was found."""
        n = self.network.layers[k].n_out
        lower, upper, seconds = np.full(n, -np.inf), np.full(n, np.inf), np.zeros(n)
        points = [self.points]
        try:
            for part, outcome in zip(parts, self._outcomes(rung, tasks), strict=True):
                self._bar.update(part.size)
                if isinstance(outcome, Outcome):
                    lower[part], upper[part], seconds[part] = outcome.lower, outcome.upper, outcome.seconds
                    points.append(outcome.points)
                    if not outcome.finished:
                        self._stop(rung, k, "at the time limit" if self._late() else "by Ctrl-C")
                    if self.stopped is not None and self.executor is None:
                        break
                else:
                    self._lose(rung, k, part, outcome)
                if self._late():
                    self._stop(rung, k, "at the time limit")
        except KeyboardInterrupt:
            self._stop(rung, k, "by Ctrl-C")
        self.points = np.concatenate(points)[-MOST_POINTS:]
        return Range.by(rung, lower, upper, seconds)

    def _outcomes(self, rung: str, tasks: Sequence[Task]) -> Iterator[Outcome | str]:
        """By the executor, or here once it has gone."""
        try:
            yield from outcomes(RUNGS[rung], tasks, self.executor)
        except ExecutorGone as error:
            self.executor = None
            self._note(f"the executor takes no more tasks ({error}); the rest of the run works here")
            yield from outcomes(RUNGS[rung], tasks, None)

    def _late(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def _stop(self, rung: str, k: int, how: str) -> None:
        if self.stopped is None:
            self.stopped = how
            self._note(f"stopped {how} in layer {k} of the rung {rung!r}; the bounds are valid, not as tight as asked")

    def _lose(self, rung: str, k: int, neurons: Ints, why: str) -> None:
        named = ", ".join(map(str, neurons[:5])) + (f" and {neurons.size - 5} more" if neurons.size > 5 else "")
        self._note(f"lost in layer {k} of the rung {rung!r}: neurons {named} keep the bounds they had ({why})")

    def _note(self, sentence: str) -> None:
        self.notes.append(sentence)
        logger.warning(sentence)
