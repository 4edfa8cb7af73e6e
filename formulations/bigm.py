"""The big-M formulation of h = max(0, z) with the constants of each neuron's own bounds l < 0 < u.

    h >= z,   h <= z - l (1 - sigma),   h <= u sigma,   0 <= h <= u,   sigma binary

sigma = 1 makes h = z >= 0, sigma = 0 makes h = 0 >= z. Its LP relaxation, sigma projected out, is the triangle
h >= 0, h >= z, h <= u (z - l) / (u - l).

Source: Fischetti and Jo, Deep neural networks and mixed integer linear optimization, Constraints 23 (2018), with the
constants of Tjeng, Xiao and Tedrake, ICLR 2019, equation (4).
"""

from __future__ import annotations

from dataclasses import dataclass

from omlt_ext.domain import Ints
from omlt_ext.draft import Draft
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.network import Layer


@dataclass(frozen=True)
class BigM:
    """Big-M with one binary and three rows for each unstable neuron; stable and linear neurons get neither.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[2.0, -1.0]], [0.5], relu=True)
    >>> print(BigM().encode(layer, LayerBounds([-0.5], [2.5], [0, 0], [1, 1])))
    z[0] in [-0.5, 2.5]
    h[0] in [0, 2.5]
    sigma[0] in {0, ..., 1}
    affine[0]: -2 x[0] + x[1] + z[0] = 0.5
    relu_above[0]: 0 <= -z[0] + h[0]
    relu_active[0]: -z[0] + h[0] + 0.5 sigma[0] <= 0.5
    relu_inactive[0]: h[0] - 2.5 sigma[0] <= 0
    h[0] is h[0]
    """

    name = "bigm"

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        draft = Draft(layer, bounds)
        add_big_m(draft)
        return draft.encoding()


def add_big_m(draft: Draft) -> Ints:
    """Add the binaries and the big-M rows of every unstable neuron; return the binaries' columns."""
    j = draft.unstable
    z, h, l, u = draft.z[j], draft.h[j], draft.lower[j], draft.upper[j]  # noqa: E741
    sigma = draft.add_columns("sigma", j, 0.0, 1.0, integer=True)
    draft.add_rows("relu_above", j, [(z, -1.0), (h, 1.0)], lower=0.0)
    draft.add_rows("relu_active", j, [(z, -1.0), (h, 1.0), (sigma, -l)], upper=-l)
    draft.add_rows("relu_inactive", j, [(h, 1.0), (sigma, -u)], upper=0.0)
    return sigma
