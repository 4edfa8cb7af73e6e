"""prune: how many weights go and where, in one step and several, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from search_problems import dense_network

from omlt_ext import Layer, Network, OmltExtError
from omlt_ext.errors import NetworkError, OptionError
from omlt_ext.pruning import prune
from omlt_ext.pruning.magnitude import Magnitude
from omlt_ext.pruning.weights import Weights


def random_network(seed):
    return dense_network((6, 8, 7, 3), seed)


def nonzeros(network):
    return [layer.nnz for layer in network.layers]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), sparsity=st.floats(0.0, 1.0), steps=st.integers(1, 4))
def test_as_many_weights_stay_as_were_asked_for(seed, sparsity, steps):
    dense = random_network(seed)
    d = Weights.of(dense).d
    pruned = prune(dense, "magnitude", sparsity, steps=steps)
    assert abs(sum(nonzeros(pruned.unfolded)) - (1.0 - sparsity) * d) <= 0.5 + 1e-9  # the nearest whole number
    assert sum(mask.sum() for mask in pruned.masks) == sum(nonzeros(pruned.unfolded))
    X = np.random.default_rng(0).normal(size=(20, 6))
    np.testing.assert_allclose(pruned.network(X), pruned.unfolded(X), atol=1e-10)


@pytest.mark.parametrize("steps", [1, 3])
def test_magnitude_keeps_the_largest_of_all_layers_or_of_each(steps):
    dense = random_network(1)
    w, d = np.abs(Weights.of(dense).vector), Weights.of(dense).d
    everywhere = prune(dense, "magnitude", 0.7, steps=steps)
    assert min(np.abs(Weights.of(everywhere.unfolded).vector)) == np.sort(w)[round(0.7 * d)]
    each = prune(dense, "magnitude", 0.75, scope="layer", steps=steps)
    assert nonzeros(each.unfolded) == [size - round(0.75 * size) for size in (48, 56, 21)]


def test_densities_say_what_each_layer_keeps():
    dense = random_network(2)
    pruned = prune(dense, densities=[0.5, 0.25, 1.0])
    assert nonzeros(pruned.unfolded) == [24, 14, 21]
    assert pruned.report.sparsity == pruned.report.reached == pytest.approx(1 - 59 / 125)
    of_regions = prune(dense, sparsity=0.6, densities="regions").unfolded
    assert abs(sum(nonzeros(of_regions)) - 0.4 * 125) <= 2


def test_weights_that_are_zero_already_do_not_count():
    W = sparse.random_array((30, 20), density=0.2, rng=np.random.default_rng(0), format="csr")
    network = Network([Layer(W, np.zeros(30), True), Layer(np.ones((1, 30)), [0.0], False)])
    pruned = prune(network, sparsity=0.5, scope="layer")
    assert nonzeros(pruned.unfolded) == [60, 15]
    assert not (pruned.masks[0] & (network.layers[0].dense_weight() == 0)).any()


def test_what_stays_are_the_weights_themselves_and_the_biases():
    dense = random_network(3)
    pruned = prune(dense, sparsity=0.5)
    for mask, before, after in zip(pruned.masks, dense.layers, pruned.unfolded.layers, strict=True):
        np.testing.assert_array_equal(after.dense_weight(), np.where(mask, before.dense_weight(), 0.0))
        np.testing.assert_array_equal(after.bias, before.bias)


def test_all_and_nothing():
    dense = random_network(4)
    X = np.random.default_rng(1).normal(size=(5, 6))
    np.testing.assert_allclose(prune(dense, sparsity=0.0).network(X), dense(X))
    constant = prune(dense, sparsity=1.0).network
    assert constant.n_relus == 0
    assert np.ptp(constant(X), axis=0).max() == 0.0


def test_equal_weights_go_by_their_place():
    network = Network([Layer(np.ones((2, 3)), np.zeros(2), False)])
    assert prune(network, sparsity=0.5).masks[0].tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"sparsity": 1.5}, "sparsity is 1.5"),
        ({"sparsity": True}, "sparsity"),
        ({"sparsity": float("nan")}, "sparsity"),
        ({"method": "scissors"}, "unknown pruning method 'scissors'; choose one of .*'magnitude'"),
        ({"method": Magnitude}, "is no pruning method"),
        ({"method": "gradient"}, "learns from samples; give data"),
        ({"scope": "row"}, "scope is 'row'"),
        ({"densities": "many"}, "densities is 'many'"),
        ({"densities": [0.5, 0.5]}, r"densities has shape \(2,\); give one number for each of 3 layers"),
        ({"densities": [0.5, "few", 1.0]}, "densities is not an array of numbers"),
        ({"densities": [0.5, 0.5, 2.0]}, r"densities\[2\] is 2.0"),
        ({"method": "neurons", "densities": [0.5, 0.5, 1.0]}, "prunes neurons"),
        ({"steps": 0}, "steps is 0"),
        ({"finetune": 3, "data": np.ones((2, 6))}, "finetune is 3; it must be a Finetune, such as"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_is_refused(keywords, says):
    with pytest.raises(OptionError, match=says):
        prune(random_network(0), **keywords)


def test_a_sparsity_in_single_precision():
    network = random_network(0)
    one, other = prune(network, sparsity=np.float32(0.5)), prune(network, sparsity=0.5)
    assert nonzeros(one.unfolded) == nonzeros(other.unfolded)
    assert type(one.report.sparsity) is float


def test_what_is_no_network_is_refused():
    with pytest.raises(NetworkError):
        prune([[1.0]])
    with pytest.raises(OmltExtError):
        prune(random_network(0), "magnitude", "half")
