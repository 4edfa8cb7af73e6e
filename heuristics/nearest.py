"""The nearest point, in the l1 norm of the networks' inputs, that satisfies the rows without outputs: one LP.

    min  sum_j (p_j + m_j) / width_j   where   v = t + p - m,   row_lower <= R v <= row_upper,   lower <= v <= upper

Symbols: t the point given, p and m how far each column is moved up and down. Moving a column that no network reads
costs nothing; whole numbers are not asked for.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats
from omlt_ext.milp import MatrixModel
from omlt_ext.search.problem import TOLERANCE, Problem
from omlt_ext.solvers import HighsSolver


class Nearest:
    """The LP of one problem; from point to point only bounds of its columns change.

    >>> from omlt_ext import Box, Layer, Network, Polytope
    >>> network = Network([Layer([[1.0, 1.0]], [0.0], relu=True)])
    >>> problem = Problem.of_network(network, Polytope(Box.full(2, 0, 1), [[1.0, 2.0]], [1.0]))
    >>> Nearest(problem)(np.array([0.5, 0.75]), None)
    array([0.5 , 0.25])
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        rows = np.flatnonzero(~problem.on_outputs & (np.diff(problem.R.indptr) > 0))
        self._R, self._low, self._high = problem.R[rows], problem.row_lower[rows], problem.row_upper[rows]
        self._solver: HighsSolver | None = None

    def __call__(self, v: Floats, time_limit: float | None) -> Floats | None:
        """The nearest point (n,) to v, which lies within the columns' bounds; None where there is none, or no time."""
        activity = self._R @ v
        if (np.maximum(self._low - activity, activity - self._high) <= TOLERANCE).all():
            return v
        lower, upper = np.concatenate([v, np.zeros(2 * v.size)]), np.concatenate([v, *self._room(v)])
        if self._solver is None:
            self._solver = HighsSolver(self._model(lower, upper), {"presolve": "off"})
        self._solver.set_bounds(np.arange(lower.size), lower, upper)
        result = self._solver.solve(time_limit=time_limit)
        if result.x is None:
            return None
        t, p, m = result.x.reshape(3, v.size)
        return np.clip(t + p - m, self.problem.lower, self.problem.upper)

    def _room(self, v: Floats) -> tuple[Floats, Floats]:
        return self.problem.upper - v, v - self.problem.lower

    def _model(self, lower: Floats, upper: Floats) -> MatrixModel:
        width = self.problem.upper - self.problem.lower
        cost = np.zeros(width.size)
        for placed in self.problem.networks:
            cost[placed.inputs] = 1.0 / np.where(width > 0.0, width, 1.0)[placed.inputs]
        return MatrixModel(
            c=np.concatenate([np.zeros(cost.size), cost, cost]),
            offset=0.0,
            maximize=False,
            A=sparse.csr_array(sparse.hstack([self._R, self._R, -self._R], format="csr")),
            row_lower=self._low,
            row_upper=self._high,
            lower=lower,
            upper=upper,
            integer=np.zeros(lower.size, dtype=bool),
        )
