"""Towards feasibility: the problem whose objective is the violation of the rows.

    max  -sum (s + t)   where   row_lower <= R v + S y + s - t <= row_upper,   s, t >= 0

with s only at rows that have a lower end and t only at those that have an upper one. Its value is 0 at feasible points.
A walk on it leads from a point outside to one that is feasible.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem

from .region import Local
from .sign_rows import Patterns
from .walk import Rules, Walks

REPAIR_STEPS = 50  # regions of a walk towards feasibility
FEASIBLE = 1e-9


def elastic(problem: Problem) -> Problem:
    """The problem above: its columns are v, then s, then t.

    >>> from omlt_ext import Box, Layer, Network
    >>> from omlt_ext.domain import Polytope
    >>> network = Network([Layer([[1.0]], [0.0], relu=True)])
    >>> loose = elastic(Problem.of_network(network, Polytope(Box([0], [9]), [[1.0]], [2.0])))
    >>> loose.value(np.array([5.0, 3.0])), loose.violations(np.array([[5.0, 3.0], [5.0, 2.0]]))
    (-3.0, array([0., 1.]))
    """
    low, high = (np.flatnonzero(np.isfinite(ends)) for ends in (problem.row_lower, problem.row_upper))
    eye, extra = sparse.eye_array(problem.n_rows, format="csc"), low.size + high.size
    return replace(
        problem,
        c=np.concatenate([np.zeros(problem.n), -np.ones(extra)]),
        d=np.zeros_like(problem.d),
        offset=0.0,
        R=sparse.csr_array(sparse.hstack([problem.R, eye[:, low], -eye[:, high]], format="csr")),
        lower=np.concatenate([problem.lower, np.zeros(extra)]),
        upper=np.concatenate([problem.upper, np.full(extra, np.inf)]),
        integer=np.concatenate([problem.integer, np.zeros(extra, dtype=bool)]),
        confirm=None,
    )


def lifted(problem: Problem, v: Floats) -> Floats:
    """The point of `elastic(problem)` above v, each row's violation in its s or t."""
    activity = problem.R @ v + problem.S @ problem.outputs(v)
    short = (problem.row_lower - activity)[np.isfinite(problem.row_lower)]
    over = (activity - problem.row_upper)[np.isfinite(problem.row_upper)]
    return np.concatenate([v, np.maximum(short, 0.0), np.maximum(over, 0.0)])


class Repairs:
    """Walks towards feasibility, on the problem whose objective is the violation of the rows."""

    def __init__(self, problem: Problem, rules: Rules, rng: np.random.Generator) -> None:
        self.problem = problem
        self.rules = replace(rules, crossings=("all_tight", "step", "random"), steps=REPAIR_STEPS, memory=False)
        self.rng = rng
        self.loose: Problem | None = None

    def enter(self, x: Floats, walks: Walks, incumbent: Incumbent) -> tuple[Patterns, Local] | None:
        """A region with a feasible point and the best one there; None where the walk from x does not lead to any."""
        if self.loose is None:
            self.loose = elastic(self.problem)
        own = Incumbent(self.loose, FEASIBLE, incumbent.left)
        own.prove(0.0, rigorous=True)
        on = Walks(self.loose, own, self.rules, self.rng)
        start = lifted(self.problem, x)
        entered = on.enter(start)
        if entered is None:
            return None
        at = on.walk(start, *entered)
        v = at.v[: self.problem.n]
        incumbent.offer(v)
        return walks.enter(v)
