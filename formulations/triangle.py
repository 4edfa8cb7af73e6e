"""The triangle: the convex hull of h = max(0, z) over l <= z <= u, without binaries.

    h >= 0,   h >= z,   h <= s z + t,   s = u / (u - l), t = -s l

It is big-M's LP relaxation with sigma projected out: points that are not the network's own are feasible. s and t are
rounded up, so that the upper line passes above (l, 0) and (u, u) in exact arithmetic too.

Source: Ehlers, Formal verification of piece-wise linear feed-forward neural networks, ATVA 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

from omlt_ext.draft import Draft
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.network import Layer
from omlt_ext.propagation.crown import relax
from omlt_ext.propagation.interval import Range


@dataclass(frozen=True)
class TriangleRelaxation:
    """Two rows and no binary for each unstable neuron: a relaxation, for bounds by LP.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.encoding import LayerBounds
    >>> layer = Layer([[2.0, -1.0]], [0.5], relu=True)
    >>> print(TriangleRelaxation().encode(layer, LayerBounds([-0.5], [1.5], [0, 0], [1, 1])))
    z[0] in [-0.5, 1.5]
    h[0] in [0, 1.5]
    affine[0]: -2 x[0] + x[1] + z[0] = 0.5
    relu_above[0]: 0 <= -z[0] + h[0]
    relu_below[0]: -0.75 z[0] + h[0] <= 0.375
    h[0] is h[0]
    """

    name = "triangle"

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        draft = Draft(layer, bounds)
        j = draft.unstable
        z, h = draft.z[j], draft.h[j]
        line = relax(layer, Range.by("given", draft.lower, draft.upper))
        draft.add_rows("relu_above", j, [(z, -1.0), (h, 1.0)], lower=0.0)
        draft.add_rows("relu_below", j, [(z, -line.s[j]), (h, 1.0)], upper=line.t[j])
        return draft.encoding(exact=False)
