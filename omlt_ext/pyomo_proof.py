"""A compiled Pyomo model solved to a proof: by the network search where that can take it over, else by HiGHS.

The search takes over a `Problem` without whole numbers and without rows on outputs, its columns finite: a linear
objective of inputs, other columns and outputs over a polytope (`search/stacked.py`). For other problems the same search
proves a bound of what is left without those, HiGHS solves the whole, and the tighter of both bounds counts.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np

from .bridge import CompiledModel
from .domain import Ints
from .errors import InfeasibleError, ModelError
from .mixed import output_range
from .options import check_choice
from .pyomo_search import Found, first_points, found_of, is_empty, is_relaxed
from .search.compiled import Completion, problem_of
from .search.explore import SPLITS, climb, explore
from .search.heuristic import heuristic
from .search.incumbent import Incumbent, bar_of
from .search.maximize import LEAST_GAP, check_options
from .search.problem import Problem
from .search.propagated import propagate
from .search.stacked import target_of
from .tightening import Effort

logger = logging.getLogger("omlt_ext")

INSIDE = "its objective holds variables from inside a network"
MOSTLY = 10.0  # times the range of the outputs' part of the objective: with rows, HiGHS is faster from there on
BOUND_SECONDS, BOUND_SHARE = 10.0, 0.2  # for the search's bound on what HiGHS is to solve: at most, and of what is left


@dataclass(frozen=True)
class ProofSettings:
    """How a model is solved; the keywords of `SolverFactory("omlt_ext.exact").solve`."""

    time_limit: float | None = None
    gap: float = 1e-4
    seed: int = 0
    effort: str | Effort = "dual"
    split: str = "auto"
    progress: bool = False
    warmstart: bool = True

    def check(self) -> None:
        """Raise `OptionError` for what cannot be."""
        check_options(self.time_limit, None, self.seed, self.gap, self.effort, None)
        check_choice("split", self.split, SPLITS)


def prove_model(compiled: CompiledModel, settings: ProofSettings) -> tuple[Found | None, str]:
    """(the optimum of the model, who has proved it and why), without an optimum where only the model as it stands can
    be handed to HiGHS."""
    begin = time.time()
    if not compiled.matrix.networks:
        return None, "it has no network in it"
    if compiled.contradiction is not None:
        return Found(None, None, None, "infeasible", message=compiled.contradiction), "settled before any search"
    if is_relaxed(compiled):
        return None, "a network of it is relaxed"
    try:
        problem, completion = problem_of(compiled)
    except ModelError:
        return None, INSIDE
    except InfeasibleError as error:
        return Found(None, None, None, "infeasible", message=str(error)), "settled before any search"
    if completion.asks_more:
        return None, "it has constraints or bounds on variables inside a network"
    with bar_of(settings.time_limit, settings.progress) as bar:
        incumbent = Incumbent(problem, max(float(settings.gap), LEAST_GAP), settings.time_limit, begin, bar)
        proof = Proof(compiled, problem, completion, incumbent, settings)
        try:
            how = proof.run()
        except KeyboardInterrupt:
            incumbent.stopped_by, how = "interrupted", proof.how
    return (None if proof.open_ended else found_of(compiled, completion, incumbent, proof.message)), how


class Proof:
    """The way of one model: first points, then the search or HiGHS; `how` says which and why."""

    def __init__(
        self,
        compiled: CompiledModel,
        problem: Problem,
        completion: Completion,
        incumbent: Incumbent,
        settings: ProofSettings,
    ) -> None:
        self.compiled, self.problem, self.completion = compiled, problem, completion
        self.incumbent, self.settings = incumbent, settings
        self.rng = np.random.default_rng(settings.seed)
        self.open_ended = False  # whether only HiGHS on the whole model can say if the objective has an end
        self.how, self.message = "settled before any search", ""

    def run(self) -> str:
        """Search, and say how."""
        incumbent = self.incumbent
        why = reasons(self.problem)
        self.how = f"HiGHS solves the model, since {why}" if why else self._search_takes_over()
        first_points(self.compiled, self.problem, self.completion, incumbent, warmstart=self.settings.warmstart)
        if not np.isfinite(incumbent.bound) and not finite(self.problem) and incumbent.goes_on():
            self.open_ended = True
            return "its columns have no finite bounds, nor does anything else bound its objective"
        if not why and incumbent.goes_on():
            logger.info(f"omlt_ext.exact: {self.how}")
            why = self._search()
        if why and incumbent.goes_on():
            self.how = f"HiGHS solves the model, since {why}"
            logger.info(f"omlt_ext.exact: {self.how}")
            self._solve()
        return self.how

    def _search_takes_over(self) -> str:
        count = len(self.problem.networks)
        networks = "one network" if count == 1 else f"{count} networks"
        domain = "a box" if self.problem.n_rows == 0 else "a polytope"
        return f"the network search takes the model over: {networks} over {domain} of {self.problem.n} columns"

    def _search(self) -> str:
        """Why HiGHS has to go on, "" where it has not."""
        incumbent = self.incumbent
        explore(target_of(self.problem), incumbent, self.rng, self.settings.effort, self.settings.split)
        if incumbent.stopped_by == "infeasible":
            if is_empty(self.compiled.matrix.relax(), incumbent.left):
                return ""
            incumbent.stopped_by, incumbent.bound, incumbent.propagated = "limit", np.inf, np.inf
            return "the search finds its rows infeasible, by less than the tolerance of points"
        return "the search has ended with a gap, at a limit of its memory or its tolerances"

    def _solve(self) -> None:
        """Bounds of the networks, the search's bound without what it cannot see, then HiGHS from the best point."""
        incumbent = self.incumbent
        try:
            bounded = propagate(self.problem, incumbent, self.settings.effort)
        except InfeasibleError as error:
            if is_empty(self.compiled.matrix.relax(), incumbent.left):
                incumbent.stopped_by, self.message = "infeasible", str(error)
                return
            bounded = self.problem
        climb(incumbent, self.rng)
        asked = self.problem.integer.any() or self.problem.on_outputs.any()  # else the search has had its turn, or none
        if incumbent.goes_on() and finite(self.problem) and self.problem.d.any() and asked:
            self._bound()
        if incumbent.goes_on():
            heuristic("milp").search(bounded, incumbent, self.rng)

    def _bound(self) -> None:
        """The search's bound of the problem without whole numbers and rows on outputs; its point, if that fits."""
        incumbent, problem = self.incumbent, self.problem
        kept: Ints = np.flatnonzero(~problem.on_outputs)
        wider = replace(
            problem,
            R=problem.R[kept],
            S=problem.S[kept],
            row_lower=problem.row_lower[kept],
            row_upper=problem.row_upper[kept],
            integer=np.zeros(problem.n, dtype=bool),
            confirm=None,
        )
        left = BOUND_SECONDS if incumbent.left is None else min(BOUND_SECONDS, BOUND_SHARE * incumbent.left)
        part = Incumbent(wider, incumbent.gap, left)
        explore(target_of(wider), part, self.rng, self.settings.effort, self.settings.split)
        incumbent.nodes += part.nodes
        if part.v is None or part.bound == -np.inf:
            return
        incumbent.offer(part.v)
        incumbent.prove(max(part.bound, part.value))
        if np.isfinite(part.propagated):
            incumbent.prove(max(part.propagated, part.value), rigorous=True)
        if incumbent.closed:
            self.how += "; the search's point and bound settle it before"


def reasons(problem: Problem) -> str:
    """Why the search cannot take a problem over, or should not; "" where it can."""
    found = []
    if problem.integer.any():
        found.append("it has whole numbers outside the networks")
    if problem.on_outputs.any():
        found.append("it has constraints on outputs of networks")
    if not finite(problem):
        endless = np.flatnonzero(~(np.isfinite(problem.lower) & np.isfinite(problem.upper))).size
        found.append(f"{endless} of its columns have no finite bounds")
    if not problem.d.any():
        found.append("its objective holds no output of a network")
    elif not found and problem.n_rows and _mostly_linear(problem):
        found.append("its objective hangs much more on other columns than on outputs")
    return " and ".join(found)


def _mostly_linear(problem: Problem) -> bool:
    """Whether the range of c v is `MOSTLY` times that of d y, by known bounds, or more."""
    assert problem.bounds is not None
    outputs = 0.0
    for placed, bounds in zip(problem.networks, problem.bounds, strict=True):
        low, high = output_range(placed.network, bounds.lower[-1], bounds.upper[-1])
        outputs += float(np.abs(problem.d[placed.outputs]) @ (high - low))
    return float(np.abs(problem.c) @ (problem.upper - problem.lower)) >= MOSTLY * outputs


def finite(problem: Problem) -> bool:
    """Whether every column has both ends."""
    return bool((np.isfinite(problem.lower) & np.isfinite(problem.upper)).all())
