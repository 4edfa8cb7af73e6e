"""Indicators: h = max(0, z) as two implications of a binary, without a constant M.

    sigma = 1  ->  h - z = 0,  z >= 0          sigma = 0  ->  h <= 0,  z <= 0          h >= 0,  sigma binary

A solver that knows indicators finds constants of its own, or branches; its LP relaxation may say nothing but
l <= z <= u, 0 <= h <= u. In Pyomo the two sides are the disjuncts `on[j]` and `off[j]` of a disjunction, so that
"gdp.bigm" makes big-M of it, "gdp.hull" the extended hull, and logic-based solvers take it as it is. Both bounds of z
and h are variable bounds, hence M = -l and M = u there.

Source: Bonami, Lodi, Tramontani and Wiese, On mathematical programming with indicator constraints, Mathematical
Programming 151 (2015); Grossmann and Trespalacios, Systematic modeling of discrete-continuous optimization models
through generalized disjunctive programming, AIChE Journal 59 (2013).
"""

from __future__ import annotations

from dataclasses import dataclass

from omlt_ext.draft import Draft
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.network import Layer


@dataclass(frozen=True)
class Indicator:
    """Solver indicators through arrays (Gurobi, SCIP; HiGHS has none), a `pyomo.gdp` disjunction in Pyomo.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[2.0, -1.0]], [0.5], relu=True)
    >>> print(Indicator().encode(layer, LayerBounds([-0.5], [2.5], [0, 0], [1, 1])))
    z[0] in [-0.5, 2.5]
    h[0] in [0, 2.5]
    sigma[0] in {0, ..., 1}
    affine[0]: -2 x[0] + x[1] + z[0] = 0.5
    same[0]: sigma[0] = 1 -> -z[0] + h[0] = 0
    not_negative[0]: sigma[0] = 1 -> 0 <= z[0]
    zero[0]: sigma[0] = 0 -> h[0] <= 0
    not_positive[0]: sigma[0] = 0 -> z[0] <= 0
    h[0] is h[0]
    """

    name = "indicator"

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        draft = Draft(layer, bounds)
        j = draft.unstable
        z, h = draft.z[j], draft.h[j]
        sigma = draft.add_columns("sigma", j, 0.0, 1.0, integer=True)
        draft.add_indicators("same", j, sigma, 1, [(z, -1.0), (h, 1.0)], lower=0.0, upper=0.0)
        draft.add_indicators("not_negative", j, sigma, 1, [(z, 1.0)], lower=0.0)
        draft.add_indicators("zero", j, sigma, 0, [(h, 1.0)], upper=0.0)
        draft.add_indicators("not_positive", j, sigma, 0, [(z, 1.0)], upper=0.0)
        return draft.encoding()
