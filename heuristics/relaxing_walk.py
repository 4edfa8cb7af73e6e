"""Relax and walk: starts from the LP relaxation with restricted neurons, walks over linear regions from each.

Symbols: v the columns, P the activation pattern, sigma in [0, 1] the relaxed binary of a neuron, x* the best point of a
region.

1. Solve the LP relaxation; its point is the first start. Pick neurons of the first layer at random, with probabilities
   proportional to xi + delta, xi = |sigma - P|; restrict each to the sign that it does not have there, solve again with
   all restrictions so far, and start from that point as well; then those of the next layer; then begin anew.
2. From each start, `walk`: the LP over the linear region, a step across its border, and again while the value grows.

Where the region of a start has no feasible point, a walk on `elastic` leads to one first.
Source: arXiv 2401.03451, and for `xi="current"`, `cap`, `misses` and `stop_gain` the package Gogeta.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from omlt_ext.domain import Box, Floats, Polytope
from omlt_ext.errors import OptionError
from omlt_ext.network import Network
from omlt_ext.search import SearchResult, maximize
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem

from .elastic import elastic, lifted
from .region import Local
from .relaxation import Relaxation
from .starts import Picking, relaxation_starts, uniform_starts
from .walk import CROSSINGS, Patterns, Rules, Walks

STARTS = ("relaxation", "uniform")
XI = ("first", "current")
WALKS = 20  # where neither time nor rounds are limited
KNOWN = 50  # starts in a row in regions seen before, after which there are no others to be expected
REPAIR_STEPS = 50  # regions of a walk towards feasibility
FEASIBLE = 1e-9


@dataclass(frozen=True)
class RelaxingWalk:
    """Relax and walk; one round is one walk.

    `starts`: "relaxation" or "uniform" points. With `warm`, a problem with rows or whole columns is first walked from
    the best point known, if there is one.

    `crossing`: a "step" past the region's best point by `epsilon` of the way there, "random" signs for the neurons at
    the border, or for all of them the opposite one ("all_tight"). `retries`: crossings to try where it leads nowhere
    better; then, with `nodes` > 0, a MIP of at most so many nodes over the neurons at the border. A walk ends where all
    fail, where it has gained no more than `stop_gain` of the value, and after `steps` regions. `memory`: no region is
    solved twice, in whichever walk.

    `delta` > 0 gives every neuron a chance to be picked; `xi`: measured at the "first" relaxation or at the "current"
    one. A round of restrictions takes at most `cap` of each layer, and ends after `misses` that left no point.

    Raises `OptionError` for values that cannot be.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> relaxing_walk(network, Box([-1], [1]), rounds=3).value
    2.0
    """

    starts: str = "relaxation"
    warm: bool = True
    crossing: str = "all_tight"
    epsilon: float = 0.01
    retries: tuple[str, ...] = ("step",)
    nodes: int = 0
    stop_gain: float = 0.0
    steps: int | None = None
    memory: bool = True
    delta: float = 0.05
    xi: str = "first"
    cap: int | None = 3
    misses: int | None = None

    def __post_init__(self) -> None:
        retries = self.retries if isinstance(self.retries, tuple | list) else (self.retries,)
        choices = [("starts", self.starts, STARTS), ("xi", self.xi, XI), ("crossing", self.crossing, CROSSINGS)]
        for name, value, known in [*choices, *(("retries", way, CROSSINGS) for way in retries)]:
            if not isinstance(value, str) or value not in known:
                raise OptionError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}")
        object.__setattr__(self, "retries", tuple(retries))
        for name in ("warm", "memory"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} is {getattr(self, name)!r}; it must be True or False")
        for name, least in (("epsilon", 0.0), ("delta", 0.0), ("stop_gain", None)):
            _number(name, getattr(self, name), above=least)
        for name, least in (("nodes", 0), ("steps", 1), ("cap", 1), ("misses", 1)):
            _count(name, getattr(self, name), least, optional=name != "nodes")

    @classmethod
    def published(cls, **options: Any) -> RelaxingWalk:
        """The algorithm as published: steps only, no region remembered, no cap on restrictions."""
        return replace(cls(warm=False, crossing="step", retries=(), memory=False, cap=None), **_known(options))

    @classmethod
    def random_flips(cls, **options: Any) -> RelaxingWalk:
        """The published variant that crosses borders by random signs instead of a step ("RRW")."""
        return replace(cls.published(crossing="random"), **_known(options))

    @classmethod
    def uniform_starts(cls, **options: Any) -> RelaxingWalk:
        """The published ablation that walks from uniform points ("SW")."""
        return replace(cls.published(starts="uniform"), **_known(options))

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        """Walk from one start after the other until the time is up, `rounds` walks are done, or no start is new."""
        problem = problem.with_bounds()
        limit = WALKS if rounds is None and incumbent.time_limit is None else rounds
        rules = Rules((self.crossing, *self.retries), self.epsilon, self.stop_gain, self.steps, self.memory, self.nodes)
        walks, repairs = Walks(problem, incumbent, rules, rng), Repairs(problem, rules, rng)
        seen: set[bytes] = set()
        walked = known = 0
        for start in self._starts(problem, incumbent, rng):
            if not incumbent.goes_on():
                return
            incumbent.offer(start)
            x = problem.inside(start)
            key = walks.regions.key(walks.regions.pattern(x))
            if key in seen or (self.memory and key in walks.visited):
                known += 1
                if known == KNOWN:
                    return
                continue
            seen.add(key)
            known = 0
            entered = walks.enter(x)
            if entered is None and problem.n_rows and incumbent.goes_on():
                entered = repairs.enter(x, walks, incumbent)
            if entered is not None:
                walks.walk(x, *entered)
            walked += 1
            if walked == limit:
                return

    def _starts(self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator) -> Iterator[Floats]:
        if self.warm and incumbent.v is not None and not problem.is_box:
            yield incumbent.v
        if self.starts == "relaxation":
            relaxation = Relaxation(problem)
            picking = Picking(self.delta, self.xi, self.cap, self.misses)
            for start in relaxation_starts(relaxation, picking, incumbent, rng):
                if relaxation.bound < incumbent.bound:
                    incumbent.prove(relaxation.bound, rigorous=True)
                yield start
            if relaxation.infeasible:
                incumbent.stopped_by = "infeasible"
                return
        yield from uniform_starts(problem, rng)


class Repairs:
    """Walks towards feasibility, on the problem whose objective is the violation of the rows."""

    def __init__(self, problem: Problem, rules: Rules, rng: np.random.Generator) -> None:
        self.problem = problem
        self.rules = replace(rules, crossings=("all_tight", "step", "random"), steps=REPAIR_STEPS, memory=False)
        self.rng = rng
        self.loose: Problem | None = None

    def enter(self, x: Floats, walks: Walks, incumbent: Incumbent) -> tuple[Patterns, Local] | None:
        """A region with a feasible point and the best one there; None where the walk from x does not lead to any."""
        if self.loose is None:
            self.loose = elastic(self.problem)
        own = Incumbent(self.loose, FEASIBLE, incumbent.left)
        own.prove(0.0, rigorous=True)
        on = Walks(self.loose, own, self.rules, self.rng)
        start = lifted(self.problem, x)
        entered = on.enter(start)
        if entered is None:
            return None
        at = on.walk(start, *entered)
        v = at.v[: self.problem.n]
        incumbent.offer(v)
        return walks.enter(v)


def relaxing_walk(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    objective: ArrayLike | None = None,
    *,
    time_limit: float | None = None,
    rounds: int | None = None,
    seed: int = 0,
    **options: Any,
) -> SearchResult:
    """`maximize` by `RelaxingWalk(**options)`; `rounds` walks, or 20 where nothing limits the work."""
    method = RelaxingWalk(**_known(options))
    return maximize(network, domain, objective, method=method, time_limit=time_limit, rounds=rounds, seed=seed)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    names = [option.name for option in fields(RelaxingWalk)]
    for name in options:
        if name not in names:
            raise OptionError(f"relaxing_walk has no option {name!r}; it has {', '.join(names)}")
    return options


def _number(name: str, value: object, *, above: float | None) -> None:
    right = isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(float(value))
    if not right or float(value) < 0.0 or (above is not None and float(value) <= above):  # type: ignore[arg-type]
        says = "of at least 0" if above is None else f"above {above:g}"
        raise OptionError(f"{name} is {value!r}; it must be a number {says}")


def _count(name: str, value: object, least: int, *, optional: bool) -> None:
    if optional and value is None:
        return
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} is {value!r}; it must be a whole number of at least {least}")
