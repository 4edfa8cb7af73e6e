"""z as the difference of its positive part h and its negative part hbar: what SOS1 and complementarity share."""

from __future__ import annotations

from omlt_ext.draft import Draft
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.network import Layer


def difference(layer: Layer, bounds: LayerBounds, kind: str) -> Encoding:
    """z = h - hbar with h, hbar >= 0 and a pair of this `kind` ("sos1", "complements") for each unstable neuron."""
    draft = Draft(layer, bounds)
    j = draft.unstable
    z, h = draft.z[j], draft.h[j]
    hbar = draft.add_columns("hbar", j, 0.0, -draft.lower[j])
    draft.add_rows("parts", j, [(z, -1.0), (h, 1.0), (hbar, -1.0)], lower=0.0, upper=0.0)
    draft.add_pairs("one_of", j, h, hbar, kind)
    return draft.encoding()
