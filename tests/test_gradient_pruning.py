"""Gradient and undecayed pruning: scores against differences of the loss, and where they agree with magnitude."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from search_problems import dense_network

from omlt_ext import Layer, Network
from omlt_ext.errors import OptionError
from omlt_ext.pruning import Data, gradient, prune
from omlt_ext.pruning.gradient import Gradient, loss_gradient
from omlt_ext.pruning.gradients import SampleGradients
from omlt_ext.pruning.magnitude import Magnitude
from omlt_ext.pruning.method import Task
from omlt_ext.pruning.undecayed import Undecayed, undecayed
from omlt_ext.pruning.weights import Weights

SIZES = (4, 7, 5, 3)


def samples(network: Network, seed: int, n: int = 40, *, classes: bool = True) -> Data:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, network.n_inputs))
    if classes:
        return Data(X, labels=rng.integers(0, network.n_outputs, n))
    return Data(X, values=rng.normal(size=(n, network.n_outputs)))


def task_of(network: Network, data: Data, sparsity: float = 0.5) -> Task:
    weights = Weights.of(network)
    groups = ((slice(0, weights.d), weights.d - round(sparsity * weights.d)),)
    return Task(weights, sparsity, groups, data, np.random.default_rng(0))


def differences(network: Network, data: Data) -> np.ndarray:
    """The gradient of the mean loss by central differences."""
    weights, found = Weights.of(network), []
    for step in 1e-6 * np.eye(weights.d):
        ends = [data.loss(weights.network_with(weights.vector + sign * step)) for sign in (1, -1)]
        found.append((ends[0] - ends[1]) / 2e-6)
    return np.array(found)


def untrained() -> Network:
    return dense_network((3, 4, 3), 1, scale=0.5)


def trained(decay: float) -> tuple[Network, Data]:
    """A network at rest: the gradient of loss + decay/2 |w|^2 is rounding.

    Its neurons are linear: ReLUs come to rest at kinks of the loss, where no gradient is 0.
    """
    begin = Network([Layer(layer.weight, layer.bias, relu=False) for layer in untrained().layers])
    data, weights = samples(begin, 2), Weights.of(begin)
    sizes = [layer.n_out for layer in begin.layers]

    def network_at(p: np.ndarray) -> Network:
        biases = np.split(p[weights.d :], np.cumsum(sizes)[:-1])
        layers = weights.network_with(p[: weights.d]).layers
        return Network([Layer(layer.weight, b, layer.relu) for layer, b in zip(layers, biases, strict=True)])

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        w, network = p[: weights.d], network_at(p)
        found = SampleGradients.of(weights, network, data)
        of_biases = [delta.mean(axis=0) for delta in found.delta]
        return data.loss(network) + decay / 2 * (w @ w), np.concatenate([found.mean() + decay * w, *of_biases])

    start = np.concatenate([weights.vector, *(layer.bias for layer in begin.layers)])
    end = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
    assert np.abs(loss(end.x)[1]).max() < 1e-6
    return network_at(end.x), data


@pytest.mark.parametrize("classes", [True, False])
def test_the_gradient_is_that_of_differences_however_many_samples_are_held_together(
    classes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = dense_network(SIZES, 0, relu_output=not classes)
    data = samples(network, 1, classes=classes)
    whole = loss_gradient(task_of(network, data))
    assert whole == pytest.approx(differences(network, data), abs=1e-6)
    monkeypatch.setattr(gradient, "SAMPLES", 7)  # 40 samples in blocks, the last one smaller
    assert loss_gradient(task_of(network, data)) == pytest.approx(whole, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 1.0])
def test_gradient_keeps_the_largest_products(sparsity: float) -> None:
    network = dense_network(SIZES, 3)
    data = samples(network, 4)
    w = Weights.of(network).vector
    order = np.argsort(-np.abs(w * differences(network, data)))
    kept = prune(network, "gradient", sparsity, data)
    mask = np.concatenate([part.ravel() for part in kept.masks])
    assert set(np.flatnonzero(mask)) == set(order[: w.size - round(sparsity * w.size)])


def test_at_rest_magnitude_gradient_and_undecayed_are_one() -> None:
    """g = -lambda w, so that |w g| = lambda w^2 and |-w g + lambda w^2| = 2 lambda w^2."""
    decay = 0.02
    network, data = trained(decay)
    w, g = Weights.of(network).vector, loss_gradient(task_of(network, data))
    assert undecayed(w, g, decay) == pytest.approx(2 * decay * w**2, abs=1e-5)
    methods = Magnitude(), Gradient(), Undecayed(decay), Undecayed(10 * decay)
    for sparsity in (0.3, 0.5, 0.7):
        masks = [np.concatenate([m.ravel() for m in prune(network, kind, sparsity, data).masks]) for kind in methods]
        assert all(np.array_equal(mask, masks[0]) for mask in masks[1:])
    # where training began they differ
    masks = [np.concatenate([m.ravel() for m in prune(untrained(), kind, 0.5, data).masks]) for kind in methods[:3]]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


def test_decay_turns_gradient_into_magnitude() -> None:
    network = dense_network(SIZES, 5)
    data = samples(network, 6)
    for decay, other in ((1e-12, "gradient"), (1e12, "magnitude")):
        ours, theirs = (prune(network, method, 0.6, data).masks for method in (Undecayed(decay), other))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sparsity=st.floats(0.1, 0.95),
    classes=st.booleans(),
    scope=st.sampled_from(["global", "layer"]),
)
def test_without_a_decay_it_is_never_worse_than_magnitude(
    seed: int, sparsity: float, classes: bool, scope: str
) -> None:
    network = dense_network(SIZES, seed)
    data = samples(network, seed + 1, classes=classes)
    ours, theirs = (
        prune(network, method, sparsity, data, scope=scope).unfolded for method in ("undecayed", "magnitude")
    )
    (mine, other), losses = (
        [(net(data.inputs).argmax(axis=1) == data.labels).sum() if classes else 0 for net in (ours, theirs)],
        [data.loss(net) for net in (ours, theirs)],
    )
    assert mine > other or (mine == other and losses[0] <= losses[1])  # on the data it has learned from
    assert sum(layer.nnz for layer in ours.layers) == sum(layer.nnz for layer in theirs.layers)


def test_a_network_that_reproduces_its_data() -> None:
    """Nothing but rounding is in the gradients: magnitude for undecayed, a sentence for gradient."""
    network = dense_network(SIZES, 7)
    X = samples(network, 8).inputs
    expected = prune(network, "magnitude", 0.7).masks
    for method in (Undecayed(), Undecayed(1e-3)):
        assert all(np.array_equal(a, b) for a, b in zip(prune(network, method, 0.7, X).masks, expected, strict=True))
    with pytest.raises(OptionError, match=r"reproduces the values of the data.*give labels or measured values"):
        prune(network, "gradient", 0.7, X)


@pytest.mark.parametrize("method", ["gradient", "undecayed"])
def test_gradients_that_overflow(method: str) -> None:
    network = dense_network(SIZES, 7)
    data = samples(network, 8)
    with pytest.raises(OptionError, match="the gradients of the loss overflow on these data; scale the data"):
        prune(network, method, 0.7, (1e200 * data.inputs, data.labels))


def test_a_network_without_weights() -> None:
    network = Network([Layer(np.zeros((2, 2)), [1.0, 0.0], relu=True), Layer(np.zeros((2, 2)), [1.0, 0.0], relu=False)])
    for method in ("gradient", "undecayed"):
        pruned = prune(network, method, 0.5, ([[1.0, 2.0], [0.0, 1.0]], [0, 1]))
        assert pruned.unfolded([3.0, 4.0]) == pytest.approx(network([3.0, 4.0]))


@pytest.mark.parametrize("method", ["gradient", "undecayed"])
def test_what_is_pruned_stays_pruned_in_later_steps(method: str) -> None:
    network = dense_network(SIZES, 9)
    data = samples(network, 10)
    earlier = None
    for steps in (2, 3):  # 1 - (1 - s)^(1/2) after the first of 2 steps
        found = prune(network, method, 0.75, data, steps=steps)
        assert sum(int(mask.sum()) for mask in found.masks) == 78 - round(0.75 * 78)
        earlier = found if earlier is None else earlier
    first = prune(network, method, 0.5, data)
    assert all((late <= early).all() for late, early in zip(earlier.masks, first.masks, strict=True))


@pytest.mark.parametrize("decay", [0.0, -1.0, float("nan"), float("inf"), True, "5e-4"])
def test_decays_that_cannot_be(decay: object) -> None:
    with pytest.raises(OptionError, match=r"decay is .*; it must be a number above 0"):
        Undecayed(decay)  # type: ignore[arg-type]
