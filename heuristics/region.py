"""The largest value over one linear region of the networks, by LP in the space of v.

    max  c v + d y + offset   where   z_j(v) >= 0 (j active),  z_j(v) <= 0 (j inactive),  row_lower <= R v + S y <= ...

Symbols as in `problem` and `sign_rows`. Few of the sign rows z_j >= 0 or <= 0 bind, so that an LP knows only those that
one of its solutions has violated or that bound in the region before, and it starts from the basis of that region: where
two regions meet at the last solution, the same rows are tight there in both.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np

from omlt_ext.domain import Floats, Ints
from omlt_ext.errors import SolverError
from omlt_ext.network import Bools
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import HighsSolver
from omlt_ext.solvers.seam import BASIC, States

from .sign_rows import TOLERANCE, Patterns, Region, generate

__all__ = ["Local", "Patterns", "Regions"]

logger = logging.getLogger("omlt_ext")

NODES = 500  # of branch and bound over the integer columns of one region
OPTIONS = {
    "presolve": "off",
    "solver": "simplex",
    "parallel": "off",
    "primal_feasibility_tolerance": TOLERANCE,
    "dual_feasibility_tolerance": TOLERANCE,
}
MIP_OPTIONS = {"parallel": "off", "mip_max_nodes": NODES, "mip_rel_gap": 1e-6}


@dataclass(frozen=True, eq=False)
class Local:
    """The best point `v` (n,) of a region, its `value`, and which ReLU neurons are at the border of the region there.

    `tight`: over networks, over layers, bool arrays.
    """

    v: Floats
    value: float
    tight: tuple[tuple[Bools, ...], ...]


class Regions:
    """The linear regions of one problem; it lives across solves and keeps what the next one can start from.

    A pattern of a problem is that of each of its networks (`Network.pattern`), one after the other.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> regions = Regions(Problem.of_network(network, Box([-1], [1])))
    >>> regions.solve(regions.pattern(np.array([0.3]))).value
    1.0
    >>> regions.solve(regions.pattern(np.array([-0.3]))).value
    2.0
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        width = problem.upper - problem.lower
        known = np.isfinite(width) & (width > 0.0) & ~problem.integer
        self.unit = np.where(known, np.exp2(np.round(np.log2(np.where(known, width, 1.0)))), 1.0)  # rounds no digit
        self._work: Ints = np.empty(0, dtype=np.int64)  # the sign rows that the next LP begins with
        self._basis: tuple[States, States] | None = None
        self._solver: HighsSolver | None = None

    def pattern(self, v: Floats) -> Patterns:
        """The pattern at v (n,)."""
        return tuple(placed.network.pattern(v[placed.inputs]) for placed in self.problem.networks)

    def key(self, pattern: Patterns, whole: Floats | None = None) -> bytes:
        """The pattern as bits, to remember it by, and the integer columns of `whole`, where they are fixed at those."""
        bits = np.packbits(np.concatenate([active for part in pattern for active in part])).tobytes()
        return bits if whole is None else bits + (np.round(whole[self.problem.integer]) + 0.0).tobytes()  # no -0.0

    def solve(self, pattern: Patterns, *, whole: Floats | None = None, time_limit: float | None = None) -> Local | None:
        """The best point of the closed region of `pattern` within bounds and rows.

        Integer columns are fixed at those of `whole` (n,) where it is given, else HiGHS decides them, within `NODES`
        nodes. None where the region is empty, where nothing limits the objective, and where the time is up or HiGHS
        fails.
        """
        deadline = None if time_limit is None else time.perf_counter() + time_limit
        try:
            return self._solve(Region(self.problem, pattern, self.unit), whole, deadline)
        except SolverError as error:
            logger.warning(f"{error}; this linear region is left out")
            self._solver = self._basis = None
            return None

    def _solve(self, region: Region, whole: Floats | None, deadline: float | None) -> Local | None:
        model, integer = region.model(), self.problem.integer
        if integer.any():
            if whole is None:
                decider = HighsSolver(region.with_rows(replace(model, integer=integer), self._work), MIP_OPTIONS)
                u, _ = generate(decider, region, self._work, deadline)
                if u is None:
                    return None
                whole = u  # whole columns have the unit 1
            model = model.fix(np.flatnonzero(integer), np.round(whole[integer]))
        start = region.with_rows(model, self._work)
        if self._solver is None:
            self._solver = HighsSolver(start, OPTIONS)
        else:
            self._solver.replace(start)
        if self._basis is not None:
            self._solver.start_basis(*self._basis)
        u, work = generate(self._solver, region, self._work, deadline)
        if u is None:
            return None
        columns, rows = self._solver.basis()
        m = self.problem.n_rows
        tight = rows[m:] != BASIC
        self._work, self._basis = work[tight], (columns, np.concatenate([rows[:m], rows[m:][tight]]))
        v = self.problem.inside(u * self.unit)
        return Local(v, self.problem.value(v), region.tight(v))
