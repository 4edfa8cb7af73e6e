"""Folding: the same function, and no neuron left that is constant or that nobody reads."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Box, Layer, Network, ReLUBlock
from omlt_ext.errors import NetworkError
from omlt_ext.pruning import fold, prune


@st.composite
def sparse_networks(draw: st.DrawFn) -> Network:
    """Random networks with many zeros, whole rows and columns of them, linear neurons, dense and CSR weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    layers = []
    for n_in, n_out in pairwise(widths):
        W = rng.normal(size=(n_out, n_in)) * (rng.random((n_out, n_in)) < draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])))
        W *= rng.random((n_out, 1)) < 0.7
        W *= rng.random(n_in) < 0.8
        W = np.where(W == 0.0, -0.0, W)
        layers.append(
            Layer(sparse.csr_array(W) if draw(st.booleans()) else W, rng.normal(size=n_out), rng.random(n_out) < 0.7)
        )
    return Network(layers, source="drawn")


@given(sparse_networks())
@settings(max_examples=150, deadline=None)
def test_the_function_stays_and_nothing_is_left_to_fold(network: Network) -> None:
    folded = fold(network)
    x = np.random.default_rng(0).normal(size=(20, network.n_inputs)) * 3
    truth = network(x)
    assert np.abs(folded(x) - truth).max() <= 1e-12 * (1.0 + np.abs(truth).max())
    assert folded.n_relus <= network.n_relus
    for k, layer in enumerate(folded.layers):
        W = layer.dense_weight()
        if k < len(folded.layers) - 1:
            assert (W != 0).any(axis=1).all()
        if k > 0:
            assert (W != 0).any(axis=0).all()
    again = fold(folded)
    assert [layer.n_out for layer in again.layers] == [layer.n_out for layer in folded.layers]


def test_what_the_network_says_of_itself_stays() -> None:
    network = Network(
        [Layer(np.diag([1.0, 0, 0, 1]), np.ones(4), True), Layer(np.eye(4), np.zeros(4), [True, False, True, False])],
        input_shape=(2, 2),
        output_shape=(4, 1),
        input_box=Box.full(4, -1, 1),
        input_slices={"a": slice(0, 1), "b": slice(1, 4)},
        output_slices={"y": slice(0, 4)},
        source="file.onnx",
    )
    folded = fold(network)
    assert [layer.n_out for layer in folded.layers] == [2, 4]
    assert folded.layers[1].relu.tolist() == [True, False, True, False]
    for name in ("input_shape", "output_shape", "input_slices", "output_slices", "source"):
        assert getattr(folded, name) == getattr(network, name)
    assert folded.input_box is network.input_box


def test_a_constant_runs_through_several_layers() -> None:
    first = Layer([[0.0], [1.0]], [2.0, 0.0], relu=True)
    second = Layer([[3.0, 0.0], [0.0, 1.0]], [-1.0, 0.0], relu=True)  # 3 * 2 - 1 = 5
    folded = fold(Network([first, second, Layer([[10.0, 1.0]], [0.5], relu=False)]))
    assert [layer.n_out for layer in folded.layers] == [1, 1, 1]
    assert folded.layers[2].bias.tolist() == [50.5]


def test_a_negative_constant_of_a_relu_is_zero_and_of_a_linear_neuron_is_not() -> None:
    first = Layer([[0.0], [0.0], [1.0]], [-2.0, -2.0, 0.0], relu=[True, False, True])
    folded = fold(Network([first, Layer([[1.0, 1.0, 1.0]], [0.0], relu=False)]))
    assert folded.layers[1].bias.tolist() == [-2.0]


def test_a_chain_that_nobody_reads_goes_back_to_the_inputs() -> None:
    first = Layer([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], relu=True)
    second = Layer([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], relu=True)
    folded = fold(Network([first, second, Layer([[1.0, 0.0]], [0.0], relu=False)]))
    assert [layer.weight.shape for layer in folded.layers] == [(1, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_without_a_path_a_constant_layer_is_left(empty: int) -> None:
    rng = np.random.default_rng(1)
    sizes = [(4, 3), (5, 4), (2, 5)]
    layers = [
        Layer(
            np.zeros(size) if k == empty else rng.normal(size=size),
            rng.normal(size=size[0]),
            relu=k < 2 or [True, False],
        )
        for k, size in enumerate(sizes)
    ]
    network = Network(layers)
    folded = fold(network)
    assert [layer.weight.shape for layer in folded.layers] == [(2, 3)]
    assert folded.layers[0].nnz == 0
    assert folded.layers[0].relu.tolist() == [True, False]
    assert np.allclose(folded(rng.normal(size=(3, 3))), network(np.zeros(3)), rtol=1e-12)


def test_a_bias_beyond_the_largest_number_is_named() -> None:
    network = Network([Layer([[0.0]], [1e300], relu=True), Layer([[1e300]], [0.0], relu=False)])
    with pytest.raises(NetworkError, match=r"bias\[0\] is inf"):
        fold(network)


def test_each_relu_that_goes_takes_its_binary_with_it() -> None:
    rng = np.random.default_rng(3)
    hidden = [Layer(rng.normal(size=(12, n)), 0.1 * rng.normal(size=12), relu=True) for n in (4, 12)]
    network = Network([*hidden, Layer(rng.normal(size=(2, 12)), np.zeros(2), relu=False)])
    assert binaries(network) == network.n_relus == 24
    constant = prune(network, "neurons", 0.25).network
    assert binaries(constant) == constant.n_relus == 18
    last = network.layers[2].dense_weight() * (np.arange(12) < 7)
    unread = Network([*hidden, Layer(last, np.zeros(2), relu=False)])
    assert binaries(unread) == 24
    assert binaries(fold(unread)) == fold(unread).n_relus == 19


def binaries(network: Network) -> int:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    return sum(1 for variable in model.component_data_objects(pyo.Var) if variable.is_binary())
