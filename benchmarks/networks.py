"""The networks that the benchmarks share: random ones from a seed, and the folder of files from outside."""

from __future__ import annotations

import os
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import sparse

from omlt_ext import Layer, Network
from omlt_ext.domain import Floats

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


def torch_init(widths: tuple[int, ...], seed: int) -> Network:
    """The same as PyTorch draws it after `manual_seed(seed)`, bit for bit: the random networks of arXiv 2401.03451.

    The low 24 bits of a Mersenne twister, u in [0, 1), become 2 s u - s with s = 1/sqrt(n_in) rounded to single
    precision and the result rounded once (a fused multiply-add); weights row by row, then biases.
    """
    rng = np.random.RandomState(seed)
    layers = []
    for k, (n_in, n_out) in enumerate(pairwise(widths)):
        u = 2.0**-24 * (rng.randint(0, 2**32, size=n_out * (n_in + 1), dtype=np.uint32) & 0xFFFFFF)
        scale = float(np.float32(1 / np.sqrt(n_in)))
        drawn = (2 * scale * u - scale).astype(np.float32).astype(np.float64)
        weight, bias = drawn[: n_out * n_in].reshape(n_out, n_in), drawn[n_out * n_in :]
        layers.append(Layer(weight, bias, relu=k < len(widths) - 2))
    return Network(layers)


def normal_init(widths: tuple[int, ...], rng: np.random.Generator) -> Network:
    """He's: weights N(0, 2/n_in), biases N(0, 0.01); ReLUs in all layers but the last."""
    layers = []
    for k, (n_in, n_out) in enumerate(pairwise(widths)):
        weight, bias = rng.normal(0, np.sqrt(2 / n_in), (n_out, n_in)), rng.normal(0, 0.1, n_out)
        layers.append(Layer(weight, bias, relu=k < len(widths) - 2))
    return Network(layers)


def convolutional(side: int, channels: tuple[int, ...], seed: int = SEED) -> Network:
    """3 x 3 convolutions (the first with stride 1, the others 2) on side x side images, then 10 outputs."""
    rng = np.random.default_rng(seed)
    layers, n_in = [], 1
    for k, n_out in enumerate(channels):
        weight = convolution(rng.uniform(-1, 1, (n_out, n_in, 3, 3)) / np.sqrt(9 * n_in), side, stride := 1 + (k > 0))
        layers.append(Layer(weight, rng.uniform(-0.1, 0.1, weight.shape[0]), relu=True))
        n_in, side = n_out, -(-side // stride)
    last = rng.uniform(-1, 1, (10, layers[-1].n_out)) / np.sqrt(layers[-1].n_out)
    return Network([*layers, Layer(last, np.zeros(10), relu=False)])


def convolution(kernel: Floats, side: int, stride: int) -> sparse.csr_array:
    """The matrix of a convolution with padding 1: kernel (n_out, n_in, 3, 3) on (n_in, side, side)."""
    n_out, n_in = kernel.shape[:2]
    out = -(-side // stride)
    o, c, a, b, i, j = (axis.ravel() for axis in np.indices((n_out, n_in, 3, 3, out, out)))
    y, x = i * stride + a - 1, j * stride + b - 1
    inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
    row, column = (o * out + i) * out + j, (c * side + y) * side + x
    entries = (kernel[o, c, a, b][inside], (row[inside], column[inside]))
    return sparse.csr_array(entries, shape=(n_out * out * out, n_in * side * side))


def trained_digits(hidden: tuple[int, ...], *, side: int = 8, seed: int = SEED) -> tuple[Network, Floats]:
    """(network, image): scikit-learn's digits in [0, 1], scaled up to side x side pixels, learned to about 98 %."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    images, labels = load_digits(return_X_y=True)
    grid = np.arange(side) * 8 // side  # nearest neighbour
    images = (images / 16).reshape(-1, 8, 8)[:, grid][:, :, grid].reshape(-1, side * side)
    model = MLPClassifier(hidden, max_iter=30, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not trained to the end
        model.fit(images[:1500], labels[:1500])
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    network = Network([Layer(W.T, b, relu=k < len(layers) - 1) for k, (W, b) in enumerate(layers)])
    return network, images[1500]


def widths_of(name: str) -> tuple[int, ...]:
    """The widths of a network of one output, from inputs, hidden layers and their width.

    >>> widths_of("10-100"), widths_of("1000-2x500")
    ((10, 100, 1), (1000, 500, 500, 1))
    """
    inputs, _, hidden = name.partition("-")
    depth, _, width = hidden.rpartition("x")
    return (int(inputs), *[int(width)] * int(depth or 1), 1)


def outside_data(given: Path | None) -> Path | None:
    """The folder of networks from outside: the one given, else OMLT_EXT_OUTSIDE_DATA, else ../shared/data."""
    named = os.environ.get("OMLT_EXT_OUTSIDE_DATA")
    folder = given or (Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data")
    return folder if folder.is_dir() else None
