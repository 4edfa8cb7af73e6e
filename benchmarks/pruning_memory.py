"""The memory and the time that the Combinatorial Brain Surgeon takes on a large network, in a process of its own.

784-262-168-10, 251,104 weights, and 1,000 samples: the Hessian would be 504 GB, the gradients of all samples 2 GB.
Alone, as JSON: python benchmarks/pruning_memory.py NETWORK SAMPLES SPARSITY
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from networks import normal_init
from record import Tables, peak_memory_mb

from omlt_ext.pruning import Data, prune
from omlt_ext.pruning.cbs import CBS

NETWORK, TINY = (784, 262, 168, 10), (20, 12, 8, 4)
SAMPLES, FEW = 1_000, 50
SPARSITIES = (0.5, 0.8, 0.95)


def main(*, small: bool = False) -> Tables:
    widths, samples = (TINY, FEW) if small else (NETWORK, SAMPLES)
    rows = []
    for sparsity in SPARSITIES:
        command = [sys.executable, __file__, "-".join(map(str, widths)), str(samples), str(sparsity)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return {"cbs": pd.DataFrame(rows)}


def alone(widths: tuple[int, ...], samples: int, sparsity: float) -> None:
    """Prune in this process and print what it took."""
    rng = np.random.default_rng(0)
    network = normal_init(widths, rng)
    X = rng.random((samples, widths[0]))
    data = Data.of((X, network(X).argmax(axis=1)), network)
    plain = prune(network, "magnitude", sparsity, data)
    before, begin = peak_memory_mb(), time.perf_counter()
    pruned = prune(network, CBS(), sparsity, data)
    seconds, after = time.perf_counter() - begin, peak_memory_mb()
    row = {
        "weights": sum(layer.weight.size for layer in network.layers),
        "samples": samples,
        "sparsity": sparsity,
        "seconds": seconds,
        "peak MB before": before,
        "peak MB": after,
        "loss, magnitude": data.loss(plain.network),
        "loss, CBS": data.loss(pruned.network),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    alone(tuple(map(int, sys.argv[1].split("-"))), int(sys.argv[2]), float(sys.argv[3]))
