"""Constant and unread neurons of a network folded away, with the same value at every input.

Symbols: z = W h + b the pre-activation of a layer, h = max(0, z) at ReLUs and z elsewhere, c the value of a neuron
that is constant.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from ..network import Bools, Floats, Layer, Network, compact
from .weights import with_layers

Part: TypeAlias = tuple[Any, Floats, Bools]  # weight as CSR, bias, relu of a layer that may have lost all its neurons


def fold(network: Network) -> Network:
    """The same function without the hidden neurons that are constant or that nobody reads.

    A hidden neuron j of layer k without incoming weights has the value c_j = max(0, b_j) (b_j where it is linear) at
    every input: b^{k+1} += W^{k+1}[:, j] c_j, and it goes. A hidden neuron without outgoing weights just goes.
    Outputs, shapes, names, input box and source stay; each weight is stored as `compact` says. If no path of nonzero
    weights leads from the inputs to the outputs, one layer of zero weights is left.

    f is the same in exact arithmetic; in floating point the constants are added in another order. Raises
    `NetworkError` where a folded bias is beyond the largest float.

    >>> network = Network([Layer([[1.0], [0.0], [2.0]], [0.0, 3.0, 0.0], True), Layer([[1.0, 2.0, 0.0]], [1.0], False)])
    >>> first, last = fold(network).layers
    >>> first.dense_weight(), last.dense_weight(), last.bias
    (array([[1.]]), array([[1.]]), array([7.]))
    """
    # One sweep each way is enough. Forward, a layer loses its constants, and with them the columns that they fed,
    # before the next layer is looked at: afterwards every hidden neuron has an incoming weight. Backward, a neuron
    # that goes has only zeros in its column of the next weight: no row there loses a nonzero, none becomes constant.
    parts = _without_unread(_without_constants(network))
    return with_layers(network, [Layer(compact(weight), bias, relu) for weight, bias, relu in parts])


def _without_constants(network: Network) -> list[Part]:
    parts: list[Part] = []
    live, constants = np.ones(network.n_inputs, dtype=bool), np.zeros(network.n_inputs)
    for layer in network.layers:
        weight = layer.csr_weight()
        with np.errstate(over="ignore", invalid="ignore"):  # `Layer` names the bias that is not finite
            bias = layer.bias + weight @ constants
        weight = weight[:, live]
        live = np.diff(weight.indptr) > 0
        constants = np.where(live, 0.0, layer.activation(bias))
        parts.append(_rows((weight, bias, layer.relu), live))
    parts[-1] = (weight, bias, layer.relu)  # outputs stay, constant or not
    if weight.nnz == 0:  # also where a hidden layer has no neuron left: what follows it is constant
        nothing = sparse.csr_array((network.n_outputs, network.n_inputs))
        return [(nothing, bias, layer.relu)]
    return parts


def _without_unread(parts: list[Part]) -> list[Part]:
    kept = parts[-1:]
    for part in reversed(parts[:-1]):
        weight, bias, relu = kept[0]
        read = np.zeros(weight.shape[1], dtype=bool)
        read[weight.indices] = True
        kept[0] = (weight[:, read], bias, relu)
        kept.insert(0, _rows(part, read))
    return kept


def _rows(part: Part, keep: Bools) -> Part:
    weight, bias, relu = part
    return weight[keep], bias[keep], relu[keep]
