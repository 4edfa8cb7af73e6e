"""Encodings of networks with smooth neurons: a formulation's encodings of the skeleton, and the curves.

A mixed network is cut after each layer with smooth neurons (`MixedNetwork.parts`). Each part is a piecewise-linear
network over the box of the layer before it, so that any formulation encodes it; its smooth neurons are linear there.
`curved` then gives each of them a column for h = f(z) of its own, which later layers use in place of z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from .bounds import Bounds
from .curves import Codes, curve, forms, image, too_wide
from .domain import Box, Floats
from .encoding import SUBSTITUTED, Columns, Curves, Encoding, Formulation, Rows, encode_network
from .errors import BoundsError, FormulationError
from .mixed import REMEDY, AnyNetwork, MixedNetwork, describe
from .network import Bools, Network


def check_formulation(network: AnyNetwork, formulation: Formulation) -> None:
    """Raise `FormulationError` where the network has smooth neurons and the formulation does not write them."""
    if isinstance(network, MixedNetwork) and not getattr(formulation, "nonlinear", False):
        raise FormulationError(
            f"the formulation {formulation.name!r} writes no nonlinear equations, but {describe(network)}; {REMEDY}"
        )


def encode_mixed(
    network: AnyNetwork, bounds: Bounds, formulation: Formulation, held: Sequence[Bools] | None = None
) -> tuple[Encoding, ...]:
    """`encode_network`, also for a network with smooth neurons, whose formulation then has to be `nonlinear`.

    Raises `FormulationError` for other formulations, `BoundsError` where a neuron's bounds are so wide that its
    activation overflows.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.formulations import Smooth
    >>> from omlt_ext.tightening import tighten_mixed
    >>> network = MixedNetwork(Network([Layer([[2.0]], [0.0], relu=False)]), [[2]])
    >>> print(*encode_mixed(network, tighten_mixed(network, (-0.5, 0.5)), Smooth()))
    z[0] in [-1, 1]
    smooth[0] in [-0.761594, 0.761594]
    affine[0]: -2 x[0] + z[0] = 0
    curve[0]: smooth[0] = tanh(z[0])
    h[0] is smooth[0]
    """
    if isinstance(network, Network):
        return encode_network(network, bounds, formulation, held)
    check_formulation(network, formulation)
    bounds.check_network(network.skeleton)
    encodings: list[Encoding] = []
    box, polytope = bounds.box, bounds.polytope
    for layers in network.parts():
        piece = Network(network.skeleton.layers[layers])
        known = bounds.part(layers, box, polytope)
        own = encode_network(piece, known, formulation, None if held is None else held[layers])
        k = layers.stop - 1
        encodings += [*own[:-1], _in_layer(k, own[-1], network.codes[k], bounds, formulation)]
        box, polytope = Box(*network.image(k, bounds.lower[k], bounds.upper[k])), None
    return tuple(encodings)


def curved(encoding: Encoding, codes: Codes, lower: Floats, upper: Floats) -> Encoding:
    """`encoding`, in which smooth neurons are linear, with a column "smooth" and a curve for each of them.

    `codes`, `lower`, `upper` (n_out,): the layer's codes, and bounds of its pre-activations. Raises `BoundsError` where
    an activation would overflow between its bounds, `FormulationError` where a smooth neuron has no column.
    """
    j = np.flatnonzero(codes)
    if j.size == 0:
        return encoding
    wide = np.flatnonzero(too_wide(codes, lower, upper))
    if wide.size:
        i = int(wide[0])
        raise BoundsError(
            f"neuron {i}: {curve(codes[i]).name} overflows between its bounds [{lower[i]}, {upper[i]}]; tighten the "
            "bounds with a higher effort, give a smaller input box or scale the weights"
        )
    z = encoding.output[j]
    if (z < 0).any() or (encoding.output == SUBSTITUTED).any():
        raise FormulationError("leaves an output of a layer with smooth neurons without a column")
    first = encoding.n_in + encoding.n_columns
    h = np.arange(first, first + j.size)
    output = encoding.output.copy()
    output[j] = h
    value = Columns("smooth", j, *image(codes[j], lower[j], upper[j]))
    bent = Curves("curve", j, z, h, codes[j], forms(codes[j], lower[j], upper[j]))
    return replace(
        encoding,
        columns=(*encoding.columns, value),
        rows=tuple(_widened(rows, first + j.size) for rows in encoding.rows),
        indicators=tuple(replace(p, rows=_widened(p.rows, first + j.size)) for p in encoding.indicators),
        output=output,
        carry=None,  # later layers use these outputs
        separator=None,  # cuts are for linear models
        curves=(bent,),
    )


def _in_layer(k: int, encoding: Encoding, codes: Codes, bounds: Bounds, formulation: Formulation) -> Encoding:
    try:
        return curved(encoding, codes, bounds.lower[k], bounds.upper[k])
    except BoundsError as error:
        raise BoundsError(f"layer {k}, {error}") from None
    except FormulationError as error:
        raise FormulationError(f"layer {k}: the formulation {formulation.name!r} {error}; choose another") from None


def _widened(rows: Rows, n_columns: int) -> Rows:
    matrix: Any = rows.matrix
    wide = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], n_columns))
    return replace(rows, matrix=wide)
