"""The search of a sparse problem for points of the dense one: by a heuristic, by branch and bound, by patterns.

Every point goes to the dense incumbent (`Relay`); bounds and endings of sparse searches do not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from omlt_ext.domain import Floats
from omlt_ext.plugins import formulation as find_formulation
from omlt_ext.search.heuristic import Heuristic
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem

from .finish import Finish
from .milp import Milp, solve
from .no_good import NoGoods, within
from .stand_in import Relay

NODES = 200  # of one branch and bound, without a time limit or where there are many
ROUNDS = 4  # of a heuristic without a time limit
GAP = 0.01  # what lies closer is told apart by the dense networks
STALL = 5  # patterns in a row that are taken out without a better dense point
PART = 0.25  # of the time that is left, that one solve may take where there are many


@dataclass(frozen=True, eq=False)
class Stage:
    """Sparse searches for `incumbent`, that of the dense `problem`, until `deadline`, a time of `time.time()`.

    Each ends where it has brought nothing better for `patience` seconds. `repair` is called with each point that is the
    best of a sparse problem so far. `rounds` are those of a heuristic.
    """

    problem: Problem
    incumbent: Incumbent
    repair: Callable[[Floats], None]
    rng: np.random.Generator
    rounds: int | None
    deadline: float
    patience: float

    def by_heuristic(self, sparse: Problem, inner: Heuristic) -> None:
        """By any heuristic."""
        relay = self._relay(sparse, self.repair)
        rounds = ROUNDS if self.rounds is None and math.isinf(self.deadline) else self.rounds
        inner.search(sparse, relay, self.rng, rounds)
        self._end(relay)

    def by_solver(self, sparse: Problem, inner: Milp) -> None:
        """By a walk over the regions of the sparse networks, and branch and bound from where it ends."""
        relay = self._relay(sparse, self.repair)
        self._walk(sparse, relay)
        if relay.goes_on():
            nodes = NODES if math.isinf(self.deadline) else None
            solve(sparse, relay, find_formulation(inner.formulation), name=inner.solver, nodes=nodes)
        self._end(relay)

    def by_patterns(self, sparse: Problem, inner: Milp, *, reoptimize: bool) -> None:
        """By branch and bound over the sparse patterns, the best one taken out after each solve."""
        formulation = find_formulation(inner.formulation)
        cuts, idle = NoGoods(sparse, formulation), 0
        seen: dict[bytes, Floats] = {}
        allowed = replace(sparse, confirm=cuts.allow)

        def found(v: Floats) -> None:
            seen[v.tobytes()] = v
            self.repair(v)

        while idle < STALL and self.incumbent.goes_on():
            value, relay = self.incumbent.value, self._relay(allowed, found, PART)
            relay.offer(np.array(list(seen.values())).reshape(-1, sparse.n))
            if not cuts.patterns:
                self._walk(allowed, relay)
            if not relay.goes_on():
                return
            solve(allowed, relay, formulation, name=inner.solver, nodes=NODES, see=cuts.see, restrict=cuts.restrict)
            self._end(relay)
            if relay.v is None:
                return
            if reoptimize:
                self._reoptimize(sparse, relay.v, inner)
            cuts.take_out(relay.v)
            idle = 0 if self.incumbent.value > value else idle + 1

    def _reoptimize(self, sparse: Problem, v: Floats, inner: Milp) -> None:
        """The dense problem within the region of the sparse networks that v lies in."""
        pattern = tuple(placed.network.pattern(v[placed.inputs]) for placed in sparse.networks)
        problem = replace(within(self.problem, sparse, pattern), confirm=None)  # the dense incumbent asks it
        relay = self._relay(problem, leave, PART)
        self._walk(problem, relay, v)
        if relay.goes_on():
            solve(problem, relay, find_formulation(inner.formulation), name=inner.solver, nodes=NODES)
        self._end(relay)

    def _relay(self, problem: Problem, found: Callable[[Floats], None], part: float = 1.0) -> Relay:
        """An incumbent for `problem`, for a part of the time that is left here; it begins with the best point known."""
        relay = Relay(problem, max(GAP, self.incumbent.gap), dense=self.incumbent, found=found, patience=self.patience)
        if math.isfinite(self.deadline):
            relay.time_limit = part * max(0.0, self.deadline - time.time())
        if self.incumbent.v is not None:
            relay.offer(self.incumbent.v)
        return relay

    def _walk(self, problem: Problem, relay: Relay, v: Floats | None = None) -> None:
        """Walk over regions of `problem` from v, or from the best point known."""
        start = relay.v if v is None else v
        if start is None:
            start = problem.inside(np.mean(problem.finite_ends(), axis=0))
        if relay.goes_on():
            Finish(problem, relay, self.rng).walk(start)

    def _end(self, relay: Relay) -> None:
        """Take over what ends every search, and nothing that was proved."""
        self.incumbent.nodes += relay.nodes
        if relay.stopped_by == "interrupted":
            self.incumbent.stopped_by = relay.stopped_by


def leave(v: Floats) -> None:
    """Leave v as it is."""
