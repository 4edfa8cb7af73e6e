"""SOS1: z is the difference of two numbers >= 0, of which at most one is not 0.

    z = h - hbar,   0 <= h <= u,   0 <= hbar <= -l,   {h, hbar} in SOS1

h is then max(0, z) and hbar = max(0, -z). No constant M and no binary; the LP relaxation says nothing about h beyond
its range and h >= z. Solvers branch on the sets themselves.

Source: Fischetti and Jo, Deep neural networks and mixed integer linear optimization, Constraints 23 (2018), section 2,
where the sets stand as implications; Beale and Tomlin, Special facilities in a general mathematical programming system
for non-convex problems using ordered sets of variables, Proc. 5th Int. Conf. Operational Research (1970).
"""

from __future__ import annotations

from dataclasses import dataclass

from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.network import Layer

from .parts import difference


@dataclass(frozen=True)
class SOS1:
    """One special ordered set for each unstable neuron: for Gurobi, SCIP and other solvers that know them.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[2.0, -1.0]], [0.5], relu=True)
    >>> print(SOS1().encode(layer, LayerBounds([-0.5], [2.5], [0, 0], [1, 1])))
    z[0] in [-0.5, 2.5]
    h[0] in [0, 2.5]
    hbar[0] in [0, 0.5]
    affine[0]: -2 x[0] + x[1] + z[0] = 0.5
    parts[0]: -z[0] + h[0] - hbar[0] = 0
    one_of[0]: h[0], hbar[0] in SOS1
    h[0] is h[0]
    """

    name = "sos1"

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        return difference(layer, bounds, "sos1")
