"""Dual ascent: between CROWN and the LP over the same relaxation, and close to the LP."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse
from triangle import triangle_lp

from omlt_ext import Box, Layer, Network
from omlt_ext.network import compact
from omlt_ext.propagation import crown, dual

MakeNetwork = Callable[..., Network]


@pytest.mark.parametrize("seed", range(4))
def test_between_crown_and_the_lp_and_close_to_the_lp(make_network: MakeNetwork, seed: int) -> None:
    network = make_network((6, 12, 10, 3), seed)
    mixed = Layer(network.layers[1].weight, network.layers[1].bias, np.arange(10) % 4 > 0)
    network = Network([network.layers[0], mixed, network.layers[2]])
    box = Box.full(6, -1, 1)
    found, wide = dual(network, box, steps=60), crown(network, box)
    for k in (1, 2):
        for j in range(network.layers[k].n_out):
            row = np.eye(network.layers[k].n_out)[j]
            low, high = triangle_lp(network, found, k, row), -triangle_lp(network, found, k, -row)
            slack = 1e-7 * max(1.0, abs(low), abs(high))  # of the LP solver
            assert wide.lower[k][j] <= found.lower[k][j]
            assert found.upper[k][j] <= wide.upper[k][j]
            if k == 1:  # later layers may also use the interval of the layer before, which this LP does not know
                assert found.lower[k][j] <= low + slack
                assert found.upper[k][j] >= high - slack
            assert found.upper[k][j] - found.lower[k][j] <= 1.01 * (high - low) + slack


def test_gain_over_crown_on_a_deep_network(make_network: MakeNetwork) -> None:
    network = make_network((10, 40, 40, 40, 1), 3, scale=0.3)
    wide, tight = crown(network, (0, 1)), dual(network, (0, 1))
    assert tight.width()[3][0] < 0.9 * wide.width()[3][0]


def test_more_steps_never_hurt_within_one_layer(make_network: MakeNetwork) -> None:
    """Only the best slopes seen are kept; in the second layer nothing else changes."""
    network = make_network((10, 40, 20), 3)
    few, many = (dual(network, (0, 1), steps=steps) for steps in (3, 30))
    slack = 1e-5 * np.abs(few.upper[1] - few.lower[1])  # "best" is judged in single precision
    assert (many.lower[1] >= few.lower[1] - slack).all()
    assert (many.upper[1] <= few.upper[1] + slack).all()


def test_no_steps_is_crown(make_network: MakeNetwork) -> None:
    network = make_network((5, 20, 20, 2), 1)
    plain, none = crown(network, (0, 1)), dual(network, (0, 1), steps=0)
    for k in range(3):
        np.testing.assert_allclose(none.lower[k], plain.lower[k], rtol=1e-12)
        np.testing.assert_allclose(none.upper[k], plain.upper[k], rtol=1e-12)


def test_chunks_and_storage_change_nothing_but_rounding(make_network: MakeNetwork) -> None:
    network = make_network((8, 30, 30, 4), 5)
    thin = [compact(layer.weight * (np.abs(layer.weight) > 1.2)) for layer in network.layers]
    layers = [Layer(W, layer.bias, layer.relu) for W, layer in zip(thin, network.layers, strict=True)]
    assert any(sparse.issparse(layer.weight) for layer in layers)
    dense = Network([Layer(layer.dense_weight(), layer.bias, layer.relu) for layer in layers])
    whole, parts, stored = dual(dense, (-1, 1)), dual(dense, (-1, 1), chunk_bytes=2**14), dual(Network(layers), (-1, 1))
    for other in (parts, stored):
        for k in range(3):
            np.testing.assert_allclose(other.lower[k], whole.lower[k], rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(other.upper[k], whole.upper[k], rtol=1e-3, atol=1e-3)


def test_methods_are_recorded(make_network: MakeNetwork) -> None:
    frame = dual(make_network((5, 20, 20, 2), 1), (0, 1)).to_frame()
    assert set(frame[frame["layer"] == 0]["lower_method"]) == {"interval"}
    assert "dual" in set(frame[frame["layer"] == 2]["upper_method"])
