"""One linear region as arrays: the objective and the rows in v, and the signs that the pre-activations must have.

    max  c v + d y + offset   where   z_j(v) >= 0 (j active),  z_j(v) <= 0 (j inactive),  row_lower <= R v + S y <= ...

Symbols: v the columns of a `Problem`, y = A v + c the outputs under the pattern, z_j = a_j v + c_j the pre-activations
of ReLUs; *sign row* j says z_j >= 0 or z_j <= 0.

Numbers: columns are measured in units of their range, sign rows divided by their length |a_j|, the objective by its
largest coefficient, so that HiGHS's absolute tolerances are relative ones.
"""

from __future__ import annotations

import time
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats, Ints
from omlt_ext.milp import MatrixModel
from omlt_ext.network import Bools, Pattern
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import HighsSolver

from .piece import Piece

Patterns: TypeAlias = tuple[Pattern, ...]
Free: TypeAlias = tuple[tuple[Ints, ...], ...]  # neurons, by network, by layer

TOLERANCE = 1e-9  # of a sign row, times |a_j|
TIGHT = 1e-7  # a neuron is at the border of the region where |z_j| is at most this, times |a_j|
BATCH = 50  # sign rows that join an LP at a time
LEAST = 1e-6  # of the longest row of a layer: what is shorter counts as this long, since z_j is rounded
PROBES = 8  # directions by which |a_j| is estimated


class Region:
    """One region as arrays: the LP without its sign rows, and sign rows on demand, over u = v / unit.

    Sign row i belongs to the i-th ReLU of the problem, counted layer by layer. The neurons of `free` (by network, by
    layer; `Piece.free`) are left open: their h are columns after those of v, network by network, then come as many
    for whoever says what h is; their sign rows mean nothing.
    """

    def __init__(self, problem: Problem, pattern: Patterns, unit: Floats, free: Free | None = None) -> None:
        self.problem, networks = problem, problem.networks
        opened: Free = ((),) * len(networks) if free is None else free
        self.pieces = [Piece(p.network, part, at) for p, part, at in zip(networks, pattern, opened, strict=True)]
        self.columns, n = [], problem.n
        for piece, placed in zip(self.pieces, networks, strict=True):
            more = piece.n - placed.network.n_inputs
            self.columns.append(np.concatenate([placed.inputs, np.arange(n, n + more)]))
            n += more
        self.n_free = n - problem.n
        self.n = n + self.n_free
        self.unit = np.pad(unit, (0, self.n - unit.size), constant_values=1.0)
        self.relus = [
            (b, k, np.flatnonzero(layer.relu))
            for b, placed in enumerate(problem.networks)
            for k, layer in enumerate(placed.network.layers)
        ]
        self.first = np.cumsum([0] + [at.size for _, _, at in self.relus])
        self.sign = np.where(self.of_relus(pattern), 1.0, -1.0)
        self.free = np.zeros(self.sign.size, dtype=bool)
        if free is not None:
            self.free = np.concatenate([np.isin(at, free[b][k]) for b, k, at in self.relus])
        zero = [piece.pre_activations(np.zeros(piece.n)) for piece in self.pieces]
        self.constant = self.of_relus(zero)
        self.length = self._lengths()

    def model(self) -> MatrixModel:
        """The LP without sign rows, its objective divided by its largest coefficient; free h are at least 0."""
        problem, more = self.problem, self.n - self.problem.n
        c = (np.pad(problem.c, (0, more)) + self._gradient(problem.d)) * self.unit
        R, shift = sparse.csr_array(sparse.hstack([problem.R, sparse.csr_array((problem.n_rows, more))])), 0.0
        if problem.on_outputs.any():
            at = np.flatnonzero(problem.on_outputs)
            shift = problem.S @ np.concatenate([piece.outputs(np.zeros(piece.n)) for piece in self.pieces])
            place = sparse.csr_array((np.ones(at.size), (at, np.arange(at.size))), shape=(problem.n_rows, at.size))
            R = R + place @ sparse.csr_array(self._gradient(problem.S[at].toarray()))
        return MatrixModel(
            c=c / max(np.abs(c).max(initial=0.0), np.finfo(float).tiny),
            offset=0.0,
            maximize=True,
            A=sparse.csr_array(R @ sparse.diags_array(self.unit)),
            row_lower=problem.row_lower - shift,
            row_upper=problem.row_upper - shift,
            lower=np.pad(problem.lower, (0, more)) / self.unit,
            upper=np.pad(problem.upper, (0, more), constant_values=np.inf) / self.unit,
            integer=np.zeros(self.n, dtype=bool),
        )

    def affine(self, which: Ints) -> tuple[Floats, Floats, Floats]:
        """z_j = A_j u + c_j for some ReLUs: A (m, n), c (m,), and the length of each row."""
        A = np.zeros((which.size, self.n))
        for (b, k, at), first in zip(self.relus, self.first, strict=False):
            mine = (which >= first) & (which < first + at.size)
            if mine.any():
                A[mine] = self._scattered(b, self.pieces[b].rows(k, at[which[mine] - first]))
        A *= self.unit
        length = np.sqrt(np.einsum("ij,ij->i", A, A))
        return A, self.constant[which], np.maximum(length, LEAST * self.length[which])

    def rows(self, which: Ints) -> tuple[Any, Floats, Floats]:
        """Sign rows, each divided by its length: (m, n) CSR and both ends."""
        A, constant, length = self.affine(which)
        factor = self.sign[which] / length
        return _csr(A * factor[:, None]), -constant * factor, np.full(which.size, np.inf)

    def with_rows(self, model: MatrixModel, which: Ints) -> MatrixModel:
        """The model with some sign rows."""
        return model.with_rows(*self.rows(which)) if which.size else model

    def slack(self, v: Floats) -> Floats:
        """How far inside each sign row v lies, in units of its length."""
        return self.sign * self._z(v) / self.length

    def tight(self, v: Floats) -> tuple[tuple[Bools, ...], ...]:
        """The ReLUs at the border, as `Local.tight`."""
        return self.masks(np.abs(self._z(v)) <= TIGHT * self.length)

    def masks(self, some: Bools) -> tuple[tuple[Bools, ...], ...]:
        """What is said of the ReLUs (N,), by network and layer; False for linear neurons."""
        masks = [[np.zeros(layer.n_out, dtype=bool) for layer in p.network.layers] for p in self.problem.networks]
        for (b, k, at), first in zip(self.relus, self.first, strict=False):
            masks[b][k][at] = some[first : first + at.size]
        return tuple(map(tuple, masks))

    def _z(self, v: Floats) -> Floats:
        return self.of_relus(
            [piece.pre_activations(v[at]) for piece, at in zip(self.pieces, self.columns, strict=True)]
        )

    def _lengths(self) -> Floats:
        """|a_j| times the units, estimated: E (a d)^2 = |a|^2 for random signs d; at least `LEAST` of its layer's."""
        D = np.where(np.random.default_rng(0).random((self.n, PROBES)) < 0.5, -1.0, 1.0) * self.unit[:, None]
        changes = [piece.changes(D[at]) for piece, at in zip(self.pieces, self.columns, strict=True)]
        lengths = []
        for b, k, at in self.relus:
            length = np.sqrt((changes[b][k][at] ** 2).mean(axis=1))
            lengths.append(np.maximum(length, LEAST * length.max(initial=0.0) or 1.0))
        return np.concatenate(lengths)

    def of_relus(self, stacks: Any) -> Any:
        """The entries that belong to ReLUs, of arrays by network and layer."""
        return np.concatenate([stacks[b][k][at] for b, k, at in self.relus])

    def _gradient(self, weights: Floats) -> Floats:
        """The gradient in the columns of weights . y, for weights (n_y,) or (m, n_y)."""
        total = np.zeros((*weights.shape[:-1], self.n))
        for b, (piece, placed) in enumerate(zip(self.pieces, self.problem.networks, strict=True)):
            total += self._scattered(b, piece.gradient(weights[..., placed.outputs]))
        return total

    def _scattered(self, b: int, G: Floats) -> Floats:
        """Coefficients (..., n_b) of network b's arguments as those of all columns; one may be read twice."""
        A = np.zeros((*G.shape[:-1], self.n))
        if np.unique(self.columns[b]).size == self.columns[b].size:
            A[..., self.columns[b]] = G
        else:
            np.add.at(A.T, self.columns[b], G.T)
        return A


def generate(
    solver: HighsSolver, region: Region, work: Ints, deadline: float | None, start: Floats | None = None
) -> tuple[Floats | None, Ints]:
    """Solve, add the sign rows that are violated most, and again until none is: (u, the sign rows of the model).

    `start` is a point that branch and bound begins with each time; then its best point when the time is up counts too.
    u is None where there is none, and where the time is up before all sign rows hold.
    """
    enough = ("optimal", "limit") if start is None else ("optimal", "limit", "time_limit")
    out = ~region.free
    out[work] = False
    while True:
        left = None if deadline is None else deadline - time.perf_counter()
        if left is not None and left <= 0.0:
            return None, work
        if start is not None:
            solver.start_from(np.arange(region.n), start)
        result = solver.solve(time_limit=left)
        if result.status == "interrupted":
            raise KeyboardInterrupt
        if result.x is None or result.status not in enough:
            return None, work
        slack = region.slack(result.x * region.unit)
        bad = np.flatnonzero(out & (slack < -TOLERANCE))
        if bad.size == 0:
            return result.x, work
        bad = np.sort(bad[np.argsort(slack[bad], kind="stable")[:BATCH]])
        solver.add_rows(*region.rows(bad))
        out[bad] = False
        work = np.concatenate([work, bad])


def _csr(A: Floats) -> Any:
    """A as CSR; at once where no entry is zero."""
    if np.count_nonzero(A) < A.size:
        return sparse.csr_array(A)
    m, n = A.shape
    return sparse.csr_array((A.ravel(), np.tile(np.arange(n), m), np.arange(m + 1) * n), shape=(m, n))
