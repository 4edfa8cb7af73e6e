"""The questions of the study: 48 images under attack, and random networks to maximise.

attack     max  f_t(x) - f_c(x)   s.t.  sum_i |x_i - a_i| <= delta,   0 <= x <= 1
maximum    max  f(x)              s.t.  0 <= x <= 1

f is the dense network; c is the class that it reads in the image a, rightly, and t its second. The attacks are those of
arXiv 2505.01985: four pairs of seeds (of the data, of the training), three sizes of images, four architectures.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyomo.environ as pyo
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from omlt_ext import Network, ReLUBlock, load_network

sys.path.append(str(Path(__file__).resolve().parents[1] / "05_relaxing_walk"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "06_adversarial_l1"))
from l1_attack import SLACK, build, classes
from l1_images import Floats, Images, load_digits_8x8, load_mnist
from walk_runs import Case as RandomNetwork

SEEDS = ((0, 0), (1, 3), (8, 12), (90, 99))  # of the data and of the training
SIDES, MNIST_SIDES = (8, 6, 5), (28, 22, 18)
DEPTHS, WIDTHS = (4, 5), (32, 64)
EPOCHS, MNIST_EPOCHS = 60, 5
DELTA = (4.5, 5.5)  # of an MNIST image with 28 pixels a side
TEST_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Question:
    """A model with one network in it; `samples`, the images and classes that it was trained with, None without any."""

    model: pyo.ConcreteModel
    network: Network
    samples: tuple[Any, Any] | None
    test: tuple[Any, Any] | None
    about: dict[str, Any]
    check: Callable[[pyo.ConcreteModel], float]

    @property
    def digest(self) -> str:
        """Of weights and settings: the same question has the same."""
        numbers = [array for layer in self.network.layers for array in (layer.dense_weight(), layer.bias)]
        parts = [array.tobytes() for array in numbers] + [repr(sorted(self.about.items())).encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


@dataclass(frozen=True)
class Attack:
    """One image under attack; `scale` of the budget, None for the side over 28 pixels with digits and 1 with MNIST."""

    data_seed: int
    train_seed: int
    side: int
    depth: int
    width: int
    scale: float | None = None

    task = "attack"

    def __str__(self) -> str:
        return f"{self.side}x{self.side} {self.depth}x{self.width} s{self.data_seed}/{self.train_seed}"

    def ask(self, source: Path | None) -> Question:
        images = split(source, self.side, self.data_seed)
        network = train(images, (self.width,) * self.depth, self.train_seed)
        rng = np.random.default_rng((self.data_seed, self.train_seed, self.side, self.depth, self.width))
        right = np.flatnonzero(network(images.x_test).argmax(axis=1) == images.y_test)
        image = int(right[rng.integers(right.size)])
        scale = self.scale or (self.side / MNIST_SIDES[0] if source is None else 1.0)
        delta = scale * float(rng.uniform(*DELTA))
        a, samples, test = images.x_test[image], (images.x_train, images.y_train), (images.x_test, images.y_test)

        def check(m: pyo.ConcreteModel) -> float:
            return margin_of(m, network, a, delta)

        return Question(build(network, a, delta), network, samples, test, {"image": image, "delta": delta}, check)


@dataclass(frozen=True)
class Maximum:
    """A random network that is maximised over the unit box: those of the study of the relaxing walk."""

    inputs: int
    depth: int
    width: int
    seed: int

    task = "maximum"

    def __str__(self) -> str:
        return f"{self.inputs}-{self.depth}x{self.width} s{self.seed}"

    def ask(self, source: Path | None) -> Question:
        network = RandomNetwork(self.inputs, self.depth, self.width, self.seed, 0.0).network()
        m = pyo.ConcreteModel()
        m.x = pyo.Var(range(self.inputs), bounds=(0.0, 1.0))
        m.nn = ReLUBlock(network, inputs=m.x)
        m.value = pyo.Objective(expr=m.nn.outputs[0], sense=pyo.maximize)

        def check(m: pyo.ConcreteModel) -> float:
            return float(network(inside(point_of(m)))[0])

        return Question(m, network, None, None, {}, check)


Case: TypeAlias = Attack | Maximum


def attacks(mnist: bool, scale: float | None = None) -> list[Attack]:
    """All 48, in rounds of twelve, one round a pair of seeds."""
    sizes = product(SEEDS, MNIST_SIDES if mnist else SIDES, DEPTHS, WIDTHS)
    return [Attack(*seeds, side, depth, width, scale) for seeds, side, depth, width in sizes]


def maxima() -> list[Maximum]:
    return [Maximum(inputs, depth, 100, 50) for inputs, depth in product((10, 100, 1000), (1, 2, 3))]


@lru_cache(maxsize=1)
def load(source: Path | None) -> Images:
    return load_digits_8x8() if source is None else load_mnist(source)


@lru_cache(maxsize=2)
def split(source: Path | None, side: int, seed: int) -> Images:
    """All images at `side` x `side` pixels, split anew by a seed."""
    whole = load(source)
    x = shrink(np.concatenate([whole.x_train, whole.x_test]), side)
    y = np.concatenate([whole.y_train, whole.y_test])
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=TEST_SHARE, stratify=y, random_state=seed)
    return Images(whole.name, whole.radius, x_train, y_train, x_test, y_test)


def shrink(x: Floats, side: int) -> Floats:
    """Square images (m, pixels) with `side` pixels a side: each is the mean ink of what it covers.

    >>> shrink(np.array([[0.0, 0.3, 0.9, 0.0, 0.3, 0.9, 0.0, 0.3, 0.9]]), 2).round(3)
    array([[0.1, 0.7, 0.1, 0.7]])
    """
    old = round(x.shape[1] ** 0.5)
    ends, at = np.linspace(0.0, old, side + 1), np.arange(old)
    covered = np.minimum(ends[1:, None], at + 1.0) - np.maximum(ends[:-1, None], at)
    mean = covered.clip(min=0.0) * (side / old)
    return np.asarray(mean @ x.reshape(-1, old, old) @ mean.T).reshape(len(x), -1)


@lru_cache(maxsize=2)
def train(images: Images, hidden: tuple[int, ...], seed: int) -> Network:
    """The network of the logits."""
    epochs = MNIST_EPOCHS if images.name == "mnist" else EPOCHS
    classifier = MLPClassifier(
        hidden, alpha=1e-3, batch_size=min(64, len(images.x_train)), max_iter=epochs, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is part of the experiment
        classifier.fit(images.x_train, images.y_train)
    return load_network(classifier, logits=True)


def margin_of(m: pyo.ConcreteModel, network: Network, image: Floats, delta: float) -> float:
    """The margin of the image in the model, by the network itself; `RuntimeError` where it breaks the budget."""
    after = inside(point_of(m))
    moved = float(np.abs(after - image).sum())
    if moved > delta + SLACK * max(1.0, delta):
        raise RuntimeError(f"the image moves {moved} of {delta}")
    right, wrong = classes(network, image)
    logits = network(after)
    return float(logits[wrong] - logits[right])


def point_of(m: pyo.ConcreteModel) -> Floats:
    return np.array([m.x[i].value for i in m.x])


def inside(x: Floats) -> Floats:
    """x; `RuntimeError` where it is not in the unit box."""
    if x.min() < -SLACK or x.max() > 1.0 + SLACK:
        raise RuntimeError(f"the point has numbers from {x.min()} to {x.max()}; the box is from 0 to 1")
    return x
