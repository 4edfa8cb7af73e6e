"""The classifiers: trained with an L1 penalty, then pruned by magnitude, then rounded to a few decimals.

Symbols: W weight, b bias, h post-activation, G the gradient of the loss

    mean over a batch of cross-entropy(softmax(f(x)), y)  +  l1 * sum |W|
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from images import Floats, Images, Labels

from omlt_ext import Layer, Network

EPOCHS, BATCH, STEP = 60, 64, 2e-3
DECAY_1, DECAY_2, TINY = 0.9, 0.999, 1e-8  # Adam's

Weights = list[tuple[Floats, Floats]]


@dataclass(frozen=True)
class Recipe:
    """How a network is made: `depth` hidden layers of `width` ReLUs, trained with `l1` from `seed`, then changed.

    `pruned`: share of all weights, the smallest ones, set to 0. `decimals`: digits kept of weights and biases.
    """

    depth: int = 3
    width: int = 30
    l1: float = 0.0
    pruned: float = 0.0
    decimals: int | None = None
    seed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.depth}x{self.width}"
            + f" l1={self.l1:g}" * (self.l1 > 0)
            + f" pruned={self.pruned:g}" * (self.pruned > 0)
            + f" decimals={self.decimals}" * (self.decimals is not None)
        )


def make_network(recipe: Recipe, images: Images) -> Network:
    """The network of a recipe; the same recipe gives the same network."""
    trained = replace(recipe, pruned=0.0, decimals=None)
    return as_network(rounded(pruned(train(trained, images), recipe.pruned), recipe.decimals))


@lru_cache(maxsize=8)
def train(recipe: Recipe, images: Images) -> Weights:
    """Adam on the loss with L1's subgradient, from He's initialisation; the step falls to 0 along a cosine."""
    rng = np.random.default_rng([recipe.seed, recipe.depth, recipe.width])
    sizes = [images.x_train.shape[1], *[recipe.width] * recipe.depth, 10]
    weights = [(rng.normal(0.0, np.sqrt(2.0 / n), (m, n)), np.zeros(m)) for n, m in pairwise(sizes)]
    means = [[np.zeros_like(p), np.zeros_like(p)] for pair in weights for p in pair]
    count, steps = len(images.x_train), EPOCHS * -(-len(images.x_train) // BATCH)
    t = 0
    for _ in range(EPOCHS):
        order = rng.permutation(count)
        for start in range(0, count, BATCH):
            batch, t = order[start : start + BATCH], t + 1
            step = STEP * 0.5 * (1.0 + np.cos(np.pi * t / steps))
            slopes = gradient(weights, images.x_train[batch], images.y_train[batch], recipe.l1)
            for p, G, mean in zip([p for pair in weights for p in pair], slopes, means, strict=True):
                mean[0] += (1.0 - DECAY_1) * (G - mean[0])
                mean[1] += (1.0 - DECAY_2) * (G * G - mean[1])
                root = np.sqrt(mean[1] / (1.0 - DECAY_2**t)) + TINY
                p -= step * mean[0] / (1.0 - DECAY_1**t) / root
    return weights


def gradient(weights: Weights, x: Floats, y: Labels, l1: float) -> list[Floats]:
    """The loss's gradient for W and b of every layer in turn; `x` (m, n_in), `y` (m,)."""
    h = [x]
    for k, (W, b) in enumerate(weights):
        z = h[-1] @ W.T + b
        h.append(z if k == len(weights) - 1 else np.maximum(z, 0.0))
    shares = np.exp(h[-1] - h[-1].max(axis=1, keepdims=True))
    G = shares / shares.sum(axis=1, keepdims=True)
    G[np.arange(len(y)), y] -= 1.0
    G /= len(y)
    found: list[Floats] = []
    for (W, _), before in zip(reversed(weights), reversed(h[:-1]), strict=True):
        found[:0] = [G.T @ before + l1 * np.sign(W), G.sum(axis=0)]
        G = (G @ W) * (before > 0)
    return found


def pruned(weights: Weights, share: float) -> Weights:
    """The smallest `share` of all weights together set to 0; biases stay, and nothing is trained again."""
    sizes = np.concatenate([np.abs(W).ravel() for W, _ in weights])
    cut = np.sort(sizes)[int(share * sizes.size)]
    return [(np.where(np.abs(W) >= cut, W, 0.0), b) for W, b in weights]


def rounded(weights: Weights, decimals: int | None) -> Weights:
    """Weights and biases to so many decimals."""
    return weights if decimals is None else [(W.round(decimals), b.round(decimals)) for W, b in weights]


def as_network(weights: Weights) -> Network:
    """ReLUs after every layer but the last, whose outputs are the logits."""
    return Network([Layer(W, b, relu=k < len(weights) - 1) for k, (W, b) in enumerate(weights)])


def accuracy(network: Network, images: Images) -> float:
    """The share of test images that the network labels correctly."""
    return float((network(images.x_test).argmax(axis=1) == images.y_test).mean())
