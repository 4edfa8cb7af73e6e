"""The LP over the triangles with most of it decided beforehand: only what is in doubt has columns and rows.

Symbols as in `faces`: z = W h' + b, h = max(0, z), g = h - z = max(0, -z), l <= z <= u; X the free inputs, F the open
neurons. Layer by layer h = M v + q with v = (x_X, h_F): M and q follow from the faces of all other neurons. Then

    min  c M v   where   h_F - g_F - M_F v = q_F,   (-l h_F + u g_F)/r <= -l u/r,   h_F, g_F >= 0,   r = max(u, -l)

The second row and the signs are the triangle h >= 0, h >= z, h <= u (z - l)/(u - l). Rows of a polytope stand with a
column each: A x + slack = b, slack >= 0.

The LP's optimum is that of the whole LP if `check` finds nothing: the point keeps to the triangles of all neurons,
and no coefficient has the wrong sign for a face or an end.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..bounds import Bounds
from ..domain import Floats, Ints
from ..milp import MatrixModel
from ..network import Bools
from ..solvers import LOWER
from .faces import LINE, ON, Codes, Guess, Part

OPTIMAL = 1e-8  # coefficients of the wrong sign up to this size, the largest weight being 1, are rounding
FEASIBLE = 1e-7  # of 1 + u - l: how far z may lie off a face


class Places(NamedTuple):
    """Where the small LP has its columns: free inputs first, then h and g of every layer's open neurons, then slack."""

    inputs: Ints
    h: list[Ints]
    g: list[Ints]
    slack: Ints

    @classmethod
    def of(cls, guess: Guess, row: int) -> Places:
        sizes = [0, *(int(part[row].sum()) for part in guess.open)]
        X, F, p = np.flatnonzero(guess.free[row]), sum(sizes), guess.slack.shape[1]
        starts = X.size + np.cumsum(sizes)
        h = [np.arange(first, last) for first, last in pairwise(starts)]
        return cls(X, h, [columns + F for columns in h], np.arange(X.size + 2 * F, X.size + 2 * F + p))


class Substitution:
    """h of every layer in terms of v = (x_X, h_F): one row of a guess, layer by layer."""

    def __init__(self, parts: list[Part], guess: Guess, row: int, places: Places) -> None:
        self.parts, self.places = parts, places
        self.x = np.where(guess.free[row], 0.0, guess.ends[row])
        self.own = [part.at[mask[row]] for part, mask in zip(parts, guess.open, strict=True)]
        self.slope, self.shift = [], []
        for i, part in enumerate(parts):
            face, closed = guess.faces[i][row], ~guess.open[i][row]
            slope, shift = part.passes.copy(), np.zeros(part.passes.size)
            slope[part.at] = np.where(face == LINE, part.s, face == ON) * closed
            shift[part.at] = np.where((face == LINE) & closed, part.t, 0.0)
            self.slope.append(slope)
            self.shift.append(shift)
        if parts:
            first = parts[0].layer
            self.fixed = np.asarray(first.weight @ self.x) + first.bias  # z of the first layer without x_X
            picked = first.weight[:, places.inputs]
            self.picked = np.asarray(picked.toarray() if sparse.issparse(picked) else picked)

    def of_outputs(self, rows: Floats, i: int) -> tuple[Floats, Floats]:
        """(M, q) with rows @ h^i = M v + q; i = -1 is x itself."""
        M = np.zeros((rows.shape[0], self.places.inputs.size + sum(own.size for own in self.own)))
        q = np.zeros(rows.shape[0])
        for k in range(i, -1, -1):
            M[:, self.places.h[k]] = rows[:, self.own[k]]
            q += rows @ self.shift[k]
            rows = rows * self.slope[k]
            if k > 0:
                q += rows @ self.parts[k].layer.bias
                rows = np.asarray(rows @ self.parts[k].layer.weight)
        if i < 0:
            M[:, : self.places.inputs.size] = rows[:, self.places.inputs]
            return M, q + rows @ self.x
        M[:, : self.places.inputs.size] = rows @ self.picked
        return M, q + rows @ self.fixed

    def of_open(self, i: int) -> tuple[Floats, Floats]:
        """(M, q) with z = M v + q for the open neurons of layer i; M has only the columns of the layers before."""
        own, before = self.own[i], self.places.h[i][0] if self.own[i].size else 0
        if i == 0:
            return self.picked[own], self.fixed[own]
        layer = self.parts[i].layer
        weight = layer.weight[own]
        M, q = self.of_outputs(np.asarray(weight.toarray() if sparse.issparse(weight) else weight), i - 1)
        return M[:, :before], q + layer.bias[own]


class Rows:
    """Rows of a model, group after group, each with its own columns."""

    def __init__(self) -> None:
        self.data, self.indices, self.counts = [np.empty(0)], [np.empty(0, dtype=np.int64)], [np.zeros(1, np.int64)]
        self.lower, self.upper = [np.empty(0)], [np.empty(0)]

    def add(self, values: Floats, columns: Ints, lower: Floats, upper: Floats) -> None:
        """Rows lower <= values @ columns <= upper: `values` and `columns` (m, n), or `columns` (n,) for all rows."""
        self.data.append(values.ravel())
        self.indices.append(np.broadcast_to(columns, values.shape).ravel())
        self.counts.append(np.full(values.shape[0], values.shape[1]))
        self.lower.append(lower)
        self.upper.append(upper)

    def matrix(self, n_columns: int) -> sparse.csr_array:
        indptr = np.cumsum(np.concatenate(self.counts))
        entries = np.concatenate(self.data), np.concatenate(self.indices), indptr
        return sparse.csr_array(entries, shape=(indptr.size - 1, n_columns))


def small_lp(parts: list[Part], bounds: Bounds, cost: Floats, guess: Guess, row: int) -> tuple[MatrixModel, Places]:
    """The LP that minimises cost @ h, h of the last of `parts` (x itself where there is none), for one row."""
    places = Places.of(guess, row)
    known, rows = Substitution(parts, guess, row, places), Rows()
    X = places.inputs
    for i, (h, g) in enumerate(zip(places.h, places.g, strict=True)):
        M, q = known.of_open(i)
        one = np.ones((h.size, 1))
        columns = np.hstack([np.broadcast_to(np.arange(M.shape[1]), M.shape), h[:, None], g[:, None]])
        rows.add(np.hstack([-M, one, -one]), columns, q, q)
    ups = [part.upper[mask[row]] for part, mask in zip(parts, guess.open, strict=True)]
    downs = [-part.lower[mask[row]] for part, mask in zip(parts, guess.open, strict=True)]
    for h, g, up, down in zip(places.h, places.g, ups, downs, strict=True):
        unit = np.maximum(up, down)
        roof = np.stack([down / unit, up / unit], axis=1), np.stack([h, g], axis=1)
        rows.add(*roof, np.full(h.size, -np.inf), up * (down / unit))
    p = places.slack.size
    if bounds.polytope is not None:
        sides = bounds.polytope.b - bounds.polytope.A @ known.x
        columns = np.hstack([np.broadcast_to(np.arange(X.size), (p, X.size)), places.slack[:, None]])
        rows.add(np.hstack([bounds.polytope.A[:, X], np.ones((p, 1))]), columns, sides, sides)
    M, q = known.of_outputs(cost[None, :], len(parts) - 1)
    n = X.size + 2 * (M.shape[1] - X.size) + p
    model = MatrixModel(
        c=np.concatenate([M[0], np.zeros(n - M.shape[1])]),
        offset=float(q[0]),
        maximize=False,
        A=rows.matrix(n),
        row_lower=np.concatenate(rows.lower),
        row_upper=np.concatenate(rows.upper),
        lower=np.concatenate([bounds.box.lower[X], np.zeros(n - X.size)]),
        upper=np.concatenate([bounds.box.upper[X], *ups, *downs, np.full(p, np.inf)]),
        integer=np.zeros(n, dtype=bool),
    )
    return model, places


def basis(guess: Guess, row: int) -> tuple[Codes, Codes]:
    """The states of the small LP's columns and rows, as the guess has them."""
    opened = [part[row] for part in guess.open]

    def of(states: list[Codes]) -> list[Codes]:
        return [part[row, mask] for part, mask in zip(states, opened, strict=True)]

    F = sum(int(mask.sum()) for mask in opened)
    columns = np.concatenate([guess.x[row, guess.free[row]], *of(guess.h), *of(guess.g), guess.slack[row]])
    even = [np.full(size, LOWER, dtype=np.int8) for size in (F, guess.slack.shape[1])]  # rows of equations
    rows = np.concatenate([even[0], *of(guess.roof), even[1]])
    return columns, rows


def take_basis(guess: Guess, row: int, columns: Codes, rows: Codes) -> None:
    """Note the states that a solve ended with."""
    opened = [part[row] for part in guess.open]
    free = np.flatnonzero(guess.free[row])
    guess.x[row, free] = columns[: free.size]
    F = sum(int(mask.sum()) for mask in opened)
    first, height = free.size, F
    for i, mask in enumerate(opened):
        f = int(mask.sum())
        guess.h[i][row, mask] = columns[first : first + f]
        guess.g[i][row, mask] = columns[first + F : first + F + f]
        guess.roof[i][row, mask] = rows[height : height + f]
        first, height = first + f, height + f
    guess.slack[row] = columns[free.size + 2 * F :]


def take_multipliers(guess: Guess, row: int, places: Places, reduced: Floats) -> None:
    """The slopes mu_g / (mu_g + mu_h) of open neurons, from the reduced costs of h and g."""
    for i, (h, g) in enumerate(zip(places.h, places.g, strict=True)):
        mu_h, mu_g = np.maximum(reduced[h], 0.0), np.maximum(reduced[g], 0.0)
        total = mu_h + mu_g
        mask = guess.open[i][row]
        old = guess.alphas[i][row, mask]
        guess.alphas[i][row, mask] = np.divide(mu_g, total, out=old, where=total > 0.0)
    guess.mu[row] = np.maximum(reduced[places.slack], 0.0)


def check(
    parts: list[Part],
    bounds: Bounds,
    costs: Floats,
    guess: Guess,
    x: Floats,
    h: list[Floats],
    priced: list[Floats] | None = None,
) -> Bools:
    """Which rows (m,) are not optimal yet; what is wrong is opened or freed.

    `x` (m, n_in) and `h[i]` (m, unstable) are the LPs' points, `costs` (m, n) their target rows. Slopes that are
    decided by a face are noted in `guess.alphas` on the way. `priced[i]` (m, unstable): the multipliers of the open
    neurons' equations, for LPs with more columns fixed or priced than the triangles have.
    """
    A, wrong_signs = costs, []
    for i in range(len(parts) - 1, -1, -1):
        part, face, alpha = parts[i], guess.faces[i], guess.alphas[i]
        mine = A[:, part.at]
        alpha[...] = np.where(guess.open[i] | (face == LINE), alpha, face == ON)
        D = A * part.passes
        D[:, part.at] = mine * np.where(mine > 0.0, alpha, part.s)
        if priced is not None:
            D[:, part.at] = np.where(guess.open[i], priced[i], D[:, part.at])
        wrong_signs.append(np.where(face == LINE, mine > OPTIMAL, mine < -OPTIMAL) & ~guess.open[i])
        A = np.asarray(D @ part.layer.weight)
    if bounds.polytope is not None:
        A = A + guess.mu @ bounds.polytope.A
    low = guess.ends == bounds.box.lower
    wrong = ~guess.free & (bounds.box.width > 0.0) & np.where(low, A < -OPTIMAL, A > OPTIMAL)
    again = np.asarray(wrong.any(axis=1))
    guess.free |= wrong
    before = x
    for i, (part, signs) in enumerate(zip(parts, wrong_signs[::-1], strict=True)):
        face, z = guess.faces[i], part.layer.pre_activation(before)
        mine, slack = z[:, part.at], FEASIBLE * (1.0 + part.upper - part.lower)
        off = np.select(
            [face == LINE, face == ON],
            [(mine < part.lower - slack) | (mine > part.upper + slack), mine < -slack],
            mine > slack,
        )
        before = part.on_faces(z, face)
        before[:, part.at] = np.where(guess.open[i], h[i], before[:, part.at])
        fresh = (signs | off) & ~guess.open[i]
        again |= fresh.any(axis=1)
        guess.open[i] |= fresh
    return again
