"""A heuristic on a compiled Pyomo model: first points, the search, and what it found in the model's own sense.

Before the search: propagation bounds the objective; the model without its networks, their outputs being anything in
their ranges, is solved by HiGHS, whose dual bound is one of the whole model and whose point is often feasible. Where it
is not, a point is looked for with the networks' patterns held (`find_start`), and the LP relaxation is asked whether
there is any. The last word on a point is that of the whole model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .bridge import CompiledModel
from .domain import Floats
from .errors import InfeasibleError, SolverError
from .milp import MatrixModel, ModelBuilder
from .mixed import output_range
from .pyomo_start import find_start
from .search.compiled import Completion, problem_of
from .search.heuristic import Heuristic
from .search.incumbent import Incumbent, bar_of
from .search.maximize import LEAST_GAP, check_options
from .search.problem import TOLERANCE, Problem
from .search.propagated import propagate
from .search.result import SearchResult
from .search.several import search_several
from .solvers import HighsSolver, SolveResult, raised
from .tightening import Effort

FIRST_SECONDS, FIRST_SHARE = 10.0, 0.2  # for each solve before the search, in all and of the time that is left


@dataclass(frozen=True)
class SearchSettings:
    """How a model is searched; the keywords of `SolverFactory("omlt_ext.<heuristic>").solve`."""

    time_limit: float | None = None
    rounds: int | None = None
    seed: int = 0
    gap: float = 1e-4
    effort: str | Effort = "crown"
    executor: Executor | None = None
    searches: int | None = None
    progress: bool = False
    warmstart: bool = True

    def check(self) -> None:
        """Raise `OptionError` for what cannot be."""
        check_options(self.time_limit, self.rounds, self.seed, self.gap, self.effort, self.searches)


@dataclass(frozen=True, eq=False)
class Found(SearchResult):
    """What a search of a model ended with: `x` a point of its columns that satisfies it, None where none was found.

    `value`, `bound` and `history` are in the model's own sense; `message` says more where there is more to say.
    """

    message: str = ""


def search_model(compiled: CompiledModel, chosen: Heuristic, settings: SearchSettings) -> Found:
    """The best point of the whole model that `chosen` finds, and what is proved on the way."""
    begin, message = time.time(), ""
    if compiled.contradiction is not None:
        return Found(None, None, None, "infeasible", message=compiled.contradiction)
    try:
        problem, completion = problem_of(compiled)
    except InfeasibleError as error:
        maybe = is_relaxed(compiled) and not is_empty(compiled.matrix.relax(), settings.time_limit)
        return Found(None, None, None, "limit" if maybe else "infeasible", message=str(error))
    with bar_of(settings.time_limit, settings.progress) as bar:
        incumbent = Incumbent(problem, max(float(settings.gap), LEAST_GAP), settings.time_limit, begin, bar)
        try:
            bounded = propagate(problem, incumbent, settings.effort)
            first_points(compiled, bounded, completion, incumbent, warmstart=settings.warmstart)
            if incumbent.goes_on() and incumbent.stopped_by == "limit":
                several = settings.executor, settings.searches
                search_several(chosen, bounded, incumbent, settings.seed, settings.rounds, *several)
        except KeyboardInterrupt:
            incumbent.stopped_by = "interrupted"
        except InfeasibleError as error:
            incumbent.stopped_by, message = "infeasible", str(error)
    return found_of(compiled, completion, incumbent, message)


def found_of(compiled: CompiledModel, completion: Completion, incumbent: Incumbent, message: str) -> Found:
    """The result in the model's sense; its point, and its bound where the model and the networks say the same."""
    matrix, result = compiled.matrix, incumbent.result()
    sign = 1.0 if matrix.maximize else -1.0
    x, status, bound = None, result.status, result.bound
    # + 0.0 turns -0.0 into 0.0
    history = result.history.assign(value=sign * result.history.value + 0.0, bound=sign * result.history.bound + 0.0)
    if result.x is not None:
        x = completion.point(result.x)
        worst = np.inf if x is None else matrix.violation(x)
        if worst > TOLERANCE:
            message = f"the best point violates the model by {worst:g}, more than {TOLERANCE:g}, and is left out"
            x, status = None, "limit"
    if is_relaxed(compiled) and (bound is not None or status == "infeasible"):
        # What was proved is about the networks; the model lets their outputs be something else as well.
        bound, history = None, history.assign(bound=np.nan)
        what = "points are those of the network itself, and there is no bound"
        if status == "infeasible":
            what = "with the network itself the model is infeasible"
        message = f"a network of the model is relaxed: {what}"
        proved = status == "infeasible" and is_empty(matrix.relax(), incumbent.left)
        status = "limit" if status in ("optimal", "infeasible") and not proved else status
    value = None if x is None else matrix.value(x) + 0.0
    bound = None if bound is None else float(sign * bound) + 0.0
    return Found(x, value, bound, status, result.nodes, result.seconds, history, message)


def is_relaxed(compiled: CompiledModel) -> bool:
    """Whether the model has points that are none of its networks."""
    return compiled.loosened or not all(network.exact for network in compiled.matrix.networks)


def first_points(
    compiled: CompiledModel, problem: Problem, completion: Completion, incumbent: Incumbent, *, warmstart: bool
) -> None:
    """Offer the variables' values and what small solves give, until a point is feasible; note what they prove."""
    finite, middle = np.isfinite(problem.lower) & np.isfinite(problem.upper), np.zeros(problem.n)
    middle[finite] = 0.5 * (problem.lower[finite] + problem.upper[finite])
    middle = problem.inside(middle)
    if warmstart:
        columns, values = compiled.values()
        given = np.full(compiled.matrix.n_columns, np.nan)
        given[columns] = values
        mine = given[completion.kept]
        if not np.isnan(mine).all():
            incumbent.offer(np.where(np.isnan(mine), middle, mine))
    incumbent.offer(middle)
    if not incumbent.goes_on() or (problem.n_rows == 0 and incumbent.v is not None):
        return
    for point in _solved(problem, incumbent):
        incumbent.offer(point[: problem.n])
    if incumbent.v is None and incumbent.goes_on() and incumbent.stopped_by == "limit":
        start = find_start(compiled, None if incumbent.left is None else time.perf_counter() + incumbent.left)
        if start is not None:
            incumbent.offer(start[completion.kept])
    undecided = incumbent.v is None and incumbent.goes_on() and incumbent.stopped_by == "limit"
    if undecided and is_empty(compiled.matrix.relax(), incumbent.left):
        incumbent.stopped_by = "infeasible"


def _solved(problem: Problem, incumbent: Incumbent) -> Iterator[Floats]:
    """Points (v, y) of the problem without its networks: the best one, or any where that has no end."""
    model = without_networks(problem)
    result = _attempt(model, incumbent.left)
    if result.status == "infeasible" and incumbent.v is None and _confirmed(model, incumbent.left):
        incumbent.stopped_by = "infeasible"
    if result.bound is not None:
        incumbent.prove(raised(result.bound))
    if result.x is None and result.status in ("unbounded", "infeasible_or_unbounded"):
        result = _attempt(model.with_objective(np.arange(0), [], maximize=True), incumbent.left)
    if result.x is not None:
        yield result.x


def without_networks(problem: Problem) -> MatrixModel:
    """max c v + d y where y is anything in the networks' ranges: v and y are columns, `problem.bounds` is known."""
    assert problem.bounds is not None
    builder = ModelBuilder()
    columns = [builder.add_columns(problem.lower, problem.upper, problem.integer)]
    for placed, bounds in zip(problem.networks, problem.bounds, strict=True):
        columns.append(builder.add_columns(*output_range(placed.network, bounds.lower[-1], bounds.upper[-1])))
    rows = sparse.csr_array(sparse.hstack([problem.R, problem.S], format="csr"))
    builder.add_rows(rows, np.concatenate(columns), problem.row_lower, problem.row_upper)
    return builder.model(np.concatenate([problem.c, problem.d]), problem.offset, maximize=True)


def is_empty(model: MatrixModel, left: float | None) -> bool:
    """Whether HiGHS calls a model infeasible, with presolve, which has lost feasible points before, and without."""
    return _attempt(model, left).status == "infeasible" and _confirmed(model, left)


def _confirmed(model: MatrixModel, left: float | None) -> bool:
    """Whether HiGHS calls a model infeasible without presolve."""
    return _attempt(model, left, presolve="off").status == "infeasible"


def _attempt(model: MatrixModel, left: float | None, **options: object) -> SolveResult:
    """A solve that may help and need not, within a share of the seconds that are left."""
    limit = FIRST_SECONDS if left is None else min(FIRST_SECONDS, FIRST_SHARE * left)
    try:
        result = HighsSolver(model, options).solve(time_limit=limit)
    except SolverError:
        return SolveResult("limit", None, None, None, 0, 0.0)
    if result.status == "interrupted":
        raise KeyboardInterrupt
    return result
