"""Time and width of interval and CROWN bounds for 784-512-512-512-10 with PyTorch's default initialisation.

Run from the repository root: python benchmarks/bounds.py
Prints a table: domain, effort, seconds (best and median of the repeats), unstable ReLUs, mean width of the last layer.
"""

from __future__ import annotations

import os
import platform
import time
from itertools import pairwise

import numpy as np

from omlt_ext import Box, Layer, Network
from omlt_ext.tightening import tighten_bounds

WIDTHS = (784, 512, 512, 512, 10)
SEED = 16
REPEATS = 7


def random_network(rng: np.random.Generator) -> Network:
    """Weights and biases U(-1/sqrt(fan_in), 1/sqrt(fan_in)), ReLUs in all layers but the last."""
    layers = []
    for k, (n_in, n_out) in enumerate(pairwise(WIDTHS)):
        scale = 1 / np.sqrt(n_in)
        weight, bias = rng.uniform(-scale, scale, (n_out, n_in)), rng.uniform(-scale, scale, n_out)
        layers.append(Layer(weight, bias, relu=k < len(WIDTHS) - 2))
    return Network(layers)


def main() -> None:
    rng = np.random.default_rng(SEED)
    network = random_network(rng)
    unit = Box.full(WIDTHS[0], 0, 1)
    ball = Box.ball(rng.random(WIDTHS[0]), 0.05, within=unit)
    print(f"{network}, seed {SEED}; {platform.machine()}, {os.cpu_count()} CPUs, NumPy {np.__version__}")
    print(f"{'domain':<16}{'effort':<10}{'best s':>9}{'median s':>10}{'unstable':>10}{'last mean width':>17}")
    for name, box in (("[0, 1]^784", unit), ("ball 0.05", ball)):
        for effort in ("interval", "crown"):
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                bounds = tighten_bounds(network, box, effort)
                seconds.append(time.perf_counter() - start)
            width = float(bounds.width()[-1].mean())
            line = f"{min(seconds):>9.3f}{np.median(seconds):>10.3f}{bounds.n_unstable:>10d}{width:>17.3f}"
            print(f"{name:<16}{effort:<10}{line}")


if __name__ == "__main__":
    main()
