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
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from omlt_ext.domain import Box, Floats, Polytope
from omlt_ext.network import Network
from omlt_ext.options import check_choice, check_count, check_flag, check_number
from omlt_ext.search import SearchResult
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.maximize import maximize_by
from omlt_ext.search.problem import Problem

from .elastic import Repairs
from .relaxation import Relaxation
from .starts import Picking, relaxation_starts, uniform_starts
from .walk import CROSSINGS, Rules, Walks

STARTS = ("relaxation", "uniform")
XI = ("first", "current")
WALKS = 20  # where neither time nor rounds are limited
KNOWN = 50  # starts in a row in regions seen before, after which there are no others to be expected


@dataclass(frozen=True)
class RelaxingWalk:
    """Relax and walk; one round is one walk. Without a limit it ends after 20 walks.

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
        object.__setattr__(self, "retries", tuple(retries))
        check_choice("starts", self.starts, STARTS)
        check_choice("xi", self.xi, XI)
        for name, crossing in (("crossing", self.crossing), *(("retries", way) for way in self.retries)):
            check_choice(name, crossing, CROSSINGS)
        for name in ("warm", "memory"):
            check_flag(name, getattr(self, name))
        check_number("epsilon", self.epsilon, positive=True)
        check_number("delta", self.delta, positive=True)
        check_number("stop_gain", self.stop_gain)
        check_count("nodes", self.nodes, 0)
        for name in ("steps", "cap", "misses"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), 1)

    @classmethod
    def published(cls, **options: Any) -> RelaxingWalk:
        """The algorithm as published: steps only, no region remembered, no cap on restrictions."""
        rules = {"warm": False, "crossing": "step", "retries": (), "memory": False, "cap": None}
        return cls(**{**rules, **options})

    @classmethod
    def random_flips(cls, **options: Any) -> RelaxingWalk:
        """The published variant that crosses borders by random signs instead of a step ("RRW")."""
        return cls.published(**{"crossing": "random", **options})

    @classmethod
    def uniform_starts(cls, **options: Any) -> RelaxingWalk:
        """The published ablation that walks from uniform points ("SW")."""
        return cls.published(**{"starts": "uniform", **options})

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
            if relaxation.infeasible and incumbent.v is None:  # else there are points within the tolerance of rows
                incumbent.stopped_by = "infeasible"
                return
        yield from uniform_starts(problem, rng)


def relaxing_walk(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    objective: ArrayLike | None = None,
    **options: Any,
) -> SearchResult:
    """The maximum of objective . f(x) over a box or polytope, by `RelaxingWalk`.

    `options` are those of `RelaxingWalk` and, as in `maximize`, `time_limit`, `rounds`, `seed`, `gap`, `effort`,
    `executor`, `searches` and `progress`. Arguments, result and errors are those of `maximize`.

    >>> from omlt_ext import Box, Layer, Network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)])
    >>> best = relaxing_walk(network, Box([-1, -1], [1, 1]), rounds=3, crossing="step")  # max (x + y)+ - 3 (x - y)+
    >>> round(best.value, 6), best.x
    (2.0, array([1., 1.]))
    """
    return maximize_by(RelaxingWalk, network, domain, objective, options)
