"""OMLT NetworkDefinitions, against OMLT's own evaluation of the layers."""

# ruff: noqa: E402 (the skip comes before the imports)

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.omlt
pytest.importorskip("omlt")

from omlt.neuralnet.layer import ConvLayer2D, DenseLayer, GNNLayer, IndexMapper, InputLayer, PoolingLayer2D
from omlt.neuralnet.network_definition import NetworkDefinition
from omlt.scaling import OffsetScaling

from omlt_ext.errors import BoundsError, ImportCheckError, OmltExtError, ReadError, UnsupportedOperatorError
from omlt_ext.mixed import MixedNetwork
from omlt_ext.readers import load_network


def chain(layers, **options) -> NetworkDefinition:
    definition = NetworkDefinition(**options)
    for layer in layers:
        definition.add_layer(layer)
    for before, after in itertools.pairwise(layers):
        definition.add_edge(before, after)
    return definition


def dense(sizes, seed=0, activation="relu") -> list:
    rng = np.random.default_rng(seed)
    layers = [InputLayer([sizes[0]])]
    for k, (m, n) in enumerate(itertools.pairwise(sizes)):
        last = k == len(sizes) - 2
        W, b = rng.normal(size=(m, n)), rng.normal(size=n)
        layers.append(DenseLayer([m], [n], W, b, activation="linear" if last else activation))
    return layers


def evaluate(layers, x):
    for layer in layers:
        x = layer.eval_single_layer(x)
    return np.ravel(x)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4), seed=st.integers(0, 99), tuples=st.booleans())
def test_scaling_is_folded_in(sizes, seed, tuples):
    rng = np.random.default_rng(seed)
    layers = dense(sizes, seed)
    n, m = sizes[0], sizes[-1]
    x_offset, x_factor, y_offset, y_factor = rng.normal(0, 50, n), 0.1 + rng.random(n), rng.normal(size=m), 3.0
    inputs = [(i,) if tuples else i for i in range(n)]
    outputs = [(i,) if tuples else i for i in range(m)]
    scaling = OffsetScaling(
        dict(zip(inputs, x_offset, strict=True)),
        dict(zip(inputs, x_factor, strict=True)),
        dict(zip(outputs, y_offset, strict=True)),
        dict.fromkeys(outputs, y_factor),
    )
    bounds = {key: (-1.0 - k, 2.0 + k) for k, key in enumerate(inputs)}
    network = load_network(chain(layers, scaling_object=scaling, unscaled_input_bounds=bounds))
    for x in network.input_box.sample(4, rng):
        expected = evaluate(layers, (x - x_offset) / x_factor) * y_factor + y_offset
        np.testing.assert_allclose(network(x), expected, rtol=1e-9, atol=1e-9)
    assert network.input_box.lower.tolist() == [-1.0 - k for k in range(n)]
    scaled = dict.fromkeys(inputs, (-1.0, 0.5))
    network = load_network(chain(layers, scaling_object=scaling, scaled_input_bounds=scaled))
    np.testing.assert_allclose(network.input_box.lower, x_offset - x_factor)
    np.testing.assert_allclose(network.input_box.upper, x_offset + 0.5 * x_factor)


def convolutional() -> list:
    rng = np.random.default_rng(3)
    return [
        InputLayer([2, 6, 5]),
        ConvLayer2D([2, 6, 5], [3, 5, 4], [1, 1], rng.normal(size=(3, 2, 2, 2)), activation="relu"),
        PoolingLayer2D([3, 5, 4], [3, 3, 2], [2, 2], "max", [2, 2], 3),  # the last row reaches past the end
        DenseLayer(
            [18], [2], rng.normal(size=(18, 2)), rng.normal(size=2), input_index_mapper=IndexMapper([3, 3, 2], [18])
        ),
    ]


def test_convolution_and_pooling():
    layers = convolutional()
    bounds = dict.fromkeys(np.ndindex(2, 6, 5), (0.0, 1.0))
    network = load_network(chain(layers, unscaled_input_bounds=bounds))
    assert network.input_shape == (2, 6, 5)
    assert network.input_box.n == 60
    for x in np.random.default_rng(0).normal(size=(5, 60)):
        np.testing.assert_allclose(network(x), evaluate(layers, x.reshape(2, 6, 5)), rtol=1e-9, atol=1e-9)


def test_dense_layers_on_matrices_act_on_the_last_axis():
    rng = np.random.default_rng(0)
    layers = [
        InputLayer([3, 2]),
        DenseLayer([3, 2], [3, 4], rng.normal(size=(2, 4)), rng.normal(size=4), activation="relu"),
    ]
    x = rng.normal(size=(3, 2))
    np.testing.assert_allclose(load_network(chain(layers))(x.ravel()), evaluate(layers, x))


def test_bounds_that_are_open_incomplete_or_crossed():
    layers = dense([2, 2])
    assert load_network(chain(layers)).input_box is None
    assert load_network(chain(layers, scaled_input_bounds={0: (None, 1), 1: (0, 1)})).input_box is None
    assert load_network(chain(layers, scaled_input_bounds={0: (0, np.inf), 1: (0, 1)})).input_box is None
    with pytest.raises(ReadError, match="keys"):
        load_network(chain(layers, scaled_input_bounds={0: (0, 1)}))
    with pytest.raises(BoundsError, match=r"input 1: lower bound .* lies above"):
        load_network(chain(layers, scaled_input_bounds={0: (0, 1), 1: (3, 1)}))


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ReadError, match="no layers"):
        load_network(NetworkDefinition())
    with pytest.raises(UnsupportedOperatorError, match=r"layer 1 \(DenseLayer\): the activation 'tanh'"):
        load_network(chain(dense([2, 3, 1], activation="tanh")))
    graph = GNNLayer([4], [2], np.ones((4, 2)), np.zeros(2), N=2)
    with pytest.raises(UnsupportedOperatorError, match=r"layer 1 \(GNNLayer\)"):
        load_network(chain([InputLayer([4]), graph]))
    with pytest.raises(ReadError, match="not an InputLayer"):
        load_network(chain(dense([2, 3])[1:]))
    with pytest.raises(ReadError, match="weights hold NaN"):
        load_network(chain([InputLayer([1]), DenseLayer([1], [1], np.array([[np.nan]]), np.zeros(1))]))
    with pytest.raises(ReadError, match="do not fit each other"):
        load_network(chain([InputLayer([2]), DenseLayer([3], [1], np.ones((3, 1)), np.zeros(1))]))
    layers = dense([2, 2, 2, 1])
    branching = chain(layers)
    branching.add_edge(layers[1], layers[3])
    with pytest.raises(ReadError, match="only chains"):
        load_network(branching)


class Bent:
    """A scaling that is not affine, or one that mixes its inputs."""

    def __init__(self, mixes: bool) -> None:
        self.mixes = mixes

    def get_scaled_input_expressions(self, x):
        return {0: x[0] + (x[1] if self.mixes else x[0] ** 2), 1: x[1]}

    def get_unscaled_output_expressions(self, y):
        return y


def test_scaling_objects_that_cannot_be_folded():
    with pytest.raises(ReadError, match="not affine"):
        load_network(chain(dense([2, 1]), scaling_object=Bent(mixes=False)))
    with pytest.raises(ImportCheckError):
        load_network(chain(dense([2, 1]), scaling_object=Bent(mixes=True)))
    short = OffsetScaling([0.0], [1.0], [0.0], [1.0])
    with pytest.raises(OmltExtError, match="does not take 2 values"):
        load_network(chain(dense([2, 1]), scaling_object=short))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_smooth_activations_are_read_on_request(name):
    definition = chain(dense([2, 3, 1], activation=name))
    network = load_network(definition, smooth=True)  # compared with OMLT's own evaluation before it is returned
    assert isinstance(network, MixedNetwork)
    with pytest.raises(UnsupportedOperatorError, match="smooth=True"):
        load_network(definition)


def test_an_activation_that_omlt_does_not_evaluate_is_refused():
    with pytest.raises(UnsupportedOperatorError, match="'softplus' is not read"):
        load_network(chain(dense([2, 3, 1], activation="softplus")), smooth=True)
