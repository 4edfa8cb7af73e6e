"""Complementarity: z is the difference of two numbers >= 0, of which one is 0.

    z = h - hbar,   0 <= h <= u,   0 <= hbar <= -l,   h _|_ hbar

which is the optimality condition of min { |h - z| : h >= 0 }. In Pyomo each pair is a `pyomo.mpec` condition: "nl"
files hold it as it is, "mpec.simple_nonlinear" makes h hbar <= eps of it for local NLP solvers, and
"mpec.simple_disjunction" a disjunction. Through arrays it is an SOS1 set.

Source: Yang, Balaprakash and Leyffer, Modeling design and control problems involving neural network surrogates,
Computational Optimization and Applications 83 (2022), section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.network import Layer

from .parts import difference


@dataclass(frozen=True)
class Complementarity:
    """One complementarity condition for each unstable neuron: for NLP solvers, together with other nonlinear parts.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[2.0, -1.0]], [0.5], relu=True)
    >>> print(Complementarity().encode(layer, LayerBounds([-0.5], [2.5], [0, 0], [1, 1])))
    z[0] in [-0.5, 2.5]
    h[0] in [0, 2.5]
    hbar[0] in [0, 0.5]
    affine[0]: -2 x[0] + x[1] + z[0] = 0.5
    parts[0]: -z[0] + h[0] - hbar[0] = 0
    one_of[0]: h[0] >= 0 _|_ hbar[0] >= 0
    h[0] is h[0]
    """

    name = "complementarity"
    nonlinear = True

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        return difference(layer, bounds, "complements")
