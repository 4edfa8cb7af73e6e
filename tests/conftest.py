"""Networks to test with, and the optimum over a network by brute force."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import linprog

from omlt_ext import Box, Layer, Network


def random_network(sizes: tuple[int, ...], seed: int = 0, *, relu_output: bool = False, scale: float = 1.0) -> Network:
    """Dense layers with normal weights and ReLUs between them."""
    rng = np.random.default_rng(seed)
    layers = []
    for k, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        relu = relu_output or k < len(sizes) - 2
        weight = scale * rng.normal(size=(n_out, n_in))
        layers.append(Layer(weight, scale * rng.normal(size=n_out), relu=relu))
    return Network(layers)


def every_state() -> tuple[Network, Box]:
    """Active, inactive, unstable, linear and zero-weight neurons, ties at zero, a mixed output layer, on [-1, 1]^2."""
    first = Layer(
        weight=[[1, 1], [1, -1], [1, 0.5], [0, 0], [0, 0], [0, 0], [-1, 2], [1, 1], [1, -1]],
        bias=[3, -3, 0, 0, 2, -1, 0.25, 2, -2],  # active, inactive, unstable, zero, zero+2, zero-1, linear, l=0, u=0
        relu=[True, True, True, True, True, True, False, True, True],
    )
    weight = np.array([[1, 5, -2, 1, 1, 1, 1, 0.5, 3], [-1, 2, 3, 1, 0, 1, -1, 1, 1], [0.5, 1, 1, 1, 1, 1, 1, -1, 1]])
    second = Layer(weight, [-4.0, 1.0, -2.0], relu=[True, True, False])
    third = Layer([[1.0, -1.0, 0.5], [0.5, 2.0, -1.0], [-1, -1, -0.1]], [0.1, -3.0, -30.0], relu=[False, True, True])
    return Network([first, second, third]), Box([-1, -1], [1, 1])


def optimum(network: Network, box: Box, objective: np.ndarray, *, maximize: bool = True) -> float:
    """max or min objective . f(x) over the box by enumeration: one LP for every activation pattern with a region.

    Patterns grow neuron by neuron; a branch whose region is empty already ends there.
    """
    ends = list(zip(box.lower, box.upper, strict=True))
    sign = 1.0 if maximize else -1.0

    def solve(gain: np.ndarray, rows: list[np.ndarray], sides: list[float]) -> float | None:
        region = linprog(-gain, np.array(rows) if rows else None, sides or None, bounds=ends)
        return -region.fun if region.status == 0 else None

    def layer(k: int, A: np.ndarray, c: np.ndarray, rows: list[np.ndarray], sides: list[float]) -> float:
        if k == len(network.layers):
            best = solve(sign * objective @ A, rows, sides)
            return -np.inf if best is None else best + float(sign * objective @ c)
        weight, bias = network.layers[k].dense_weight(), network.layers[k].bias
        return neuron(k, 0, weight @ A, weight @ c + bias, rows, sides)

    def neuron(k: int, j: int, A: np.ndarray, c: np.ndarray, rows: list[np.ndarray], sides: list[float]) -> float:
        if j == c.size:
            return layer(k + 1, A, c, rows, sides)
        if not network.layers[k].relu[j]:
            return neuron(k, j + 1, A, c, rows, sides)
        best = -np.inf
        for active in (True, False):
            row, side = (-A[j], c[j]) if active else (A[j], -c[j])
            more, further = [*rows, row], [*sides, side]
            if solve(np.zeros(box.n), more, further) is None:
                continue
            mask = np.arange(c.size) != j
            kept = (A, c) if active else (A * mask[:, None], c * mask)
            best = max(best, neuron(k, j + 1, *kept, more, further))
        return best

    return sign * layer(0, np.eye(box.n), np.zeros(box.n), [], [])


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Network]:
    return random_network


@pytest.fixture(scope="session")
def brute_force() -> Callable[..., float]:
    known: dict[tuple[object, ...], tuple[Network, float]] = {}  # holds the network, so that its id stays its own

    def remembered(network: Network, box: Box, objective: np.ndarray, *, maximize: bool = True) -> float:
        key = (id(network), box.lower.tobytes(), box.upper.tobytes(), objective.tobytes(), maximize)
        if key not in known:
            known[key] = network, optimum(network, box, objective, maximize=maximize)
        return known[key][1]

    return remembered


@pytest.fixture(scope="session")
def every_state_network() -> tuple[Network, Box]:
    return every_state()
