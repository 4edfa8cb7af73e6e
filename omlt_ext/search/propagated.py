"""A bound on the objective by propagation alone, and the bounds of the networks that it comes with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..bounds import Bounds
from ..domain import Floats
from ..errors import BoundsError, InfeasibleError
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
    terms, found = [*parts[parts != 0.0], *([problem.offset] if problem.offset else [])], []
    for b, placed in enumerate(problem.networks):
        weights = problem.d[placed.outputs]
        known = None if problem.bounds is None else problem.bounds[b]
        if known is not None and not weights.any():
            found.append(known)
            continue
        domain = problem.domain(b)
        folded = folded_network(placed, weights)
        try:
            given = None if known is None else folded_bounds(folded, known, weights)
            bounds = tighten_bounds(folded, domain, effort, bounds=given)
        except InfeasibleError:
            raise
        except BoundsError:
            tighten_bounds(placed.network, domain, effort)  # where a layer overflows, its own error is the right one
            raise BoundsError("objective . f(x) overflows double precision on this box; scale the objective") from None
        terms.append(bounds.upper[-1][0])
        own = bounds.lower[:-1], bounds.upper[:-1]
        found.append(Bounds.of(placed.network, bounds.box, *own, polytope=bounds.polytope))
    total = float(np.sum(terms))
    if len(terms) > 1:  # a sum of so many numbers, and their products, rounded
        total += (len(terms) + 2) * np.finfo(float).eps * float(np.abs(terms).sum())
    if np.isfinite(total):
        incumbent.prove(total, rigorous=True)
    return replace(problem, bounds=tuple(found))


def folded_network(placed: Placed, weights: Floats) -> Network:
    """The network with weights . y as one more linear layer, its only output."""
    return Network([*placed.network.layers, Layer(weights[None, :], [0.0], relu=False)])


def folded_bounds(folded: Network, known: Bounds, weights: Floats) -> Bounds:
    """Known bounds of a network, and the range of weights . y that they give, for its `folded_network`."""
    last = folded.layers[-2]
    ends = weights * last.activation(known.lower[-1]), weights * last.activation(known.upper[-1])
    low, high = np.minimum(*ends), np.maximum(*ends)
    rounding = (weights.size + 2) * np.finfo(float).eps * np.maximum(np.abs(low), np.abs(high)).sum()
    lower = [*known.lower, np.array([low.sum() - rounding])]
    upper = [*known.upper, np.array([high.sum() + rounding])]
    return Bounds.of(folded, known.box, lower, upper, polytope=known.polytope)
