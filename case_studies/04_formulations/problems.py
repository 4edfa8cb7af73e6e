"""Forty problems of four kinds with a network in each: random, regression, digits, blends.

* random: the largest output of a random network over [-1, 1]^n;
* regression: the largest prediction of a network trained on patients (scikit-learn's diabetes data), over their box;
* digits: how close a classifier comes to another label within a ball around an image (scikit-learn's digits);
* blends: the cheapest blend of at most three wines that a network, trained on wines, predicts to be dark enough
  (scikit-learn's wine data): the network stands in a constraint, beside rows and binaries of the model's own.

Symbols: f network, x its inputs, c weights of its outputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

from omlt_ext import Bounds, Box, Layer, Network, load_network
from omlt_ext.encoding import ZERO, Formulation, encode_network
from omlt_ext.milp import MatrixModel, ModelBuilder, network_model

Floats = NDArray[np.float64]
KINDS = ("random", "regression", "digits", "blends")
HIDDEN = {
    "random": ((20,), (12, 12), (16, 16), (10, 10, 10), (30,)),
    "regression": ((60,), (25, 25), (32, 32), (20, 20, 20), (80,)),
    "digits": ((40,), (30, 30), (40, 40), (20, 20, 20), (24, 24)),
    "blends": ((40,), (20, 20), (24, 24), (14, 14, 14), (30,)),
}
RADIUS = 0.12  # of the ball around an image, its ink being from 0 to 1
WINES, AT_MOST, COLOUR = 15, 3, 9  # candidates, wines in a blend, the column of "color_intensity"


@dataclass(frozen=True, eq=False)
class Problem:
    """A network over a box, and how to write the model around it: `write(bounds, formulation)`."""

    name: str
    kind: str
    network: Network
    box: Box
    maximize: bool
    write: Callable[[Bounds, Formulation], MatrixModel]


Key = tuple[str, tuple[int, ...], int]  # kind, hidden widths, seed


def all_problems(*, fresh: bool = False, small: bool = False) -> list[Key]:
    """Ten problems of each kind, or one tiny one; `fresh` ones have other seeds."""
    first = 10 if fresh else 0
    if small:
        return [(kind, (5, 4), first) for kind in KINDS]
    return [(kind, HIDDEN[kind][i % 5], i) for i in range(first, first + 10) for kind in KINDS]


def make(kind: str, hidden: tuple[int, ...], seed: int) -> Problem:
    """The problem; the same arguments give the same one."""
    return {"random": _random, "regression": _regression, "digits": _digits, "blends": _blends}[kind](hidden, seed)


def name_of(kind: str, hidden: tuple[int, ...], seed: int) -> str:
    """The kind, the widths of all layers and the seed."""
    inputs = {"random": 4 if seed % 2 else 8, "regression": 10, "digits": 64, "blends": 12}[kind]
    return f"{kind} {'-'.join(map(str, (inputs, *hidden, 1)))} #{seed}"


def _largest(kind: str, network: Network, box: Box, hidden: tuple[int, ...], seed: int) -> Problem:
    def write(bounds: Bounds, formulation: Formulation) -> MatrixModel:
        return network_model(network, bounds, formulation, objective=np.ones(1))

    return Problem(name_of(kind, hidden, seed), kind, network, box, True, write)


def _random(hidden: tuple[int, ...], seed: int) -> Problem:
    """Weights and biases normal, with variances 2 / n_in and 0.01."""
    rng = np.random.default_rng([seed, *hidden])
    n = 4 if seed % 2 else 8
    sizes = (n, *hidden, 1)
    layers = [
        Layer(rng.normal(0.0, np.sqrt(2.0 / a), (b, a)), rng.normal(0.0, 0.1, b), relu=k < len(hidden))
        for k, (a, b) in enumerate(pairwise(sizes))
    ]
    return _largest("random", Network(layers), Box.full(n, -1, 1), hidden, seed)


def _fitted(model: MLPRegressor | MLPClassifier, x: Floats, y: NDArray[np.generic]) -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a network that is not quite done is a network too
        model.fit(x, y)
    return load_network(model, logits=isinstance(model, MLPClassifier))


def _unit(values: Floats) -> Floats:
    """Columns moved and scaled to [0, 1]."""
    low, high = values.min(axis=0), values.max(axis=0)
    return (values - low) / (high - low)


def _regressor(hidden: tuple[int, ...], seed: int) -> MLPRegressor:
    return MLPRegressor(hidden_layer_sizes=hidden, alpha=1e-3, learning_rate_init=5e-3, max_iter=300, random_state=seed)


def _regression(hidden: tuple[int, ...], seed: int) -> Problem:
    x, y = load_diabetes(return_X_y=True)
    model = MLPRegressor(
        hidden_layer_sizes=hidden, alpha=1e-3, learning_rate_init=5e-3, max_iter=300, random_state=seed
    )
    network = _fitted(model, _unit(x), _unit(y))
    return _largest("regression", network, Box.full(x.shape[1], 0, 1), hidden, seed)


def _digits(hidden: tuple[int, ...], seed: int) -> Problem:
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16.0, y, stratify=y, random_state=0)
    model = MLPClassifier(hidden_layer_sizes=hidden, alpha=1e-3, max_iter=60, random_state=seed)
    classifier = _fitted(model, x_train, y_train)
    right = np.flatnonzero(classifier(x_test).argmax(axis=1) == y_test)
    image = x_test[right[seed]]
    second, first = np.argsort(classifier(image))[-2:]
    *body, last = classifier.layers
    margin = Layer(last.weight[[second]] - last.weight[[first]], last.bias[[second]] - last.bias[[first]], relu=False)
    box = Box.ball(image, RADIUS, within=Box.full(64, 0, 1))
    return _largest("digits", Network([*body, margin]), box, hidden, seed)


def _blends(hidden: tuple[int, ...], seed: int) -> Problem:
    """min price . s  where  f(F s) >= threshold,  sum s = 1,  0 <= s <= y,  sum y <= 3,  y binary."""
    wines = _unit(load_wine().data)
    x, colour = np.delete(wines, COLOUR, axis=1), wines[:, COLOUR]
    network = _fitted(_regressor(hidden, seed), x, colour)
    rng = np.random.default_rng(seed)
    F = x[rng.choice(len(x), WINES, replace=False)].T
    price = rng.uniform(1.0, 2.0, WINES)
    shares = np.array([_share(rng) for _ in range(2000)])
    threshold = float(np.quantile(network(shares @ F.T), 0.9))
    box = Box(F.min(axis=1), F.max(axis=1))

    def write(bounds: Bounds, formulation: Formulation) -> MatrixModel:
        builder = ModelBuilder()
        s = builder.add_columns(np.zeros(WINES), np.ones(WINES))
        y = builder.add_columns(np.zeros(WINES), np.ones(WINES), integer=True)
        v = builder.add_columns(box.lower, box.upper)
        one, many = np.ones(1), np.ones((1, WINES))
        builder.add_rows(sparse.csr_array(many), s, one, one)
        builder.add_rows(sparse.csr_array(many), y, np.zeros(1), AT_MOST * one)
        builder.add_rows(
            sparse.hstack([sparse.eye_array(WINES), -sparse.eye_array(WINES)], format="csr"),
            np.concatenate([s, y]),
            np.full(WINES, -np.inf),
            np.zeros(WINES),
        )
        builder.add_rows(
            sparse.hstack([sparse.csr_array(F), -sparse.eye_array(box.n)], format="csr"),
            np.concatenate([s, v]),
            np.zeros(box.n),
            np.zeros(box.n),
        )
        at = builder.add_network(network, encode_network(network, bounds, formulation), v)
        assert at.outputs[0] != ZERO
        builder.add_rows(sparse.csr_array([[1.0]]), at.outputs, threshold * one, np.full(1, np.inf))
        c = np.zeros(builder.n_columns)
        c[s] = price
        return builder.model(c, maximize=False)

    return Problem(name_of("blends", hidden, seed), "blends", network, box, False, write)


def _share(rng: np.random.Generator) -> Floats:
    """A random blend of at most three wines."""
    share = np.zeros(WINES)
    share[rng.choice(WINES, AT_MOST, replace=False)] = rng.dirichlet(np.ones(AT_MOST))
    return share
