"""Dual bounds of large networks: seconds and the peak memory of a process that does nothing else.

784-512-512-512-10 over [0, 1]^784, and a convolutional network with about 10,000 ReLUs on 28 x 28 images over a ball of
0.05. One case alone, as JSON: python benchmarks/large.py CASE
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from networks import LARGE, SMALL, convolutional, default_init
from record import Tables, peak_memory_mb

from omlt_ext import Box, Network, tighten_bounds

CASES = {"dense": (LARGE, SMALL), "convolutional": ((28, 8, 16, 4), (6, 2, 2, 1))}


def main(*, small: bool = False) -> Tables:
    rows = []
    for case in CASES:
        command = [sys.executable, __file__, case, *(["--small"] if small else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return {"dual": pd.DataFrame(rows)}


def network_and_box(case: str, small: bool) -> tuple[Network, Box]:
    sizes = CASES[case][small]
    network = default_init(sizes) if case == "dense" else convolutional(sizes[0], sizes[1:])
    unit = Box.full(network.n_inputs, 0, 1)
    center = np.random.default_rng(16).random(network.n_inputs)
    return network, unit if case == "dense" else Box.ball(center, 0.05, within=unit)


def alone(case: str, small: bool) -> None:
    """Measure one case in this process and print it."""
    network, box = network_and_box(case, small)
    before, begin = peak_memory_mb(), time.perf_counter()
    bounds = tighten_bounds(network, box, "dual")
    seconds, after = time.perf_counter() - begin, peak_memory_mb()
    row = {"network": case, "ReLUs": network.n_relus, "seconds": seconds, "peak MB": after, "peak MB before": before}
    print(json.dumps(row | {"unstable": bounds.n_unstable}))


if __name__ == "__main__":
    alone(sys.argv[1], "--small" in sys.argv)
