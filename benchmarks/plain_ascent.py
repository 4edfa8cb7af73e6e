"""Plain multi-start projected gradient ascent, the opponent of the heuristics: no LP, no elites, no memory.

    max  c . f(x)   over a box

A batch of uniform starts climbs together, one matrix product a layer in single precision, by Adam's rule in units of
the box, projected onto it; the step falls geometrically, so that the batch ends within a hair of its kinks. Then a
fresh batch, until the time is up. Every `LOOK` steps the best of a batch is evaluated again in double precision.

`FIRST`, `LAST`, `STEPS` and `WORK` were chosen by value at 10 s on networks of other seeds than those measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from omlt_ext import Box, Network
from omlt_ext.domain import Floats

FIRST, LAST = 1.0, 1e-5  # of the box, the first and the last step
STEPS = 300
WORK = 2e9  # multiplications in a batch's step
BATCH = (64, 1024)
LOOK = 10
BEST = 8  # of a batch, evaluated in double precision
FADE, FADE_SQUARE = 0.9, 0.999

Singles = NDArray[np.float32]
History = list[tuple[float, float]]


def plain_ascent(
    network: Network, box: Box, objective: Floats, *, time_limit: float, seed: int
) -> tuple[Floats, History]:
    """(x, history): the best point, and (seconds, value) whenever there was a better one."""
    begin = time.perf_counter()
    rng = np.random.default_rng(seed)
    slope = Slope(network, box, objective)
    best, history = box.center, [(0.0, -np.inf)]
    while time.perf_counter() - begin < time_limit:
        for points in climb(slope, rng.random((slope.batch, box.n), dtype=np.float32)):
            x = box.lower + np.clip(points, 0.0, 1.0).astype(np.float64) * box.width
            values = network(x) @ objective
            i = int(np.argmax(values))
            seconds = time.perf_counter() - begin
            if values[i] > history[-1][1] and seconds <= time_limit:
                best = x[i]
                history.append((seconds, float(values[i])))
            if seconds > time_limit:
                break
    return best, history[1:]


def climb(slope: Slope, u: Singles) -> Iterator[Singles]:
    """From u (m, n) in [0, 1]: the best few points of the batch, now and then; Adam with bias correction."""
    mean, square = np.zeros_like(u), np.zeros_like(u)
    work = np.empty_like(u)
    for t in range(STEPS):
        values, gradient = slope(u)
        if t % LOOK == 0:
            yield u[np.argpartition(-values, BEST)[:BEST]]
        mean *= FADE
        mean += np.multiply(gradient, 1 - FADE, out=work)
        square *= FADE_SQUARE
        np.multiply(gradient, gradient, out=work)
        work *= 1 - FADE_SQUARE
        square += work
        step = FIRST * (LAST / FIRST) ** (t / (STEPS - 1))
        np.multiply(square, 1 / (1 - FADE_SQUARE ** (t + 1)), out=work)
        np.sqrt(work, out=work)
        work += np.float32(1e-12)
        np.divide(mean, work, out=work)
        work *= step / (1 - FADE ** (t + 1))
        u += work
        np.clip(u, 0.0, 1.0, out=u)
    values, _ = slope(u)
    yield u[np.argpartition(-values, BEST)[:BEST]]


class Slope:
    """Values (m,) and gradients (m, n) of the objective at points u (m, n) in units of the box."""

    def __init__(self, network: Network, box: Box, objective: Floats) -> None:
        weights = [layer.dense_weight() for layer in network.layers]
        biases = [layer.bias for layer in network.layers]
        biases[0] = biases[0] + weights[0] @ box.lower
        weights[0] = weights[0] * box.width
        biases[-1], weights[-1] = objective @ biases[-1], (objective @ weights[-1])[None]
        self.weights = [np.ascontiguousarray(W, dtype=np.float32) for W in weights]
        self.biases = [np.asarray(b, dtype=np.float32) for b in biases]
        self.relu = [layer.relu for layer in network.layers[:-1]]
        self.batch = int(np.clip(WORK / sum(W.size for W in weights) / 4, *BATCH))

    def __call__(self, u: Singles) -> tuple[Singles, Singles]:
        h, on = u, []
        for W, b, relu in zip(self.weights[:-1], self.biases[:-1], self.relu, strict=True):
            z = h @ W.T
            z += b
            active = (z > 0.0) | ~relu
            on.append(active)
            h = np.multiply(z, active, out=z)
        values = h @ self.weights[-1][0] + self.biases[-1]
        back = np.repeat(self.weights[-1], len(u), axis=0)
        for W, active in zip(self.weights[-2::-1], on[::-1], strict=True):
            back *= active
            back = back @ W
        return values, back
