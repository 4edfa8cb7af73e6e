"""The networks of a problem stacked side by side into one over all its columns: a target for an exact search.

    t(v) = c v + sum_b d_b f_b(v[I_b]) + offset   over   lower <= v <= upper,  the rows of R v without outputs

Symbols as in `problem`. What the target leaves out, whole numbers and rows on outputs, makes its maximum larger, never
smaller: it is the problem's own where there is neither, and a bound on it otherwise.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..domain import Box, Floats, Polytope
from ..network import Layer, Network, compact
from .problem import Placed, Problem
from .target import Target, with_rows

ROUNDING = 1e-12  # of the largest terms of a row: what taking columns out may have rounded


def target_of(problem: Problem) -> Target:
    """max t over the problem's columns, all of them finite.

    >>> from dataclasses import replace
    >>> from omlt_ext import Box
    >>> f = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> problem = replace(Problem.of_network(f, Box([-1], [1]), [1.0]), c=np.array([3.0]), offset=5.0)
    >>> target_of(problem).network([[0.5], [-0.5]])
    array([[7. ],
           [4.5]])
    """
    columns = [_weighed(placed, problem.d[placed.outputs], problem.n) for placed in problem.networks]
    domain = region(problem)
    if not columns:
        flat = Network([Layer(np.zeros((1, problem.n)), [0.0], relu=False)])
        return Target.linear(flat, domain, np.ones(1), problem.c, problem.offset)
    stacked = Network(_stacked(columns))
    return Target.linear(stacked, domain, np.ones(len(columns)), problem.c, problem.offset)


def region(problem: Problem) -> Box | Polytope:
    """The columns' box within the rows that have no outputs, each moved outward by what rounding may have taken."""
    box = Box(problem.lower, problem.upper)
    mine = np.flatnonzero(~problem.on_outputs & (np.diff(problem.R.indptr) > 0))
    if mine.size == 0:
        return box
    rows = problem.R[mine]
    reach = abs(rows) @ np.maximum(np.abs(box.lower), np.abs(box.upper))
    sides = np.concatenate([problem.row_upper[mine], -problem.row_lower[mine]])
    there = np.isfinite(sides)
    slack = ROUNDING * (np.concatenate([reach, reach]) + np.abs(np.where(there, sides, 0.0)))
    A = rows.toarray()
    return Polytope(box, np.concatenate([A, -A])[there], (sides + slack)[there])


def _weighed(placed: Placed, d: Floats, n: int) -> list[Layer]:
    """Layers of d f(v[inputs]), (1,), over all n columns v."""
    size = placed.inputs.size
    pick = sparse.csr_array((np.ones(size), (np.arange(size), placed.inputs)), shape=(size, n))
    first, *others = placed.network.layers
    moved = Layer(compact(sparse.csr_array(first.csr_weight() @ pick)), first.bias, first.relu)
    return with_rows(Network([moved, *others]), np.zeros((1, n)), d[None, :], np.zeros(1))


def _stacked(columns: list[list[Layer]]) -> list[Layer]:
    """One list of layers that ends with the outputs of all; shorter ones hand their last number on."""
    if len(columns) == 1:
        return columns[0]
    depth = max(len(layers) for layers in columns)
    on = Layer(np.ones((1, 1)), [0.0], relu=False)
    padded = [[*layers, *[on] * (depth - len(layers))] for layers in columns]
    layers = []
    for k, side_by_side in enumerate(zip(*padded, strict=True)):
        weights = [layer.csr_weight() for layer in side_by_side]
        joined = sparse.vstack(weights, format="csr") if k == 0 else sparse.block_diag(weights, format="csr")
        bias, relu = (np.concatenate([getattr(layer, part) for layer in side_by_side]) for part in ("bias", "relu"))
        layers.append(Layer(compact(sparse.csr_array(joined)), bias, relu))
    return layers
