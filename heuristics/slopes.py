"""The objective and its slope at many points at once, in units of the box: what a batched ascent climbs.

Points are the columns of U (n, m), v = origin + unit * u: 0 <= u <= 1 is the box, and a column without both ends keeps
its own unit. Rows that hold outputs of networks are charged for,

    F(u) = c v + d y + offset - sum_i w_i max(row_lower_i - r_i, r_i - row_upper_i, 0),   r = R v + S y,

so that with large enough w the best point is feasible. The slope is that of the linear region in which a point lies.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from omlt_ext.domain import Floats, Ints
from omlt_ext.network import dense
from omlt_ext.search.problem import Placed, Problem

Reals: TypeAlias = NDArray[Any]  # single or double precision
LARGEST = 1e30  # of a number in single precision, which ends at 3.4e38
LEAK = 0.1  # what a ReLU that is off passes on where otherwise every slope is 0


class Units:
    """The columns of a problem in units of its box; a width beyond the largest number is no box."""

    def __init__(self, problem: Problem) -> None:
        self.ends = problem.lower, problem.upper
        low, high = np.isfinite(problem.lower), np.isfinite(problem.upper)
        with np.errstate(over="ignore"):
            width = problem.upper - problem.lower
        both = np.isfinite(width)
        wide = low & high & ~both
        low, high = low & ~wide, high & ~wide
        self.origin: Floats = np.where(low, problem.lower, np.where(high, problem.upper, 0.0))
        self.unit: Floats = np.where(both, width, 1.0)
        self.lower = np.where(low, 0.0, -np.inf)[:, None]
        self.upper = np.where(high, np.where(low & (self.unit > 0.0), 1.0, 0.0), np.inf)[:, None]

    def enter(self, V: Floats) -> Floats:
        """U (n, m) for V (m, n), inside the bounds."""
        unit = np.where(self.unit > 0.0, self.unit, 1.0)[:, None]
        return np.clip((V - self.origin).T / unit, self.lower, self.upper)

    def rounded(self, U: Reals, rows: Ints) -> Reals:
        """These rows of U moved so that v is whole."""
        origin, unit = self.origin[rows, None], self.unit[rows, None]
        return ((np.round(origin + unit * U) - origin) / np.where(unit > 0.0, unit, 1.0)).astype(U.dtype)

    def leave(self, U: Reals) -> Floats:
        """V (m, n) for U (n, m), inside the bounds."""
        return np.clip(self.origin + self.unit * U.T, *self.ends)


class Stack:
    """One network in units of the box: activations forward, slopes back."""

    def __init__(self, placed: Placed, units: Units) -> None:
        layers = placed.network.layers
        self.columns, back = np.unique(placed.inputs, return_inverse=True)
        first = layers[0].weight
        if self.columns.size < back.size:  # a column that feeds several inputs
            first = first @ sparse.csr_array((np.ones(back.size), (np.arange(back.size), back)))
        elif (np.diff(back) != 1).any():
            first = first[:, np.argsort(back)]
        unit = sparse.dia_array((units.unit[None, self.columns], [0]), shape=(self.columns.size,) * 2)
        with np.errstate(over="ignore", invalid="ignore"):
            bias = layers[0].bias + first @ units.origin[self.columns]
            first = sparse.csr_array(first @ unit) if sparse.issparse(first) else first * units.unit[self.columns]
        self.weights: list[Any] = [first, *(layer.weight for layer in layers[1:])]
        self.biases: list[Reals] = [b[:, None] for b in (bias, *(layer.bias for layer in layers[1:]))]
        self.whole = [bool(layer.relu.all()) for layer in layers]
        self.linear = [~layer.relu[:, None] for layer in layers]
        self.everything = self.columns.size == units.unit.size

    def largest(self) -> float:
        """At least every number that a forward or a backward pass meets within 0 <= u <= 1."""
        h, most = np.ones(self.columns.size), 0.0
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = abs(weight) @ h + abs(bias[:, 0])
            most = max(most, float(h.max()))
        g = np.ones(self.weights[-1].shape[0])
        for weight in reversed(self.weights):
            g = abs(weight).T @ g
            most = max(most, float(g.max()))
        return most

    def cast(self, dtype: type[np.floating[Any]]) -> None:
        """Keep numbers of this precision from now on."""
        self.weights = [weight.astype(dtype) for weight in self.weights]
        self.turned = [sparse.csr_array(W.T) if sparse.issparse(W) else W.T for W in self.weights]
        self.biases = [bias.astype(dtype) for bias in self.biases]

    def forward(self, U: Reals) -> list[Reals]:
        """h of every layer, (n_k, m) each, the inputs first."""
        H = [U if self.everything else U[self.columns]]
        for weight, bias, whole, linear in zip(self.weights, self.biases, self.whole, self.linear, strict=True):
            Z = dense(weight @ H[-1])
            Z += bias
            np.maximum(Z, 0, out=Z, where=True if whole else ~linear)
            H.append(Z)
        return H

    def backward(self, H: list[Reals], D: Reals, leak: float = 0.0) -> Reals:
        """The slope (n_columns, m) of a function whose slope at the outputs is D (n_out, m)."""
        for k in range(len(self.weights) - 1, -1, -1):
            on = H[k + 1] > 0
            if not self.whole[k]:
                on |= self.linear[k]
            D = D * (np.where(on, D.dtype.type(1), D.dtype.type(leak)) if leak else on)
            D = dense(self.turned[k] @ D)
        return D


class Slopes:
    """F and its slope at the columns of U (n, m), in single precision where the problem's numbers allow it.

    `weights` (m_rows,) are the w above for the rows `rows`, those that hold outputs: 0 at first.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> slopes = Slopes(Problem.of_network(network, Box([-1], [1])))
    >>> value, charged, slope = slopes(np.array([[0.0, 0.75]], dtype=np.float32))
    >>> value, slope
    (array([2. , 0.5], dtype=float32), array([[-4.,  2.]], dtype=float32))
    """

    def __init__(self, problem: Problem, *, single: bool = True) -> None:
        self.problem, self.units = problem, Units(problem)
        self.stacks = [Stack(placed, self.units) for placed in problem.networks]
        with np.errstate(over="ignore", invalid="ignore"):
            most = max(stack.largest() for stack in self.stacks) * max(1.0, float(np.abs(problem.d).max(initial=0.0)))
            parts = problem.c * self.units.unit, (problem.R @ sparse.diags_array(self.units.unit)).data, problem.S.data
            most = max(most, *(float(np.abs(part).max(initial=0.0)) for part in parts))
        real = np.float32 if single and most < LARGEST else np.float64
        self.dtype: type[np.floating[Any]] = real
        for stack in self.stacks:
            stack.cast(real)
        unit, origin = sparse.diags_array(self.units.unit), self.units.origin
        self.c: Reals = (problem.c * self.units.unit).astype(real)
        self.d: Reals = problem.d.astype(real)
        self.constant: Any = real(float(problem.c @ origin) + problem.offset)
        rows = self.rows = np.flatnonzero(problem.on_outputs)
        self.R, self.S = sparse.csr_array(problem.R[rows] @ unit).astype(real), problem.S[rows].astype(real)
        shift = problem.R[rows] @ origin
        with np.errstate(over="ignore"):  # an end beyond single precision is none
            self.row_lower = (problem.row_lower[rows] - shift).astype(real)[:, None]
            self.row_upper = (problem.row_upper[rows] - shift).astype(real)[:, None]
        self.weights = np.zeros(rows.size)
        # All columns are inputs of one network, and nothing else has a slope.
        self._plain = len(self.stacks) == 1 and self.stacks[0].everything and not (rows.size or self.c.any())

    @property
    def size(self) -> int:
        """Numbers that one point needs on the way: its steps, activations and slopes."""
        return 6 * self.problem.n + 2 * sum(weight.shape[0] for stack in self.stacks for weight in stack.weights)

    def __call__(self, U: Reals, share: float = 1.0, leak: float = 0.0) -> tuple[Reals, Reals, Reals]:
        """(objective (m,), charge (m,), slope (n, m) of objective - share * charge).

        With a `leak` the slope is that of networks whose ReLUs pass on this share of it where they are off.
        """
        H = [stack.forward(U) for stack in self.stacks]
        F: Reals = self.c @ U + self.constant
        for placed, h in zip(self.problem.networks, H, strict=True):
            F += self.d[placed.outputs] @ h[-1]
        charge = np.zeros_like(F)
        D = np.repeat(self.d[:, None], U.shape[1], axis=1)
        if self._plain:
            return F, charge, self.stacks[0].backward(H[0], D, leak)
        G = np.repeat(self.c[:, None], U.shape[1], axis=1)
        if self.rows.size:
            r = self.R @ U + self.S @ np.concatenate([h[-1] for h in H])
            below, above = self.row_lower - r, r - self.row_upper
            w = self.weights.astype(self.dtype)[:, None]
            charge = (w * np.maximum(np.maximum(below, above), 0)).sum(axis=0)
            pull = self.dtype(share) * w * ((below > 0).astype(self.dtype) - (above > 0))
            D += self.S.T @ pull
            G += self.R.T @ pull
        for placed, stack, h in zip(self.problem.networks, self.stacks, H, strict=True):
            G[stack.columns] += stack.backward(h, D[placed.outputs], leak)
        return F, charge, G

    def weigh(self, U: Reals) -> None:
        """Set the weights so that, over these points, the objective and each row's activity vary by as much."""
        H = [stack.forward(U) for stack in self.stacks]
        Y = np.concatenate([h[-1] for h in H]).astype(float)
        varies = float((self.c @ U + self.d @ Y).std())
        rows = (self.R @ U + self.S @ Y).std(axis=1)
        self.weights = np.where(rows > 0.0, (varies or 1.0) / np.maximum(rows, np.finfo(np.float32).tiny), 1.0)
