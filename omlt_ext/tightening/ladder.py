"""The effort ladder: each rung starts from the one before and gives bounds that are at least as tight.

Interval arithmetic and CROWN come first, for the whole network. Then, for each rung above and for each layer in turn:
the interval from the layer before, what the rung's tasks find here or on an executor's workers, and the run's file.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator, Iterable
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from ..bounds import Bounds
from ..domain import Box, Floats, Ints, Polytope, as_domain
from ..errors import InfeasibleError, OptionError
from ..mixed import piecewise_linear
from ..network import Network
from ..plugins import formulation
from ..propagation import crown, interval
from ..propagation.dual import head
from ..propagation.interval import Range, activation_range, affine_range, check_given, checked, collect, given
from .effort import Effort
from .parallel import ExecutorGone, check_executor, outcomes
from .rungs import CHUNK_ROWS, RUNGS
from .sidecar import Saved, Sidecar
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
    `time_limit` in seconds: interval and CROWN always run, of the rest what there is time for. Ctrl-C ends the rungs
    above CROWN as well; both return the best bounds so far, whose `notes` say so. `executor`, any of
    `concurrent.futures`, shares out the tasks of each layer; the bounds are the same whatever its workers, and tasks
    lost with a worker leave their neurons at the bounds before, which `notes` say. `resume` names a file: the run
    writes it after each layer, and goes on from it if it is there. `progress` draws a bar on standard error.

    Raises `BoundsError` for an unknown effort, for bounds that overflow and for given bounds that do not hold on the
    domain, `InfeasibleError` for a polytope that is seen to be empty, `ShapeError` for a domain of the wrong size,
    `NetworkError` for anything but a `Network`, `FormulationError` and `OptionError` for other arguments, `ReadError`
    for a damaged file to resume.

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
    begin = time.time()
    piecewise_linear(network)
    chosen = Effort.of(effort).within(time_limit)
    if chosen.layers is not None and max(chosen.layers, default=0) >= len(network.layers):
        raise OptionError(f"layers {chosen.layers}: the network has the layers 0 to {len(network.layers) - 1}")
    if "lp" in chosen.rungs:
        formulation(chosen.formulation)  # an unknown one is refused now, not after hours of LPs
    check_executor(executor)
    box, polytope = as_domain(domain, network.n_inputs)
    check_given(bounds, network, box, polytope)
    sidecar = None if resume is None else Sidecar(resume, network, box, polytope, bounds, chosen)
    saved = None if sidecar is None else sidecar.read()
    done = None if saved is None else saved.position
    start = _start(network, domain, chosen, bounds, saved)
    if RUNGS.keys().isdisjoint(chosen.rungs) and sidecar is None:
        return start  # all done in one pass
    climb = Climb(network, chosen, start, executor)
    if saved is not None:
        climb.points, climb.finished = saved.points, saved.finished
    climb.deadline = None if chosen.seconds is None else begin + chosen.seconds
    try:
        with climb.bar(progress):
            for position, rung in enumerate(chosen.rungs):
                for k in range(len(network.layers) if rung in RUNGS else 0):
                    if done is not None and (position, k) <= done:
                        climb.skip(k)
                        continue
                    climb.improve(rung, k)
                    done = (position, k) if climb.whole else done  # what was lost is for the next run to do again
                    if sidecar is not None:
                        sidecar.write(climb.bounds, done, climb.points)
    except Stopped:
        climb.note(f"stopped at the time limit {climb.where}; the bounds are valid, not as tight as asked")
    except KeyboardInterrupt:
        climb.note(f"stopped by Ctrl-C {climb.where}; the bounds are valid, not as tight as asked")
    if sidecar is not None and climb.whole and climb.finished.size > 0:  # of the layer after `done`, cut short
        sidecar.write(climb.bounds, done, climb.points, climb.finished)
    return climb.bounds


def _start(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    effort: Effort,
    bounds: Bounds | None,
    saved: Saved | None,
) -> Bounds:
    """Where the climb starts: at CROWN's bounds, or where the same run was when its file was written."""
    if saved is not None:
        known = replace(saved.bounds, notes=())  # they said why that run ended
        if saved.same:
            return known
        bounds = known if bounds is None else known.intersect(bounds)
    begin = time.perf_counter()
    found = interval(network, domain, bounds)
    if "crown" in effort.rungs:
        found = crown(network, domain, found)
    each = (time.perf_counter() - begin) / sum(layer.n_out for layer in network.layers)
    return replace(found, seconds=tuple(spent + each for spent in found.seconds))


class Stopped(Exception):
    """The time is up."""


class Climb:
    """One run up the ladder: `ranges` hold what is known of each layer, valid at any time."""

    def __init__(self, network: Network, effort: Effort, start: Bounds, executor: Executor | None) -> None:
        self.network, self.effort, self.start, self.executor = network, effort, start, executor
        self.ranges = [given(start, k) for k in range(len(network.layers))]
        self.points: Floats = np.empty((0, network.n_inputs))
        self.deadline: float | None = None
        self.notes: list[str] = list(start.notes)
        self.whole = True  # nothing has been lost
        self.finished: Ints = np.empty(0, dtype=np.int64)  # neurons of the layer at work that are done
        self.where = "before the first layer"
        self._bar: tqdm[Any] = tqdm(disable=True)

    @property
    def bounds(self) -> Bounds:
        """All that is known now."""
        found = collect(self.ranges, self.network, self.start.box, self.start.polytope)
        return replace(found, notes=tuple(self.notes))

    def bar(self, progress: bool) -> tqdm[Any]:
        """A bar of bounds, two for each neuron on each rung."""
        neurons = sum(layer.n_out for layer in self.network.layers)
        rungs = sum(rung in RUNGS for rung in self.effort.rungs)
        self._bar = tqdm(total=2 * rungs * neurons, disable=not progress, unit="bound", leave=False)
        return self._bar

    def skip(self, k: int) -> None:
        """Layer k is done already."""
        self._bar.update(2 * self.network.layers[k].n_out)

    def improve(self, rung: str, k: int) -> None:
        """Layer k by one rung: the interval from the layer before, then the bounds that the rung's tasks find."""
        layers, begin = self.network.layers, time.perf_counter()
        self.where = f"in layer {k} of the rung {rung!r}"
        self._bar.set_postfix_str(f"{rung}, layer {k}")
        end = self._bar.n + 2 * layers[k].n_out
        if k > 0:
            self._meet(k, affine_range(layers[k], *activation_range(layers[k - 1], self.ranges[k - 1])))
        neurons = self.effort.select(rung, k, self.ranges[k], layers[k].relu, last=k == len(layers) - 1)
        neurons = np.setdiff1d(neurons, self.finished)  # a run that was cut short in this layer has done those
        affine = k == 0 and self.start.polytope is None  # in x over a box: the interval is as tight as can be
        if neurons.size > 0 and not affine:
            self._work(rung, k, neurons)
            width = float(np.mean(self.ranges[k].upper - self.ranges[k].lower))
            logger.info(f"{rung}, layer {k}: mean width {width:.6g} after {time.perf_counter() - begin:.2f} s")
        self.finished = self.finished[:0]
        self._bar.update(end - self._bar.n)

    def _work(self, rung: str, k: int, neurons: Ints) -> None:
        """The rung's tasks for some neurons of layer k, a chunk of them each."""
        size = self.effort.chunk_rows or CHUNK_ROWS[rung]
        parts = np.split(neurons, range(size, neurons.size, size))
        tasks = [self._task(k, part) for part in parts]
        if self._late():
            raise Stopped
        finished, end = True, self._bar.n
        with closing(self._outcomes(rung, tasks)) as found:
            for part, outcome in zip(parts, found, strict=True):
                if isinstance(outcome, str):
                    self._lose(part, outcome)
                    finished = finished and not self._late()
                else:
                    self._take(rung, k, part, outcome)
                    done = outcome.finished and not self._late()  # the last solve may have been cut short
                    finished = finished and done
                    self.finished = np.union1d(self.finished, part if done else part[:0])
                if self.executor is None and not finished:
                    break
                end += 2 * part.size
                self._bar.update(max(0, end - self._bar.n))
        if not finished:
            clocks_differ = self.executor is not None and self.deadline is not None  # a worker's may be ahead
            raise Stopped if self._late() or clocks_differ else KeyboardInterrupt

    def _task(self, k: int, neurons: Ints) -> Task:
        network, known = head(self.network, self.start, self.ranges[: k + 1], neurons)
        watch = self._bar.update if self.executor is None else None
        return Task(network, known, self.effort, self.points, self.deadline, watch)

    def _outcomes(self, rung: str, tasks: list[Task]) -> Generator[Outcome | str]:
        """By the executor, or here once it has gone."""
        try:
            yield from outcomes(RUNGS[rung], tasks, self.executor)
        except ExecutorGone as error:
            self.executor = None
            self.note(f"the executor takes no more tasks ({error}); the rest of the run works here")
            yield from outcomes(RUNGS[rung], tasks, None)

    def _take(self, rung: str, k: int, neurons: Ints, outcome: Outcome) -> None:
        """Meet layer k with a task's outcome."""
        n = self.network.layers[k].n_out
        lower, upper, seconds = np.full(n, -np.inf), np.full(n, np.inf), np.zeros(n)
        lower[neurons], upper[neurons], seconds[neurons] = outcome.lower, outcome.upper, outcome.seconds
        self._meet(k, Range.by(rung, lower, upper, seconds))
        self.points = np.concatenate([self.points, outcome.points])[-MOST_POINTS:]

    def _meet(self, k: int, found: Range) -> None:
        z = self.ranges[k].meet(found)
        crossed = np.flatnonzero(z.lower > z.upper)
        if self.start.polytope is not None and crossed.size > 0:
            j = int(crossed[0])
            raise InfeasibleError(
                f"layer {k}, neuron {j}: no value is left between {z.lower[j]} and {z.upper[j]}; the polytope holds no "
                "point of its box, or given bounds do not hold on it"
            )
        self.ranges[k] = checked(z, k)

    def _late(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def _lose(self, neurons: Ints, why: str) -> None:
        self.whole = False
        named = ", ".join(map(str, neurons[:5])) + (f" and {neurons.size - 5} more" if neurons.size > 5 else "")
        self.note(f"lost {self.where}: neurons {named} keep the bounds they had ({why})")

    def note(self, sentence: str) -> None:
        """Keep a sentence for the bounds, and log it."""
        self.notes.append(sentence)
        logger.warning(sentence)
