"""Where walks start: solutions of the LP relaxation with more and more neurons restricted, or uniform points.

Symbols: sigma in [0, 1] the relaxed binary of a neuron, P the pattern of the network itself at a point.
Source: relax-and-walk, arXiv 2401.03451.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from omlt_ext.domain import Floats, Ints
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem

from .relaxation import Relaxation, Relaxed, Restriction

SHARE = 0.5  # of the time that is left: what the first relaxation may take
EMPTY_ROUNDS = 3  # in a row, without a start, after which there is no more to be had


@dataclass(frozen=True)
class Picking:
    """Which neurons are restricted: see `RelaxingWalk`."""

    delta: float
    xi: str
    cap: int | None
    misses: int | None


def relaxation_starts(
    relaxation: Relaxation, picking: Picking, incumbent: Incumbent, rng: np.random.Generator
) -> Iterator[Floats]:
    """Solutions of the relaxation, then of ever more restricted ones; again from none, as long as some have a point."""
    first = relaxation.solve(time_limit=None if incumbent.left is None else SHARE * incumbent.left)
    if first is None:
        return
    yield first.v
    empty = 0
    while empty < EMPTY_ROUNDS:
        found = False
        for v in _round(relaxation, picking, first, incumbent, rng):
            found = True
            yield v
        empty = 0 if found else empty + 1


def _round(
    relaxation: Relaxation, picking: Picking, first: Relaxed, incumbent: Incumbent, rng: np.random.Generator
) -> Iterator[Floats]:
    """Layer by layer, restrict one neuron more at a time to the sign that it does not have at the relaxed point."""
    problem, made = relaxation.problem, list[Restriction]()
    current, misses = first, 0
    signs, xi = _measured(problem, first)
    depth = max(len(placed.network.layers) for placed in problem.networks)
    for k in range(depth):
        left = _neurons(relaxation, k)
        count = 0
        while left.size and (picking.cap is None or count < picking.cap):
            if not incumbent.goes_on():
                return
            if picking.xi == "current":
                signs, xi = _measured(problem, current)
            weights = np.array([xi[b][k][j] for b, j in left]) + picking.delta
            drawn = int(rng.choice(left.shape[0], p=weights / weights.sum()))
            b, j = map(int, left[drawn])
            left = np.delete(left, drawn, axis=0)
            more = Restriction(b, k, j, not signs[b][k][j])
            solved = relaxation.solve([*made, more], time_limit=incumbent.left)
            if solved is None:
                misses += 1
                if misses == picking.misses:
                    return
                continue
            made.append(more)
            current = solved
            count += 1
            yield solved.v


def _measured(
    problem: Problem, relaxed: Relaxed
) -> tuple[tuple[tuple[np.ndarray, ...], ...], tuple[tuple[Floats, ...], ...]]:
    """The pattern at a relaxed point, and how far each sigma is from it."""
    signs = tuple(placed.network.pattern(relaxed.v[placed.inputs]) for placed in problem.networks)
    return signs, relaxed.distance(signs)


def _neurons(relaxation: Relaxation, k: int) -> Ints:
    """(m, 2): network and number of the unstable neurons of layer k."""
    parts = [np.empty((0, 2), dtype=np.int64)]
    for b, placed in enumerate(relaxation.problem.networks):
        if k < len(placed.network.layers):
            at = relaxation.unstable(b, k)
            parts.append(np.column_stack([np.full(at.size, b), at]))
    return np.concatenate(parts)


def uniform_starts(problem: Problem, rng: np.random.Generator) -> Iterator[Floats]:
    """Uniform points between the columns' bounds, whole ones rounded."""
    lower, upper = problem.finite_ends()
    while True:
        yield problem.inside(lower + rng.random(problem.n) * (upper - lower))
