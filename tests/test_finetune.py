"""Masked SGD: its steps against the formula and against PyTorch, zeros that stay, and what it must never do."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from search_problems import dense_network

from omlt_ext import Layer, Network
from omlt_ext.domain import Floats
from omlt_ext.errors import MissingDependencyError, OptionError
from omlt_ext.pruning import Data, prune
from omlt_ext.pruning.finetune import Finetune, NumpyTraining
from omlt_ext.pruning.method import Task


def masked(seed: int, *, stored_sparse: bool = False, share: float = 0.5) -> Network:
    """ReLUs and linear neurons in one layer, zeros among the weights, ReLUs at the output."""
    rng = np.random.default_rng(seed)
    layers = []
    for layer in dense_network((4, 6, 5, 3), seed).layers:
        W = layer.weight * (rng.random(layer.weight.shape) < share)
        layers.append(Layer(sparse.csr_array(W) if stored_sparse else W, layer.bias, rng.random(layer.n_out) < 0.7))
    return Network(layers)


def samples(seed: int, n: int, *, classes: bool) -> Data:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return Data(X, labels=rng.integers(0, 3, n)) if classes else Data(X, values=rng.normal(size=(n, 3)))


def vector(network: Network) -> Floats:
    """All weights, zeros too, and biases."""
    parts = [(layer.dense_weight().ravel(), layer.bias) for layer in network.layers]
    return np.concatenate([part for both in parts for part in both])


def network_at(network: Network, p: Floats) -> Network:
    layers = []
    for layer in network.layers:
        W, b, p = np.split(p, np.cumsum([layer.n_in * layer.n_out, layer.n_out]))
        layers.append(Layer(W.reshape(layer.n_out, layer.n_in), b, layer.relu))
    return Network(layers)


def parameters(training: NumpyTraining) -> Floats:
    parts = [(np.asarray(sparse.csr_array(W).todense()).ravel(), b) for W, b in training.parameters()]
    return np.concatenate([part for both in parts for part in both])


@pytest.mark.parametrize("stored_sparse", [False, True])
@pytest.mark.parametrize("classes", [False, True])
def test_steps_follow_the_formula(stored_sparse: bool, classes: bool) -> None:
    """v <- m v + g, p <- p - r (g + m v), with g of differences, the decay on weights, and 0 where a weight is 0."""
    network, rate, momentum, decay = masked(0, stored_sparse=stored_sparse), 0.01, 0.9, 0.1
    training = NumpyTraining(network, Finetune(learning_rate=rate, momentum=momentum, decay=decay))
    p, v = vector(network), 0.0
    is_bias = vector(Network([Layer(np.zeros((a.n_out, a.n_in)), np.ones(a.n_out), a.relu) for a in network.layers]))
    free = (p != 0.0) | (is_bias == 1.0)
    for step in range(3):
        data = samples(step, 10, classes=classes)
        ends = [[data.loss(network_at(network, p + s * e)) for s in (1, -1)] for e in 1e-6 * np.eye(p.size)]
        g = free * (np.array([up - down for up, down in ends]) / 2e-6 + decay * p * (is_bias == 0.0))
        v = momentum * v + g
        p = p - rate * (g + momentum * v)
        training.step(data)
        assert parameters(training) == pytest.approx(p, abs=1e-8)


@pytest.mark.torch
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("stored_sparse", [False, True])
@pytest.mark.parametrize("classes", [False, True])
def test_torch_does_the_same(stored_sparse: bool, classes: bool, momentum: float) -> None:
    pytest.importorskip("torch")
    network, data = masked(1, stored_sparse=stored_sparse), samples(1, 50, classes=classes)
    options = {"epochs": 3, "momentum": momentum, "batch": 16, "decay": 1e-3, "learning_rate": 0.02}
    ours, theirs = (
        vector(Finetune(**options, backend=name).run(network, data, np.random.default_rng(0)))
        for name in ("numpy", "torch")
    )
    assert not np.array_equal(ours, vector(network))
    assert theirs == pytest.approx(ours, rel=1e-9, abs=1e-12)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"omlt-ext\[torch\]"):
        Finetune(backend="torch").run(masked(0), samples(0, 5, classes=True), np.random.default_rng(0))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    share=st.floats(0.0, 1.0),
    stored_sparse=st.booleans(),
    classes=st.booleans(),
    batch=st.integers(1, 40),
)
def test_zeros_stay_and_the_loss_does_not_grow(
    seed: int, share: float, stored_sparse: bool, classes: bool, batch: int
) -> None:
    network, data = masked(seed, stored_sparse=stored_sparse, share=share), samples(seed, 30, classes=classes)
    before = vector(network)
    trained = Finetune(epochs=2, learning_rate=1e-3, batch=batch).run(network, data, np.random.default_rng(seed))
    assert data.loss(trained) <= data.loss(network)
    for old, new in zip(network.layers, trained.layers, strict=True):
        assert (new.dense_weight()[old.dense_weight() == 0.0] == 0.0).all()
        assert np.array_equal(new.relu, old.relu)
    assert np.array_equal(vector(network), before)  # the network that was given is as it was
    again = Finetune(epochs=2, learning_rate=1e-3, batch=batch).run(network, data, np.random.default_rng(seed))
    assert np.array_equal(vector(again), vector(trained))


def test_dense_and_sparse_weights_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    data = samples(2, 60, classes=True)
    monkeypatch.setattr("omlt_ext.pruning.gradients.BLOCK_BYTES", 1000)  # entries in several blocks
    dense, csr = (
        vector(Finetune(epochs=3).run(masked(2, stored_sparse=kind), data, np.random.default_rng(0)))
        for kind in (False, True)
    )
    assert csr == pytest.approx(dense, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("torch", marks=pytest.mark.torch)])
@pytest.mark.parametrize("classes", [False, True])
def test_what_diverges_is_told(backend: str, classes: bool) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    options = Finetune(learning_rate=1e200, momentum=0.0, backend=backend)
    with pytest.raises(OptionError, match=r"diverged in epoch 1; learning_rate is 1e\+200, take a smaller one"):
        options.run(masked(3, share=1.0), samples(3, 100, classes=classes), np.random.default_rng(0))


def test_a_rate_that_only_harms_gives_back_the_start() -> None:
    network = masked(4, share=1.0)
    data = Data.of(samples(4, 30, classes=False).inputs, network)  # its own outputs: nothing is better
    trained = Finetune(epochs=2).run(network, data, np.random.default_rng(0))
    assert np.array_equal(vector(trained), vector(network))


def test_what_is_kept_is_the_best_for_the_loss_and_its_decay() -> None:
    """Small weights cost something on the data, and less in all."""
    network, data, decay = masked(6, share=1.0), samples(6, 200, classes=True), 1.0
    trained = Finetune(epochs=20, decay=decay).run(network, data, np.random.default_rng(0))
    squares = [sum((layer.dense_weight() ** 2).sum() for layer in net.layers) for net in (network, trained)]
    begin, end = (data.loss(net) + decay / 2 * part for net, part in zip((network, trained), squares, strict=True))
    assert squares[1] < 0.01 * squares[0]
    assert end < begin
    unpulled = Finetune(epochs=20).run(network, data, np.random.default_rng(0))
    assert data.loss(unpulled) < data.loss(trained)


class Halving:
    """Prunes by magnitude and halves what is left."""

    needs_data: ClassVar[bool] = False
    by_neuron: ClassVar[bool] = False

    def prune(self, task: Task) -> Floats:
        smallest = np.argsort(np.abs(task.w))[: round(task.sparsity * task.w.size)]
        w = 0.5 * task.w
        w[smallest] = 0.0
        return w


def test_rewinding_goes_back_to_the_dense_weights() -> None:
    network, data = masked(5, share=1.0), samples(5, 30, classes=True)
    still = {"epochs": 1, "learning_rate": 1e-12}
    for rewind, factor in ((True, 1.0), (False, 0.25)):  # halved in each of two steps
        found = prune(network, Halving(), 0.5, data, steps=2, finetune=Finetune(**still, rewind=rewind))
        for mask, layer, dense in zip(found.masks, found.unfolded.layers, network.layers, strict=True):
            assert layer.dense_weight() == pytest.approx(factor * mask * dense.weight, rel=1e-6)


def test_digits_are_recognised_again() -> None:
    """Trained from random weights by the same SGD, pruned to a tenth, and trained again."""
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    data, test = Data(X[:1200] / 16, labels=y[:1200]), Data(X[1200:] / 16, labels=y[1200:])
    begin = dense_network((64, 40, 10), 0, scale=0.15)
    dense = Finetune(epochs=20, learning_rate=0.05, decay=5e-4).run(begin, data, np.random.default_rng(0))
    plain, tuned = (
        prune(dense, "magnitude", 0.9, data, test=test, finetune=options)
        for options in (None, Finetune(epochs=5, learning_rate=0.05))
    )
    assert plain.report.accuracy[0] > 0.9
    assert tuned.report.accuracy[1] > max(0.8, plain.report.accuracy[1] + 0.05)
    assert all((new <= old).all() for new, old in zip(tuned.masks, plain.masks, strict=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("momentum", 1.1),
        ("momentum", -0.1),
        ("batch", 0),
        ("decay", -1e-4),
        ("rewind", 1),
        ("backend", "jax"),
    ],
)
def test_options_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{name} is {value!r}; it must be"):
        Finetune(**{name: value})  # type: ignore[arg-type]
