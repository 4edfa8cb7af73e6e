"""The images and the classifier: scikit-learn's digits, or MNIST from files, as the third case study reads them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from omlt_ext import Network, load_network

sys.path.append(str(Path(__file__).resolve().parents[1] / "03_tightening_tradeoffs"))
from images import Images, load_digits_8x8, load_mnist

__all__ = ["Images", "load_digits_8x8", "load_mnist", "pick", "train_classifier"]

Floats = NDArray[np.float64]


def train_classifier(images: Images, hidden: tuple[int, ...], epochs: int, seed: int) -> tuple[Network, float]:
    """The network of the logits, and the accuracy of the classifier on the test images."""
    classifier = MLPClassifier(hidden_layer_sizes=hidden, alpha=0.01, max_iter=epochs, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few epochs are enough for MNIST
        classifier.fit(images.x_train, images.y_train)
    return load_network(classifier, logits=True), float(classifier.score(images.x_test, images.y_test))


def pick(images: Images, network: Network, count: int) -> list[int]:
    """Test images that the network reads correctly, going round the classes."""
    right = network(images.x_test).argmax(axis=1) == images.y_test
    of_class = [np.flatnonzero(right & (images.y_test == label)) for label in range(network.n_outputs)]
    rounds = max(len(found) for found in of_class)
    order = [int(found[k]) for k in range(rounds) for found in of_class if k < len(found)]
    return order[:count]
