"""Branch and bound by a mixed-integer solver, started from the best of some thousand forward passes.

The solver, HiGHS or one behind the same seam, sees the network in units that keep every number within [-4096, 4096]
(`scale_network`), since its tolerances are absolute. Its dual bound counts, `raised` by its tolerance; its points are
evaluated by the network. Source of the model: Fischetti and Jo, Constraints 23 (2018), section 2.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from omlt_ext.cut_rounds import add_cuts
from omlt_ext.domain import Floats
from omlt_ext.encoding import Formulation
from omlt_ext.errors import SolverError
from omlt_ext.milp import MatrixModel
from omlt_ext.options import check_choice
from omlt_ext.plugins import formulation as find_formulation
from omlt_ext.propagation.rounding import row_blocks
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import HighsSolver, SolveResult, raised
from omlt_ext.solvers.choice import open_solver

logger = logging.getLogger("omlt_ext")

TIGHT = {"mip_feasibility_tolerance": 1e-9, "primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}
NODE_LIMIT = {"highs": "mip_max_nodes", "scip": "limits/nodes", "gurobi": "NodeLimit"}
CUT_SHARE = 0.2  # of the time that is left, that cuts may take
SAMPLES = 4096
SAMPLE_WORK = 2**33  # multiplications that sampling may take; large networks get fewer samples
SAMPLE_BYTES = 2**26


@dataclass(frozen=True)
class Milp:
    """A solver on the mixed-integer model of `formulation`, a name or an object; one round is the whole search.

    `solver`: "highs", "scip" or "gurobi"; the last two are extras, and only they know formulations with SOS1 sets and
    indicators. Raises `OptionError` for another solver.

    >>> from omlt_ext import Box, Layer, Network
    >>> from omlt_ext.heuristics import maximize
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> maximize(network, Box([-1], [1]), method=Milp("bigm")).value
    2.0
    """

    formulation: str | Formulation = "bigm"
    solver: str = "highs"

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, tuple(NODE_LIMIT))

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        """Sample, then solve."""
        relus = find_formulation(self.formulation)
        sample(problem, incumbent, rng)
        if incumbent.goes_on():
            solve(problem, incumbent, relus, name=self.solver)


def sample(problem: Problem, incumbent: Incumbent, rng: np.random.Generator) -> None:
    """Forward passes of uniform points and corners; at least one batch of them."""
    for points in _points(problem, rng):
        incumbent.offer(points)
        if not incumbent.goes_on():
            return


def solve(
    problem: Problem,
    incumbent: Incumbent,
    formulation: Formulation,
    *,
    name: str = "highs",
    nodes: int | None = None,
    share: float = 1.0,
    see: Callable[[MatrixModel, Floats], None] | None = None,
    restrict: Callable[[MatrixModel], MatrixModel] | None = None,
) -> None:
    """Branch and bound by the solver `name`; HiGHS once more with tighter tolerances where its point falls short of its
    bound.

    It ends after `nodes`, with a time limit after `share` of the time that is left, and soon after the incumbent has
    enough. `see` is called with the model and each better point of its columns, `restrict` adds rows to the model.
    """
    model = _with_cuts(problem.model(formulation), incumbent)
    if restrict is not None:
        model = restrict(model)

    def watch(point: Floats | None, bound: float) -> bool:
        """Evaluate the solver's points while it runs; note its bound at each hundredth of the gap."""
        if point is not None:
            incumbent.offer(point[: problem.n])
            if see is not None:
                see(model, point)
        wide = raised(bound)
        if incumbent.value <= wide < incumbent.bound - 0.01 * (incumbent.bound - incumbent.value):
            incumbent.prove(wide)
        incumbent.show()
        return not incumbent.goes_on()

    limit: dict[str, float] = {} if nodes is None else {NODE_LIMIT[name]: nodes}
    for options in (limit, limit | TIGHT) if name == "highs" else (limit,):
        solver = open_solver(name, model, options)
        if incumbent.v is not None:
            solver.start_from(*start_of(model, problem, incumbent.v))
        # Half the gap, since the widened bound and the network's own value lie a tolerance further apart.
        try:
            left = None if incumbent.left is None else share * incumbent.left
            result = solver.solve(time_limit=left, gap=0.5 * incumbent.gap, watch=watch)
        except SolverError as error:
            logger.warning(f"{error}; what is known so far stands")
            return
        if result.status == "infeasible" and incumbent.v is None and name == "highs":
            result = _asked_again(model, result, left)
        incumbent.nodes += result.nodes
        if result.status == "interrupted":
            incumbent.stopped_by = result.status
        if result.x is not None:
            incumbent.offer(result.x[: problem.n])
        _trust(incumbent, result)
        if result.status != "optimal" or not incumbent.goes_on():
            return


def start_of(model: MatrixModel, problem: Problem, v: Floats) -> tuple[np.ndarray, Floats]:
    """(columns, values) of the model at a point v."""
    columns, values = [np.arange(problem.n)], [v]
    for embedded in model.networks:
        at, what = embedded.point(v[embedded.inputs])
        columns.append(at)
        values.append(what)
    return np.concatenate(columns), np.concatenate(values)


def _with_cuts(model: MatrixModel, incumbent: Incumbent) -> MatrixModel:
    """The model with the cuts that its formulation has for the LP relaxation."""
    done = add_cuts(model, time_limit=None if incumbent.left is None else CUT_SHARE * incumbent.left)
    if done.status == "interrupted":
        raise KeyboardInterrupt
    return done.model


def _asked_again(model: MatrixModel, result: SolveResult, left: float | None) -> SolveResult:
    """The same question without presolve, which has lost points of columns narrower than its tolerances."""
    try:
        return HighsSolver(model, {"presolve": "off"}).solve(time_limit=left)
    except SolverError:
        return result


def _trust(incumbent: Incumbent, result: SolveResult) -> None:
    """Take the solver's dual bound, unless the network itself shows that it is wrong."""
    wide = None if result.bound is None else raised(result.bound)
    if result.status == "infeasible" and incumbent.v is None:
        incumbent.stopped_by = "infeasible"
    elif result.status == "infeasible" or (wide is not None and wide < incumbent.value):
        claim = "no point" if wide is None else f"no value above {wide}"
        incumbent.refute(claim)
    elif wide is not None:
        incumbent.prove(wide)


def _points(problem: Problem, rng: np.random.Generator) -> Iterator[Floats]:
    """Batches (m, n), each half uniform points and half corners."""
    networks = [placed.network for placed in problem.networks]
    work = sum(layer.nnz for network in networks for layer in network.layers)
    widest = max(problem.n, *(layer.n_out for network in networks for layer in network.layers))
    lower, upper = problem.finite_ends()
    count = int(np.clip(SAMPLE_WORK // max(1, work), 16, SAMPLES))
    for rows in row_blocks(count // 2, 2 * widest, SAMPLE_BYTES):
        m = rows.stop - rows.start
        corners = np.where(rng.random((m, problem.n)) < 0.5, lower, upper)
        yield np.concatenate([lower + rng.random((m, problem.n)) * (upper - lower), corners])
