"""The images, the classifier, and a first flip that is quick to find: scikit-learn's digits, 8 x 8, ink in [0, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from omlt_ext import Network

Floats = NDArray[np.float64]
STEP = 0.05  # the most ink that one step of the search moves


def train_classifier(hidden: tuple[int, ...], seed: int) -> tuple[MLPClassifier, float, Floats]:
    """The fitted classifier, its accuracy on the held-out quarter, and the images of that quarter it gets right."""
    images, digits = load_digits(return_X_y=True)
    images = images / 16.0  # the data count ink from 0 to 16
    train, test, train_digits, test_digits = train_test_split(images, digits, stratify=digits, random_state=seed)
    classifier = MLPClassifier(hidden_layer_sizes=hidden, alpha=0.01, max_iter=1000, random_state=seed)
    classifier.fit(train, train_digits)
    right = classifier.predict(test) == test_digits
    return classifier, float(right.mean()), test[right]


def first_flip(network: Network, image: Floats, margin: float) -> Floats | None:
    """An image, not far in l1, that another class wins by `margin`; None where the search finds none.

    For each other class: move the pixel that helps most, along the gradient of logit(other) - logit(own), a step at a
    time. A gradient is one affine map, because within a linear region the network is one.
    """
    own = int(np.argmax(network(image)))
    found = [flip for t in range(network.n_outputs) if t != own and (flip := _climb(network, image, own, t, margin))]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _climb(network: Network, image: Floats, own: int, other: int, margin: float) -> tuple[float, Floats] | None:
    """(cost, image) of the flip to `other`, by at most 20 / STEP steps."""
    x = image.copy()
    for _ in range(round(20 / STEP)):
        logits = network(x)
        missing = margin - (logits[other] - logits[own])
        if missing <= 0:
            return float(np.abs(x - image).sum()), x
        slope, _ = network.affine_map(network.pattern(x))
        gradient = slope[other] - slope[own]
        room = np.where(gradient > 0, 1.0 - x, x)
        i = int(np.argmax(np.abs(gradient) * (room > 0)))
        if gradient[i] == 0:
            return None
        # a hair more than the linear map asks for, so that rounding does not leave the margin just short
        x[i] += np.sign(gradient[i]) * min(room[i], STEP, missing / abs(gradient[i]) * (1 + 1e-9))
    return None
