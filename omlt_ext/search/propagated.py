"""A bound on the objective by propagation alone, and the bounds of the networks that it comes with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..bounds import Bounds
from ..domain import Floats
from ..errors import BoundsError
from ..network import Layer, Network
from ..tightening import Effort, tighten_bounds
from .incumbent import Incumbent
from .problem import Placed, Problem


def propagate(problem: Problem, incumbent: Incumbent, effort: str | Effort) -> Problem:
    """Prove a bound on the objective, its part in each network being one more linear layer; return the problem with
    the bounds of its networks.

    max c v + d y + offset <= sum_j max(c_j lower_j, c_j upper_j) + sum_b max d_b f_b + offset, each part on its own.
    """
    with np.errstate(invalid="ignore"):
        parts = np.where(problem.c == 0.0, 0.0, np.maximum(problem.c * problem.lower, problem.c * problem.upper))
    total, found = float(parts.sum()) + problem.offset, []
    if problem.c.any() or problem.offset:  # a sum of n numbers, rounded
        total += (problem.n + 2) * np.finfo(float).eps * (float(np.abs(parts).sum()) + abs(problem.offset))
    for b, placed in enumerate(problem.networks):
        weights = problem.d[placed.outputs]
        if problem.bounds is not None:
            known = problem.bounds[b]
            total += float(np.maximum(weights * known.lower[-1], weights * known.upper[-1]).sum())
            found.append(known)
            continue
        domain = problem.domain(b)
        try:
            bounds = tighten_bounds(folded_network(placed, weights), domain, effort)
        except BoundsError:
            tighten_bounds(placed.network, domain, effort)  # where a layer overflows, its own error is the right one
            raise BoundsError("objective . f(x) overflows double precision on this box; scale the objective") from None
        total += float(bounds.upper[-1][0])
        own = bounds.lower[:-1], bounds.upper[:-1]
        found.append(Bounds.of(placed.network, bounds.box, *own, polytope=bounds.polytope))
    if np.isfinite(total):
        incumbent.prove(total, rigorous=True)
    return replace(problem, bounds=tuple(found))


def folded_network(placed: Placed, weights: Floats) -> Network:
    """The network with weights . y as one more linear layer, its only output."""
    return Network([*placed.network.layers, Layer(weights[None, :], [0.0], relu=False)])
