"""The MILP rung: the exact range of every neuron, or what the solver proved of it when it was stopped.

Symbols: row r < n is v = z_r, row n + j is v = -z_j: each is minimised. `known` <= min v are bounds, `value` >= min v
what points of the domain attain, by a forward pass.

A row is left alone once its bound lies within the gap of its value. With `stop_at_sign`, the sign of a ReLU is all that
counts: a row is left alone as well when v < 0 has been seen (then v >= 0 cannot be proved), and a neuron when v >= 0 is
known of one of its rows. Every point that a solve finds is run forward for all neurons, so that it may close rows whose
turn has not come.

Validity. What counts is the solver's dual bound, never its incumbent, so that a solve may be cut short. It is lowered
by the solver's tolerance; where a point lies below it all the same, it is wrong and left out.
"""

from __future__ import annotations

import logging
import time

import numpy as np

from ..domain import Floats, Ints
from ..errors import LicenceError, SolverError
from ..network import Bools
from ..plugins import formulation
from ..solvers import Solver, lowered, open_solver
from .lp import lp_rung
from .prefix import Prefix, inside, row_of
from .task import Outcome, Task

logger = logging.getLogger("omlt_ext")

SAMPLES = 512
SEED = 0
OPTIONS: dict[str, dict[str, object]] = {
    "highs": {"random_seed": 0},
    "scip": {},
    "gurobi": {"Threads": 1, "Seed": 0},
}


def milp_rung(task: Task) -> Outcome:
    """Bounds of the last layer by one MILP for each side of each neuron over all layers before it.

    Where no neuron before the last layer is unstable, or there is none, the MILPs are LPs and `lp_rung` solves them.
    Raises `FormulationError` for an unknown formulation, `MissingDependencyError` and `LicenceError` for a solver that
    is not there or may not take the model.
    """
    network, bounds = task.network, task.bounds
    relus = formulation(task.effort.formulation)
    if not any(mask.any() for mask in bounds.unstable[:-1]):
        return lp_rung(task)
    search = Search(task)
    try:
        finished = search.run(Prefix.of(network, bounds, relus))
    except KeyboardInterrupt:
        finished = False
    return search.outcome(finished)


class Search:
    """What is known of each row, and the point that attains its value."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.layer = task.network.layers[-1]
        n = self.layer.n_out
        low, high = task.bounds.lower[-1], task.bounds.upper[-1]
        self.given = np.concatenate([low, -high])
        self.reach = task.effort.gap * np.tile(high - low, 2)
        self.proven = np.full(2 * n, -np.inf)
        self.value = np.full(2 * n, np.inf)
        self.best = np.empty((2 * n, task.network.n_inputs))
        self.seconds = np.zeros(n)

    @property
    def known(self) -> Floats:
        return np.maximum(self.given, self.proven)

    def run(self, prefix: Prefix) -> bool:
        """One solve for each row that is still open when its turn comes; False where the run was cut short."""
        self.offer(self.task.points)
        self.offer(samples(self.task))
        solver = open_solver(self.task.effort.solver, prefix.model, OPTIONS[self.task.effort.solver])
        for row in self.order():
            if not self.open()[row]:
                continue
            if self.task.seconds_left == 0.0:
                return False
            begin = time.perf_counter()
            status = self.solve(solver, prefix, row)
            self.seconds[row % self.layer.n_out] += time.perf_counter() - begin
            self.task.settle()
            if status == "interrupted":
                return False
            if status == "infeasible":
                break  # no point at all: there is nothing to bound
        return True

    def solve(self, solver: Solver, prefix: Prefix, row: int) -> str:
        """Minimise one row's v; return the solver's status."""
        effort, n = self.task.effort, self.layer.n_out
        j, sign = row % n, 1.0 if row < n else -1.0

        def watch(x: Floats | None, bound: float) -> bool:
            if x is not None:
                self.offer(x[None, prefix.inputs])
            return self.enough(row, max(self.known[row], lowered(bound)))

        solver.set_objective(
            prefix.cost(sign * row_of(self.layer, j)), maximize=False, offset=sign * self.layer.bias[j]
        )
        if np.isfinite(self.value[row]):
            solver.start_from(*prefix.embedded.point(self.best[row]))
        limits = [s for s in (self.task.seconds_left, effort.seconds_per_solve) if s is not None]
        try:
            result = solver.solve(
                time_limit=min(limits, default=None), gap=0.0, absolute_gap=0.5 * self.reach[row], watch=watch
            )
        except LicenceError:
            raise
        except SolverError as error:
            logger.warning(f"{error}; the bound known before stands")
            return "failed"
        if result.x is not None:
            self.offer(result.x[None, prefix.inputs])
        if result.status == "infeasible" and np.isfinite(self.value[row]):
            logger.warning("the solver says that there is no point, but the network has one in the domain")
            return "failed"
        if result.bound is not None:
            self.proven[row] = max(self.proven[row], lowered(result.bound))
        return result.status

    def offer(self, points: Floats) -> None:
        """Run points (m, n_in) forward, moved into the domain or left out; keep what is best for each row."""
        points = inside(points, self.task.bounds)
        if points.shape[0] == 0:
            return
        z = self.task.network.pre_activations(points)[-1]
        v = np.concatenate([z, -z], axis=1)
        least = v.argmin(axis=0)
        found = v[least, np.arange(least.size)]
        better = found < self.value
        self.value[better] = found[better]
        self.best[better] = points[least[better]]
        wrong = self.proven > self.value
        if wrong.any():
            logger.warning("a point of the domain lies below the solver's dual bound, which is left out")
            self.proven[wrong] = -np.inf

    def enough(self, row: int, bound: float) -> bool:
        """Whether nothing more is asked of a row with this bound."""
        signs = self.task.effort.stop_at_sign and self.layer.relu[row % self.layer.n_out]
        return bool(self.value[row] - bound <= self.reach[row] or (signs and (self.value[row] < 0.0 or bound >= 0.0)))

    def open(self) -> Bools:
        """(2n,): the rows that are worth a solve."""
        known, n = self.known, self.layer.n_out
        rows = self.value - known > self.reach
        if self.task.effort.stop_at_sign:
            decided = np.tile((known[:n] >= 0.0) | (known[n:] >= 0.0), 2)
            rows &= ~np.tile(self.layer.relu, 2) | ~(decided | (self.value < 0.0))
        return rows

    def order(self) -> Ints:
        """All rows, first those that have the least part of their neuron's width to go until its sign is decided."""
        n = self.layer.n_out
        width = np.maximum(-self.given[n:] - self.given[:n], np.finfo(np.float64).tiny)
        far = np.where((self.given < 0.0) & np.tile(self.layer.relu, 2), -self.given / np.tile(width, 2), np.inf)
        return np.argsort(far, kind="stable")

    def outcome(self, finished: bool) -> Outcome:
        n = self.layer.n_out
        at = np.isfinite(self.value)
        points = np.unique(self.best[at], axis=0)
        return Outcome(self.proven[:n], -self.proven[n:], self.seconds, points, finished)


def samples(task: Task) -> Floats:
    """The middle, uniform points and corners of the box, always the same."""
    box, rng = task.bounds.box, np.random.default_rng(SEED)
    half = SAMPLES // 2
    corners = np.where(rng.random((half, box.n)) < 0.5, box.lower, box.upper)
    return np.concatenate([box.center[None, :], box.sample(half, rng), corners])
