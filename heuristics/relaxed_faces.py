"""The LP relaxation of one network over a box or polytope, with neurons restricted to a sign: by guessed faces.

Symbols as in `omlt_ext.tightening.faces` and `small_lp`: h = max(0, z) of an unstable neuron, g = h - z. The objective
d y, negated, is one more linear layer. Dual ascent guesses on which face of its triangle each neuron lies and at which
end each input; a small LP decides what is in doubt, a backward and a forward pass check the rest, and what is wrong
there joins the LP for another turn, until nothing is.

A restricted neuron always has its columns in the small LP, one of them fixed at 0: g where z >= 0, h where z <= 0.
Whether there is a point at all is the same kind of LP: the least sum of those columns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from omlt_ext.bounds import Bounds
from omlt_ext.domain import Box, Floats, Polytope
from omlt_ext.errors import SolverError
from omlt_ext.milp import MatrixModel
from omlt_ext.network import Layer, Network, dense
from omlt_ext.propagation.ascent import Multipliers, ascend
from omlt_ext.propagation.dual import Head
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import HighsSolver
from omlt_ext.tightening.faces import Guess, Part, guess
from omlt_ext.tightening.lp import OPTIONS, PACE
from omlt_ext.tightening.small_lp import Places, basis, check, small_lp, take_basis, take_multipliers

logger = logging.getLogger("omlt_ext")

MISSED = 1e-7  # a sum of violated signs up to this size is none
CHUNK_BYTES = 2**28

Solution = tuple[Floats, float, list[list[Floats]], list[list[Floats]]]


def fits(problem: Problem) -> bool:
    """Whether the problem is one network over a box or polytope: nothing else in rows or objective than outputs."""
    finite = bool(np.isfinite(problem.lower).all() and np.isfinite(problem.upper).all())
    return len(problem.networks) == 1 and finite and not problem.c.any() and not problem.on_outputs.any()


class RelaxedFaces:
    """The relaxation of a problem that `fits`; `bound` is proved by the multipliers of its unrestricted solution."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        network, self.bounds = _folded(problem)
        self.head = Head(network, self.bounds)
        self.parts = Part.all_of(self.head)
        top = dense(network.layers[-1].weight)
        self.unit = float(np.abs(top).max()) or 1.0
        self.cost = top / self.unit
        self.at = {(k, int(j)): i for k, part in enumerate(self.parts) for i, j in enumerate(part.at)}
        self.bound, self.infeasible = np.inf, False
        self.solver: HighsSolver | None = None
        self.first: Guess | None = None  # where the unrestricted solve ended
        self.last: tuple[frozenset[tuple[int, int]], Guess] | None = None  # restricted neurons and faces

    def solve(self, restrictions: Sequence[tuple[int, int, int, bool]], time_limit: float | None) -> Solution | None:
        """(v, value, z and h of unstable neurons), or None."""
        deadline = None if time_limit is None else time.time() + time_limit
        if self.first is None:
            self.first = self._guess()
            turns = _Turns(self, self.first, {}, deadline)
            found = turns.optimum()
            if found is None:
                self.first, self.infeasible = None, turns.empty
                return None
            self._prove(self.first)
            if not restrictions:
                return found
        signs = {(k, self.at[k, j]): active for _, k, j, active in restrictions}
        near = self.last[1] if self.last is not None and self.last[0] <= signs.keys() else self.first
        faces = near.take([0])
        found = _Turns(self, faces, signs, deadline).optimum()
        if found is not None:
            self.last = (frozenset(signs), faces)
        return found

    def load(self, model: MatrixModel) -> HighsSolver:
        """The one solver, with this model in it."""
        if self.solver is None:
            self.solver = HighsSolver(model, OPTIONS["highs"])
        else:
            self.solver.replace(model)
        return self.solver

    def _guess(self) -> Guess:
        problem = self.head.problem(np.eye(1))
        with np.errstate(all="ignore"):
            _, found = ascend(problem, problem.start(), self.head.pace(PACE.steps)._replace(last=PACE.last))
            back = problem.backward(found)
            faces = guess(self.parts, self.bounds, found, back._replace(A=problem.input_coefficients(back)))
        faces.mu /= self.unit
        return faces

    def _prove(self, faces: Guess) -> None:
        mu = None if self.bounds.polytope is None else faces.mu * self.unit
        found = self.head.evaluate(np.eye(1), Multipliers(faces.alphas, [], mu), CHUNK_BYTES)
        inputs = self.problem.networks[0].inputs
        if np.isfinite(found[0]) and np.unique(inputs).size == inputs.size:  # else weights were added up, and rounded
            self.bound = float(np.nextafter(self.problem.offset - found[0], np.inf))


class _Turns:
    """One solve: small LPs and checks of one row's `faces` until nothing is wrong; z >= 0 or not at `signs`."""

    def __init__(
        self, relaxed: RelaxedFaces, faces: Guess, signs: dict[tuple[int, int], bool], deadline: float | None
    ) -> None:
        self.relaxed, self.faces, self.signs, self.deadline = relaxed, faces, signs, deadline
        self.empty = False  # whether it is shown that there is no point
        self.x = faces.ends.copy()
        self.h = [np.zeros(alpha.shape) for alpha in faces.alphas]
        self.priced = [np.zeros(alpha.shape) for alpha in faces.alphas]
        for k, i in signs:
            faces.open[k][0, i] = True

    def optimum(self) -> Solution | None:
        """The optimum; None where there is no point or no time."""
        relaxed = self.relaxed
        while self._in_time():
            status = self._solve(relaxed.cost, apart=False)
            if status == "infeasible" and not self._reachable():
                return None
            if status == "optimal" and not self._wrong(relaxed.cost):
                return self._solution()
        return None

    def _reachable(self) -> bool:
        """Whether any point keeps to the signs; what is in doubt grows until a small LP has one, if so."""
        nothing = np.zeros_like(self.relaxed.cost)
        while self._in_time():
            status = self._solve(nothing, apart=True)
            if status == "infeasible":  # what was decided leaves no room, apart from the signs
                if self._all_in_doubt():
                    self.empty = True
                    return False
                self.faces.doubt_everything([0])
            elif status == "optimal" and not self._wrong(nothing):
                self.empty = self.missed > MISSED
                return not self.empty
        return False

    @property
    def _left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    def _in_time(self) -> bool:
        return self.deadline is None or time.time() < self.deadline

    def _all_in_doubt(self) -> bool:
        return bool(self.faces.free.all() and all(part.all() for part in self.faces.open))

    def _wrong(self, cost: Floats) -> bool:
        relaxed = self.relaxed
        return bool(check(relaxed.parts, relaxed.bounds, cost, self.faces, self.x, self.h, self.priced)[0])

    def _solve(self, cost: Floats, *, apart: bool) -> str:
        """One small LP; its point, multipliers and basis are noted where it has an optimum.

        `apart`: the columns that the signs fix at 0 are what it minimises, instead.
        """
        relaxed, faces = self.relaxed, self.faces
        model, places = small_lp(relaxed.parts, relaxed.bounds, cost[0], faces, 0)
        signed = self._signed(model, places, apart)
        solver = relaxed.load(signed)
        solver.start_basis(*basis(faces, 0))
        try:
            result = solver.solve(time_limit=self._left)
        except SolverError as error:
            logger.info(f"{error}; once more with presolve")
            solver, relaxed.solver = HighsSolver(signed), None
            try:
                result = solver.solve(time_limit=self._left)
            except SolverError as again:
                logger.info(f"{again}; this relaxation is left out")
                self.deadline = 0.0
                return "failed"
        if result.status.startswith("infeasible"):
            return "infeasible"
        if result.status != "optimal" or result.x is None or result.value is None:
            self.deadline = 0.0 if result.status != "time_limit" else self.deadline
            return result.status
        take_multipliers(faces, 0, places, solver.reduced_costs())
        take_basis(faces, 0, *solver.basis())
        self.missed = result.value
        self.x[0] = faces.ends[0]
        self.x[0, places.inputs] = result.x[: places.inputs.size]
        prices = solver.row_multipliers()
        for values, priced, opened, columns in zip(self.h, self.priced, faces.open, places.h, strict=True):
            values[0, opened[0]] = result.x[columns]
            priced[0, opened[0]] = prices[columns - places.inputs.size]
        return "optimal"

    def _signed(self, model: MatrixModel, places: Places, apart: bool) -> MatrixModel:
        """The small LP with the columns of restricted neurons fixed at 0 or, `apart`, with a price on each."""
        upper, c = model.upper.copy(), model.c.copy()
        for (k, i), active in self.signs.items():
            number = int(self.faces.open[k][0, :i].sum())
            column = (places.g if active else places.h)[k][number]
            if apart:
                c[column] = 1.0
            else:
                upper[column] = 0.0
        return replace(model, upper=upper, c=c)

    def _solution(self) -> Solution:
        relaxed, before, zs, hs = self.relaxed, self.x, [], []
        for part, face, opened, own in zip(relaxed.parts, self.faces.faces, self.faces.open, self.h, strict=True):
            z = part.layer.pre_activation(before)
            before = part.on_faces(z, face)
            before[:, part.at] = np.where(opened, own, before[:, part.at])
            zs.append(z[0, part.at])
            hs.append(before[0, part.at])
        value = relaxed.problem.offset - relaxed.unit * float(relaxed.cost[0] @ before[0])
        return self.x[0].copy(), value, [zs], [hs]


def _folded(problem: Problem) -> tuple[Network, Bounds]:
    """The network on all columns with -d y as its output, and its bounds over box and rows."""
    placed = problem.networks[0]
    assert problem.bounds is not None
    known, layers = problem.bounds[0], list(placed.network.layers)
    if not np.array_equal(placed.inputs, np.arange(problem.n)):
        spread = sparse.csr_array(
            (np.ones(placed.inputs.size), (np.arange(placed.inputs.size), placed.inputs)),
            shape=(placed.inputs.size, problem.n),
        )
        layers[0] = Layer(layers[0].weight @ spread, layers[0].bias, layers[0].relu)
    weights = -problem.d[placed.outputs]
    network = Network([*layers, Layer(weights[None, :], [0.0], relu=False)])
    low, high = (np.where(layers[-1].relu, np.maximum(0.0, end), end) for end in (known.lower[-1], known.upper[-1]))
    ends = np.sort(np.stack([weights * low, weights * high]), axis=0).sum(axis=1)
    box, polytope = Box(problem.lower, problem.upper), None
    A = problem.R.toarray()
    rows, sides = np.concatenate([A, -A]), np.concatenate([problem.row_upper, -problem.row_lower])
    there = np.isfinite(sides)
    if there.any():
        polytope = Polytope(box, rows[there], sides[there])
    bounds = Bounds.of(network, box, [*known.lower, ends[:1]], [*known.upper, ends[1:]], polytope=polytope)
    return network, bounds
