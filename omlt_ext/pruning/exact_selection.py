"""The selection of the Combinatorial Brain Surgeon at its proven optimum, for small networks.

    min sum_ij A_ij y_i y_j   where   A_ij = w_i H_ij w_j,   sum over group g of y = p_g,   y binary: y_i = 1 is pruned

as a mixed-integer linear model with a column 0 <= Y_ij <= 1 for each product y_i y_j, i < j:

    Y_ij <= y_i, Y_ij <= y_j   where A_ij < 0,   Y_ij >= y_i + y_j - 1   elsewhere

the sides that the objective pulls Y_ij to (Fortet's linearisation). The rows that follow from each sum times y_i were
measured beside them and make HiGHS no faster: it finds such cuts itself. Tangents of the convex objective in place of
the products leave gaps at 33 weights that HiGHS does not close in half a minute.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..domain import Floats, Ints
from ..errors import OptionError, SolverError
from ..milp import MatrixModel, ModelBuilder
from ..network import Bools
from ..solvers import HighsSolver
from .method import Task, keep_largest
from .swaps import Selection, search

LARGEST = 48  # weights: seconds; with 59 HiGHS had not ended after half a minute
SECONDS = 300.0
PROVED = 1e-5  # how far the bound may lie below the value, relative to it: the solver's tolerances


def exact_selection(selection: Selection, task: Task) -> Bools:
    """(d,): the weights to keep so that F of the others is least, proved by HiGHS.

    Raises `OptionError` for more than `LARGEST` weights, `SolverError` where there is no proof within `SECONDS`.
    """
    alive = np.flatnonzero(task.w)
    if alive.size > LARGEST:
        raise OptionError(
            f"an exact selection is for at most {LARGEST} weights, and this network has {alive.size}; use exact=False"
        )
    group, counts = np.empty(alive.size, dtype=np.int64), []
    for g, (part, kept) in enumerate(task.groups):
        mine = (alive >= part.start) & (alive < part.stop)
        group[mine] = g
        counts.append(max(0, np.count_nonzero(mine) - kept))
    start = keep_largest(np.abs(task.w), task)
    of_all = np.full(task.w.size, -1)
    of_all[alive] = group
    found = search(selection, start, of_all, lambda keep: selection.cost(~keep), passes=LARGEST, window=LARGEST)
    unit = selection.cost(~found)
    if unit == 0.0:
        return found  # nothing is less
    effects = selection.effects(alive)
    A = (effects.T @ effects + np.diag(selection.damp * task.w[alive] ** 2)) / unit
    solver = HighsSolver(product_model(A, group, np.array(counts)), {"threads": 1, "mip_feasibility_tolerance": 1e-9})
    solver.start_from(np.arange(alive.size), (~found[alive]).astype(np.float64))
    result = solver.solve(time_limit=SECONDS, gap=0.0, absolute_gap=PROVED / 10.0)
    if result.x is None or result.bound is None:
        raise SolverError(f"HiGHS ended the exact selection with {result.status!r}; use exact=False")
    keep = task.w != 0.0
    keep[alive] = result.x[: alive.size] < 0.5
    value = selection.cost(~keep & (task.w != 0.0)) / unit
    if result.bound < value - PROVED * max(1.0, value):
        raise SolverError(
            f"no proof of the exact selection after {result.seconds:.0f} s: the best value lies "
            f"{value - result.bound:.1e} above the bound, relative to the local search's; use exact=False"
        )
    return keep


def product_model(A: Floats, group: Ints, counts: Ints) -> MatrixModel:
    """The model above: columns y (d,), then Y_ij for i < j, row by row of the triangle.

    `A` (d, d) symmetric, `group` (d,) the number of each weight's group, `counts` how many of each group go.

    >>> model = product_model(np.array([[2.0, -1.0], [-1.0, 3.0]]), np.array([0, 0]), np.array([1]))
    >>> model.c, model.n_rows
    (array([ 2.,  3., -2.]), 3)
    >>> HighsSolver(model).solve().x
    array([1., 0., 0.])
    """
    d = group.size
    i, j = np.triu_indices(d, 1)
    weight, pair = A[i, j], np.arange(i.size)
    builder = ModelBuilder()
    y = builder.add_columns(np.zeros(d), np.ones(d), True)
    Y = builder.add_columns(np.zeros(i.size), np.ones(i.size))
    every = np.concatenate([y, Y])
    belongs = group == np.arange(counts.size)[:, None]  # (groups, d)
    builder.add_rows(sparse.csr_array(belongs.astype(np.float64)), y, counts.astype(float), counts.astype(float))
    eye = sparse.eye_array(i.size, format="csr")
    first, second = (sparse.csr_array((np.ones(i.size), (pair, at)), shape=(i.size, d)) for at in (i, j))
    low, high = weight < 0.0, weight >= 0.0
    for side in (first, second):
        below = sparse.csr_array(sparse.hstack([-side, eye], format="csr")[low])
        builder.add_rows(below, every, np.full(low.sum(), -np.inf), np.zeros(low.sum()))
    above = sparse.csr_array(sparse.hstack([-first - second, eye], format="csr")[high])
    builder.add_rows(above, every, np.full(high.sum(), -1.0), np.full(high.sum(), np.inf))
    return builder.model(np.concatenate([np.diag(A), 2.0 * weight]))
