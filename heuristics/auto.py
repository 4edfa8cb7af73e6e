"""The combination behind `maximize`: climbs find where to look, LPs and small MIPs over linear regions finish there.

1. Generations on islands (`islands.py`). After each, the best champion of an island that no LP has seen is polished by
   the LP over its region. Where an island is given up, a walk over regions from its best point ends with a MIP over all
   regions that meet there (`finish.py`). What these find takes its place on the islands.
2. After the first generation, a problem with few unstable neurons goes to branch and bound for some nodes, which often
   settles it.
3. Where `STALL` islands in a row brought nothing better, branch and bound ends the search if no other limit does. Else
   it gets some nodes, and half of the time left if these have closed half of the gap; once, then the islands go on.

A problem with whole columns or with outputs in its rows has few feasible points, and what an island has found it can
rarely pass on. It gets rounds of gradient ascent (`gradient_ascent.py`), whose charge for the rows grows, and after the
first of them branch and bound for half of the time.

Everything is decided by what was found, never by the clock, so that the same seed takes the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omlt_ext.encoding import Formulation
from omlt_ext.plugins import formulation as find_formulation
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem

from .ascent import Ascent
from .finish import Finish
from .gradient_ascent import Climbs, GradientAscent
from .islands import Islands
from .milp import solve

FEW = 60  # unstable neurons with which branch and bound comes after the first generation
MANY = 200  # with more, branch and bound is not worth any time where it is limited
NODES = 500  # of it, at first
STALL = 24  # islands given up in a row without a better point
HALF = 0.5


@dataclass(frozen=True)
class Auto:
    """Climbs, walks and branch and bound by turns; one round is one generation of climbs and what follows from it.

    `formulation` is that of the mixed-integer models, by name or as an object.

    >>> from omlt_ext import Box, Layer, Network
    >>> from omlt_ext.heuristics import maximize
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> maximize(network, Box([-1], [1]), method=Auto()).value
    2.0
    """

    formulation: str | Formulation = "bigm"

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        """Until the limit; without one, until branch and bound has ended."""
        relus = find_formulation(self.formulation)
        problem = problem.with_bounds()
        if problem.integer.any() or problem.on_outputs.any():
            _constrained(problem, incumbent, rng, relus, rounds)
            return
        islands = Islands(problem, Ascent(problem), rng)
        finish = Finish(problem, incumbent, rng)
        unstable = sum(bounds.n_unstable for bounds in problem.bounds or ())
        done = idle = 0
        tried = False  # whether branch and bound has had its turn after a stall
        while incumbent.goes_on() and (rounds is None or done < rounds):
            value, given_up = incumbent.value, 0
            for i in islands.generation(incumbent.goes_on):
                given_up += 1
                islands.settle(i, finish.walk(islands.best(i)))
            _polish(islands, finish, incumbent)
            done += 1
            idle = 0 if incumbent.value > value else idle + given_up
            if done == 1 and unstable <= FEW and incumbent.goes_on():
                solve(problem, incumbent, relus, nodes=NODES, share=HALF)
            if idle >= STALL and not tried and incumbent.goes_on():
                tried = True
                if incumbent.time_limit is None and rounds is None:
                    solve(problem, incumbent, relus)
                    return
                if unstable <= MANY:
                    _branch(problem, incumbent, relus)


def _constrained(
    problem: Problem, incumbent: Incumbent, rng: np.random.Generator, relus: Formulation, rounds: int | None
) -> None:
    """Rounds of gradient ascent; after the first, branch and bound and a walk from the best point."""
    run = Climbs(problem, incumbent, rng, GradientAscent())
    done = 0
    while incumbent.goes_on() and (rounds is None or done < rounds):
        run.round()
        done += 1
        if done == 1 and incumbent.goes_on():
            unlimited = incumbent.time_limit is None
            solve(problem, incumbent, relus, share=HALF, nodes=NODES if unlimited and rounds is not None else None)
            if unlimited and rounds is None:
                return
            if incumbent.v is not None:
                Finish(problem, incumbent, rng).walk(incumbent.v)


def _polish(islands: Islands, finish: Finish, incumbent: Incumbent) -> None:
    """The LP of the best champion whose region is new and has a point."""
    for i in islands.champions:
        incumbent.offer(islands.best(i))
        if finish.is_new(islands.best(i)) and incumbent.goes_on():
            local = finish.polish(islands.best(i))
            islands.settle(i, local)
            if local is not None:
                return


def _branch(problem: Problem, incumbent: Incumbent, relus: Formulation) -> None:
    """Branch and bound for some nodes, and for half of the time left where these have closed half of the gap."""
    gap = incumbent.bound - incumbent.value
    solve(problem, incumbent, relus, nodes=NODES, share=HALF)
    closed = incumbent.bound - incumbent.value <= HALF * gap
    if closed and incumbent.goes_on() and incumbent.time_limit is not None:
        solve(problem, incumbent, relus, share=HALF)
