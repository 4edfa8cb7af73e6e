"""The same network in units that a solver's absolute tolerances can resolve.

A ReLU commutes with positive factors: with z = s z', h = s h' and h_before = r h_before',

    z' = (W r / s) h_before' + b / s,     h' = max(0, z')

is the same function. All s and r are powers of two, so that every number of the new network is exact (as long as
nothing underflows). Solvers accept rows and bounds that are violated by 1e-6 or so, whatever the numbers in them;
where those are 1e9, that is less than double precision itself, and solvers prune what they should not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .bounds import Bounds
from .domain import Box, Floats
from .network import Layer, Network, Weight

LARGEST = 2.0**12


@dataclass(frozen=True, eq=False)
class Scaled:
    """`network` takes x / `inputs` and gives f(x) / `outputs`; `bounds` are its bounds. All factors are >= 1."""

    network: Network
    bounds: Bounds
    inputs: Floats
    outputs: Floats


def scale_network(network: Network, bounds: Bounds) -> Scaled:
    """The network with every input and neuron scaled down by a power of two until it stays within [-4096, 4096].

    What is within that already keeps its unit. `bounds` (of `network`) say how large each neuron gets.

    >>> from omlt_ext import Box, tighten_bounds
    >>> network = Network([Layer([[2.0**20]], [1.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    >>> scaled = scale_network(network, tighten_bounds(network, Box([0], [1])))
    >>> scaled.network.layers[0].weight, scaled.outputs, scaled.outputs * scaled.network([0.5])
    (array([[2048.]]), array([512.]), array([524289.]))
    """
    box = bounds.box
    inputs = before = power(box.lower, box.upper)
    layers = []
    scales = [power(lower, upper) for lower, upper in zip(bounds.lower, bounds.upper, strict=True)]
    for layer, s in zip(network.layers, scales, strict=True):
        layers.append(Layer(_rescale(layer.weight, 1.0 / s, before), layer.bias / s, layer.relu))
        before = s
    scaled = Network(layers)
    lower, upper = ([end / s for end, s in zip(ends, scales, strict=True)] for ends in (bounds.lower, bounds.upper))
    small = Box(box.lower / inputs, box.upper / inputs)
    return Scaled(scaled, Bounds.of(scaled, small, lower, upper), inputs, before)


def power(lower: Floats, upper: Floats) -> Floats:
    """The smallest power of two s >= 1 with [lower, upper] / s inside [-LARGEST, LARGEST].

    >>> power(np.array([-1.0, -5000.0]), np.array([4096.0, 9000.0]))
    array([1., 4.])
    """
    magnitude = np.maximum(np.maximum(np.abs(lower), np.abs(upper)) / LARGEST, 1.0)
    fraction, exponent = np.frexp(magnitude)
    return np.ldexp(1.0, exponent - (fraction == 0.5))


def _rescale(weight: Weight, rows: Floats, columns: Floats) -> Weight:
    if sparse.issparse(weight):
        return sparse.diags_array(rows) @ weight @ sparse.diags_array(columns)
    return rows[:, None] * weight * columns
