"""Structured pruning: which neurons go, and how many."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from omlt_ext import Layer, Network
from omlt_ext.errors import OptionError
from omlt_ext.pruning import prune
from omlt_ext.pruning.neurons import Neurons


def network(seed: int = 0, widths: tuple[int, ...] = (6, 20, 10, 3)) -> Network:
    rng = np.random.default_rng(seed)
    layers = [
        Layer(rng.normal(size=(n, m)), rng.normal(size=n), relu=k < len(widths) - 2)
        for k, (m, n) in enumerate(pairwise(widths))
    ]
    return Network(layers)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.3, 0.8])
def test_the_rows_with_the_smallest_norm_go(norm: int, sparsity: float) -> None:
    dense = network()
    pruned = prune(dense, Neurons(norm), sparsity)
    for layer, mask in zip(dense.layers[:-1], pruned.masks[:-1], strict=True):
        sizes = np.linalg.norm(layer.dense_weight(), norm, axis=1)
        stays = mask.all(axis=1)
        assert (mask.any(axis=1) == stays).all()
        assert (~stays).sum() == round(sparsity * layer.n_out)
        assert sizes[~stays].max(initial=0.0) < sizes[stays].min()
    assert pruned.masks[-1].all()
    assert [layer.n_out for layer in pruned.network.layers[:-1]] == [
        round(20 * (1 - sparsity)),
        round(10 * (1 - sparsity)),
    ]


def test_the_norms_differ() -> None:
    layer = Layer([[3.0, 0.0], [2.0, 2.0]], [0.0, 0.0], relu=True)
    dense = Network([layer, Layer([[1.0, 1.0]], [0.0], relu=False)])
    kept = [prune(dense, Neurons(norm), 0.5).masks[0].any(axis=1).tolist() for norm in (1, 2)]
    assert kept == [[False, True], [True, False]]


def test_one_neuron_stays_in_each_layer_below_a_sparsity_of_1() -> None:
    dense = network()
    assert [layer.n_out for layer in prune(dense, "neurons", 0.999).network.layers] == [1, 1, 3]
    gone = prune(dense, "neurons", 1.0)
    assert [layer.n_out for layer in gone.network.layers] == [3]
    assert np.allclose(gone.network(np.ones(6)), gone.unfolded(np.zeros(6)))


def test_linear_neurons_and_the_output_stay() -> None:
    rng = np.random.default_rng(2)
    relu = np.arange(8) % 2 == 0
    weight = rng.normal(size=(8, 4)) * np.where(relu, 5.0, 0.1)[:, None]
    dense = Network([Layer(weight, np.zeros(8), relu), Layer(rng.normal(size=(2, 8)), np.zeros(2), relu=True)])
    pruned = prune(dense, "neurons", 0.5)
    assert pruned.masks[0].any(axis=1)[~relu].all()
    assert pruned.masks[0].any(axis=1)[relu].sum() == 2
    assert pruned.masks[1].all()


def test_neurons_that_had_no_weights_count_among_those_that_go() -> None:
    W = np.ones((4, 2)) * np.array([0.0, 1.0, 2.0, 3.0])[:, None]
    dense = Network([Layer(W, np.ones(4), relu=True), Layer(np.ones((1, 4)), [0.0], relu=False)])
    assert prune(dense, "neurons", 0.5).masks[0].any(axis=1).tolist() == [False, False, True, True]


def test_gradual_pruning_ends_at_the_same_share() -> None:
    dense = network(1)
    pruned = prune(dense, "neurons", 0.5, steps=3)
    assert [layer.n_out for layer in pruned.network.layers] == [10, 5, 3]


def test_squares_of_huge_weights_are_compared() -> None:
    layer = Layer([[2e200], [3e200], [1e-200]], np.zeros(3), relu=True)
    dense = Network([layer, Layer([[1e-200, 1e-200, 1.0]], [0.0], relu=False)])
    assert prune(dense, Neurons(2), 0.7).masks[0].any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize("norm", [0, 3, True, "2", 1.5, None])
def test_other_norms_are_refused(norm: object) -> None:
    with pytest.raises(OptionError, match="norm is"):
        Neurons(norm)  # type: ignore[arg-type]


def test_densities_of_weights_are_refused() -> None:
    with pytest.raises(OptionError, match="prunes neurons"):
        prune(network(), "neurons", 0.5, densities="regions")
