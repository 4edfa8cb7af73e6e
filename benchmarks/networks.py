"""The networks that the benchmarks share: random ones from a seed, and the folder of files from outside."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np

from omlt_ext import Layer, Network

LARGE = (784, 512, 512, 512, 10)
SMALL = (20, 16, 16, 16, 4)
SEED = 16


def default_init(widths: tuple[int, ...], seed: int = SEED) -> Network:
    """PyTorch's default: weights and biases U(-1/sqrt(n_in), 1/sqrt(n_in)); ReLUs in all layers but the last."""
    rng = np.random.default_rng(seed)
    layers = []
    for k, (n_in, n_out) in enumerate(pairwise(widths)):
        scale = 1 / np.sqrt(n_in)
        weight, bias = rng.uniform(-scale, scale, (n_out, n_in)), rng.uniform(-scale, scale, n_out)
        layers.append(Layer(weight, bias, relu=k < len(widths) - 2))
    return Network(layers)


def normal_init(widths: tuple[int, ...], rng: np.random.Generator) -> Network:
    """He's: weights N(0, 2/n_in), biases N(0, 0.01); ReLUs in all layers but the last."""
    layers = []
    for k, (n_in, n_out) in enumerate(pairwise(widths)):
        weight, bias = rng.normal(0, np.sqrt(2 / n_in), (n_out, n_in)), rng.normal(0, 0.1, n_out)
        layers.append(Layer(weight, bias, relu=k < len(widths) - 2))
    return Network(layers)


def outside_data(given: Path | None) -> Path | None:
    """The folder of networks from outside: the one given, else OMLT_EXT_OUTSIDE_DATA, else ../shared/data."""
    named = os.environ.get("OMLT_EXT_OUTSIDE_DATA")
    folder = given or (Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data")
    return folder if folder.is_dir() else None
