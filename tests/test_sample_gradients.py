"""The gradient of every sample's loss by the weights, as products, against differences of the loss itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Layer, Network
from omlt_ext.pruning.data import Data
from omlt_ext.pruning.gradients import SampleGradients, curvature_gradients
from omlt_ext.pruning.weights import Weights


def network_of(seed, *, csr=False):
    """4-5-4-3 with a linear neuron inside, some weights 0, the second layer stored as CSR where asked for."""
    rng = np.random.default_rng(seed)
    W = [rng.normal(size=shape) * (rng.random(shape) < 0.8) for shape in ((5, 4), (4, 5), (3, 4))]
    b = [rng.normal(size=n) for n in (5, 4, 3)]
    middle = sparse.csr_array(W[1]) if csr else W[1]
    relu = np.array([True, True, False, True])
    return Network([Layer(W[0], b[0], True), Layer(middle, b[1], relu), Layer(W[2], b[2], False)])


def data_of(network, seed, kind, n=7):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, network.n_inputs))
    y = rng.integers(0, 3, n) if kind == "labels" else rng.normal(size=(n, 3))
    return Data.of((X, y), network)


def differences(weights, data, step=1e-6):
    """G (N, d) by central differences of the losses."""
    w, columns = weights.vector, []
    for j in range(weights.d):
        ends = []
        for sign in (1.0, -1.0):
            moved = w.copy()
            moved[j] += sign * step
            ends.append(data.losses(weights.network_with(moved)(data.inputs)))
        columns.append((ends[0] - ends[1]) / (2 * step))
    return np.array(columns).T


@pytest.mark.parametrize("kind", ["labels", "values"])
@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_columns_are_the_derivatives_of_the_losses(seed, csr, kind):
    network = network_of(seed, csr=csr)
    weights, data = Weights.of(network), data_of(network, seed, kind)
    G = differences(weights, data)
    found = SampleGradients.of(weights, network, data).columns(np.arange(weights.d))
    np.testing.assert_allclose(found, G, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), csr=st.booleans(), labels=st.booleans())
def test_products_are_those_of_the_matrix(seed, csr, labels):
    network = network_of(seed, csr=csr)
    weights, data = Weights.of(network), data_of(network, seed, "labels" if labels else "values")
    rng, gradients = np.random.default_rng(seed), SampleGradients.of(weights, network, data)
    G = gradients.columns(np.arange(weights.d))
    a, w = rng.normal(size=gradients.n_samples), rng.normal(size=weights.d)
    np.testing.assert_allclose(gradients.back(a), G.T @ a, atol=1e-10)
    np.testing.assert_allclose(gradients.times(w), G @ w, atol=1e-10)
    np.testing.assert_allclose(gradients.mean(), G.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(gradients.squares(), (G**2).mean(axis=0), atol=1e-10)
    shuffled = rng.permutation(weights.d)[: weights.d // 2]
    np.testing.assert_array_equal(gradients.columns(shuffled), G[:, shuffled])


def test_of_values_the_curvature_is_gauss_newton_in_the_mean():
    network = network_of(3)
    weights, data = Weights.of(network), data_of(network, 3, "values", n=2)
    J = [
        SampleGradients.of(weights, network, data, np.tile(row, (2, 1))).columns(np.arange(weights.d))
        for row in np.eye(3)
    ]
    exact = sum(part.T @ part for part in J) / 2
    many = [curvature_gradients(weights, network, data, np.random.default_rng(k)) for k in range(4000)]
    drawn = [G.columns(np.arange(weights.d)) for G in many]
    mean = sum(G.T @ G for G in drawn) / (2 * len(drawn))
    assert np.abs(mean - exact).max() <= 0.1 * np.abs(exact).max()


def test_with_one_output_the_curvature_is_exact():
    full = network_of(4)
    network = Network([*full.layers, Layer([[1.0, -1.0, 2.0]], [0.0], False)])
    weights = Weights.of(network)
    data = Data.of(np.random.default_rng(4).normal(size=(5, 4)), network)
    G = curvature_gradients(weights, network, data, np.random.default_rng(0)).columns(np.arange(weights.d))
    shifted = Data(data.inputs, values=network(data.inputs) - 1.0)  # slopes of 1 everywhere
    np.testing.assert_allclose(G, differences(weights, shifted), rtol=1e-6, atol=1e-6)
