"""The maximum of the least of some rows of a small network's inputs and outputs, in rational arithmetic.

The domain is cut where a neuron is 0, then where two rows are equal: on each cell that is left the least row is one
affine function, so that its maximum is attained at a vertex. A vertex is (numbers, tight): its inputs and the values of
a layer there, all of them affine on the cell, and the constraints that it satisfies with equality. Cutting a cell by a
hyperplane makes new vertices on its edges. The ends of an edge in n dimensions have n - 1 constraints in common; pairs
that have as many without being an edge add points of the cell, which do no harm.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product
from typing import Any

from omlt_ext import Box, Network
from omlt_ext.domain import Polytope

Vector = tuple[Fraction, ...]
Cell = dict[Vector, frozenset[Any]]  # tight constraints by numbers


class Partition:
    """The cells of a domain on which all neurons keep their signs, each with the outputs at its vertices."""

    def __init__(self, network: Network, domain: Box | Polytope) -> None:
        self.n = network.n_inputs
        self.box = domain.box if isinstance(domain, Polytope) else domain
        self.free = int((self.box.width > 0).sum())
        cells = self._domain(domain)
        for k, layer in enumerate(network.layers):
            W, b = exact(layer.dense_weight()), exact([layer.bias])[0]
            cells = [self._mapped(cell, W, b) for cell in cells]
            for j in layer.relu.nonzero()[0].tolist():
                cells = [side for cell in cells for side in self._cut(cell, self.n + j, ("neuron", k, j))]
            cells = [self._activated(cell, layer.relu.tolist()) for cell in cells]
        self.cells = cells

    def largest_least(self, Gx: object, Gy: object, g: object) -> Fraction | None:
        """max over the domain of the least row of g - Gx x - Gy f(x); None where the domain is empty."""
        rows = [tuple(-p for p in a + b) for a, b in zip(exact(Gx), exact(Gy), strict=True)]
        sides, m, best = exact([g])[0], len(rows), None
        for cell in self.cells:
            slacks: Cell = {}
            for v, tight in cell.items():
                slacks[v + tuple(dot(row, v) + side for row, side in zip(rows, sides, strict=True))] = tight
            for part in self._ordered(slacks, m):
                least = max(min(v[-m:]) for v in part)
                best = least if best is None else max(best, least)
        return best

    def _domain(self, domain: Box | Polytope) -> list[Cell]:
        """The domain as one cell, or none."""
        pairs = zip(self.box.lower.tolist(), self.box.upper.tolist(), strict=True)
        ends = [sorted({Fraction(low), Fraction(high)}) for low, high in pairs]
        cell: Cell = {v: frozenset(("end", j, x) for j, x in enumerate(v) if len(ends[j]) > 1) for v in product(*ends)}
        if isinstance(domain, Polytope):
            for i, (a, b) in enumerate(zip(exact(domain.A), exact([domain.b])[0], strict=True)):
                sides = self._cut({(*v, b - dot(a, v)): t for v, t in cell.items()}, -1, ("row", i))
                inner = max(sides, key=lambda side: max(v[-1] for v in side))
                cell = {v[:-1]: t | {("row", i)} if v[-1] == 0 else t for v, t in inner.items() if v[-1] >= 0}
                if not cell:
                    return []
        return [cell]

    def _mapped(self, cell: Cell, W: list[Vector], b: Vector) -> Cell:
        """The values of a layer in place of those of the layer before."""
        found: Cell = {}
        for v, tight in cell.items():
            h = v[self.n :] if len(v) > self.n else v
            found[v[: self.n] + tuple(dot(row, h) + c for row, c in zip(W, b, strict=True))] = tight
        return found

    def _activated(self, cell: Cell, relu: list[bool]) -> Cell:
        n, zero = self.n, Fraction(0)
        return {
            v[:n] + tuple(max(z, zero) if flag else z for z, flag in zip(v[n:], relu, strict=True)): tight
            for v, tight in cell.items()
        }

    def _ordered(self, cell: Cell, m: int) -> list[Cell]:
        """The cell, cut where two of the last m numbers are equal."""
        parts = [cell]
        for i, j in combinations(range(-m, 0), 2):
            apart = [{(v[i] - v[j], *v): tight for v, tight in part.items()} for part in parts]
            cut = [side for part in apart for side in self._cut(part, 0, ("equal", i, j))]
            parts = [{v[1:]: tight for v, tight in side.items()} for side in cut]
        return parts

    def _cut(self, cell: Cell, at: int, name: object) -> list[Cell]:
        """The parts of a cell on both sides of where number `at` is 0, or all of it where it lies on one side."""
        above, below = [v for v in cell if v[at] > 0], [v for v in cell if v[at] < 0]
        if not above or not below:
            return [cell]
        middle: Cell = {v: tight | {name} for v, tight in cell.items() if v[at] == 0}
        for u in above:
            for v in below:
                common = cell[u] & cell[v]
                if len(common) >= self.free - 1:
                    share = u[at] / (u[at] - v[at])
                    point = tuple(p if p == q else p + share * (q - p) for p, q in zip(u, v, strict=True))
                    middle[point] = middle.get(point, frozenset()) | common | {name}
        return [{**{v: cell[v] for v in side}, **middle} for side in (above, below)]


def dot(a: Vector, b: Vector) -> Fraction:
    return sum((p * q for p, q in zip(a, b, strict=True) if p and q), Fraction(0))


def exact(rows: Any) -> list[Vector]:
    return [tuple(Fraction(float(value)) for value in row) for row in rows]
