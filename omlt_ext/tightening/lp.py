"""The LP rung: bounds at the value of the LP over the triangle relaxation, two LPs for each neuron.

Symbols: z = W h' + b pre-activation with h' the layer's inputs; row r < n is min z_r, row n + j is min -z_j; the
multipliers of a row are its lower slopes alpha and those of a polytope's rows, mu.

All rows at once go up the dual ascent. What it leaves in doubt about the optimal face of each row is a small LP
(`faces`, `small_lp`), started from the basis that goes with the guess; a backward and a forward pass over all rows
check the rest, and what they find wrong joins the row's LP for another round. After `ROUNDS` everything joins it.

Validity. The solver only proposes multipliers. All bounds come from one backward pass of `propagation.crown` with
these, rounded outward: the LP's value at its optimum, a valid bound wherever the solver stopped.
Source of that idea: Neumaier and Shcherbina, Safe bounds in linear and mixed-integer linear programming, 2004.
"""

from __future__ import annotations

import logging
import time

import numpy as np
from scipy import sparse

from ..domain import Floats, Ints
from ..errors import LicenceError, SolverError
from ..milp import MatrixModel
from ..network import Bools
from ..propagation.ascent import Multipliers, Pace, ascend
from ..propagation.dual import Head
from ..propagation.rounding import row_blocks
from ..solvers import Solver, open_solver
from .faces import Guess, Part, guess
from .prefix import inside
from .small_lp import basis, check, small_lp, take_basis, take_multipliers
from .task import Outcome, Task

logger = logging.getLogger("omlt_ext")

PACE = Pace(60, last=0.03)
ROUNDS = 8
CHUNK_BYTES = 2**28
OPTIONS: dict[str, dict[str, object]] = {
    "highs": {"presolve": "off", "solver": "simplex", "parallel": "off", "simplex_scale_strategy": 0},
    "scip": {},
    "gurobi": {"Presolve": 0, "Method": 1, "Threads": 1},
}
ATTAINED = 1e-9  # of a bound's magnitude: a point this close to it leaves nothing to gain


def lp_rung(task: Task) -> Outcome:
    """Bounds of the last layer at the value of the LP over the triangles of all layers before it.

    The lower and the upper bound of a neuron are one LP each. Left out are sides that a point of the domain attains
    and, with `stop_at_sign`, neurons whose sign is decided. An LP that a time limit cuts off still gives a bound.
    Raises `MissingDependencyError` and `LicenceError` for a solver that is not there or may not take the model.
    """
    run = Run(task)
    n, rows = run.n, np.flatnonzero(open_sides(task))
    if run.head.k == 0 and task.bounds.polytope is None:
        rows = rows[:0]  # an interval over a box is exact
    finished = True
    try:
        for half in (rows[rows < n], rows[rows >= n]) if task.effort.stop_at_sign else (rows,):
            open_rows = half[~run.decided[half % n]]
            for part in row_blocks(open_rows.size, 6 * run.head.unstable + 8 * run.head.widest, CHUNK_BYTES):
                finished = finished and run.bound(open_rows[part])
    except KeyboardInterrupt:
        finished = False
    return Outcome(run.value[:n], -run.value[n:], run.seconds, run.points(), finished)


class Run:
    """The rows of one task: their values, the LPs' points, and the time spent."""

    def __init__(self, task: Task) -> None:
        self.task, self.head = task, Head(task.network, task.bounds)
        self.parts = Part.all_of(self.head)
        self.n = task.network.n_outputs
        self.value = np.full(2 * self.n, -np.inf)
        self.seconds = np.zeros(self.n)
        self.found: list[Floats] = []
        self.solver: Solver | None = None

    @property
    def decided(self) -> Bools:
        """(n,): the neurons that nothing more is asked of."""
        relu = self.task.network.layers[-1].relu & self.task.effort.stop_at_sign
        return relu & ((self.value[: self.n] >= 0.0) | (self.value[self.n :] >= 0.0))

    def points(self) -> Floats:
        """The LPs' points that lie in the domain."""
        none = np.empty((0, self.task.network.n_inputs))
        return inside(np.concatenate([none, *self.found]), self.task.bounds)

    def bound(self, rows: Ints) -> bool:
        """Value of some rows; False where the deadline or Ctrl-C cut them short."""
        if rows.size == 0:
            return True
        if self.task.seconds_left == 0.0:
            return False
        begin = time.perf_counter()
        top = self.task.network.layers[-1]
        signs, at = np.where(rows < self.n, 1.0, -1.0), (np.arange(rows.size), rows % self.n)
        C = sparse.csr_array((signs, at), shape=(rows.size, self.n))
        costs = C @ top.weight
        costs = np.asarray(costs.toarray() if sparse.issparse(costs) else costs)
        size = np.abs(costs).max(axis=1, initial=0.0, keepdims=True)
        size[size == 0.0] = 1.0
        problem = self.head.problem(C)
        with np.errstate(all="ignore"):
            _, ascended = ascend(problem, problem.start(), self.head.pace(PACE.steps)._replace(last=PACE.last))
            back = problem.backward(ascended)
            back = back._replace(A=problem.input_coefficients(back))
            faces = guess(self.parts, self.task.bounds, ascended, back)
        faces.mu /= size
        shared = time.perf_counter()
        try:
            finished = self._settle(rows, costs / size, faces)
        except KeyboardInterrupt:
            finished = False
        own = time.perf_counter()
        mu = None if ascended.mu is None else faces.mu * size
        solved = self.head.evaluate(C, Multipliers(faces.alphas, [], mu), CHUNK_BYTES)
        self.value[rows] = np.maximum(solved, self.head.evaluate(C, ascended, CHUNK_BYTES))
        np.add.at(self.seconds, rows % self.n, (shared - begin + time.perf_counter() - own) / rows.size)
        return finished

    def _settle(self, rows: Ints, costs: Floats, faces: Guess) -> bool:
        """LPs and checks until every row is optimal; False where the deadline ended it."""
        x, h = faces.ends.copy(), [np.zeros(alpha.shape) for alpha in faces.alphas]
        live = np.arange(rows.size)
        for turn in range(ROUNDS):
            if turn == ROUNDS - 1:
                faces.doubt_everything(live)
            solved = []
            for r in live.tolist():
                if self.task.seconds_left == 0.0:
                    return False
                begin = time.perf_counter()
                if self._solve(costs[r], faces, r, x, h):
                    solved.append(r)
                self.seconds[rows[r] % self.n] += time.perf_counter() - begin
                if turn == 0:
                    self.task.settle()
            live = np.array(solved, dtype=np.int64)
            if live.size == 0 or turn == ROUNDS - 1:
                break
            part = faces.take(live)
            again = check(self.parts, self.task.bounds, costs[live], part, x[live], [values[live] for values in h])
            faces.put(live, part)
            self.found.append(x[live[~again]])
            live = live[again]
        return True

    def _solve(self, cost: Floats, faces: Guess, r: int, x: Floats, h: list[Floats]) -> bool:
        """One LP: its multipliers, its basis and its point; False where there is no more to be had of this row."""
        bounds, effort = self.task.bounds, self.task.effort
        limits = [limit for limit in (self.task.seconds_left, effort.seconds_per_solve) if limit is not None]
        for _ in range(2):
            model, places = small_lp(self.parts, bounds, cost, faces, r)
            solver = self._load(model)
            solver.start_basis(*basis(faces, r))
            try:
                result = solver.solve(time_limit=min(limits, default=None))
            except LicenceError:
                raise
            except SolverError as error:
                logger.warning(f"{error}; a bound by dual ascent stands in")
                return False
            if not result.status.startswith("infeasible"):
                break
            faces.doubt_everything([r])  # what was decided leaves too little room
        if result.x is None and result.status != "time_limit":
            return False
        take_multipliers(faces, r, places, solver.reduced_costs())
        if result.x is None or result.status != "optimal":
            return False
        take_basis(faces, r, *solver.basis())
        x[r, places.inputs] = result.x[: places.inputs.size]
        for values, opened, columns in zip(h, faces.open, places.h, strict=True):
            values[r, opened[r]] = result.x[columns]
        return True

    def _load(self, model: MatrixModel) -> Solver:
        """The task's one solver, with this model in it."""
        if self.solver is None:
            self.solver = open_solver(self.task.effort.solver, model, OPTIONS[self.task.effort.solver])
        else:
            self.solver.replace(model)
        return self.solver


def open_sides(task: Task) -> Bools:
    """(2n,): the rows that are worth a solve."""
    network, effort = task.network, task.effort
    low, high = task.bounds.lower[-1], task.bounds.upper[-1]
    worth = np.ones((2, low.size), dtype=bool)
    if task.points.shape[0]:
        z = network.pre_activations(task.points)[-1]
        slack = ATTAINED * np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))
        worth &= np.stack([z.min(axis=0) - low > slack, high - z.max(axis=0) > slack])
    if effort.stop_at_sign:
        worth &= ~network.layers[-1].relu | ((low < 0.0) & (high > 0.0))
    return worth.ravel()
