"""The memory of `verify` on properties that it does not settle in the time given, each in a process of its own.

A network of PyTorch's initial weights over [0, 1]^n, and a value a little above the best one that a search finds: no
point reaches it that is easily found, and the bound comes down slowly. One tree over signs, one over boxes.
Alone, as JSON: python benchmarks/verification_memory.py NETWORK SPLIT SECONDS
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from networks import SEED, torch_init, widths_of
from record import Tables, peak_memory_mb

HARD, TINY = (("30-3x60", "relu"), ("12-3x40", "input")), (("4-2x8", "relu"),)
HOUR, MOMENT = 3600.0, 2.0
ABOVE = 0.02  # of the best value


def main(*, small: bool = False, seconds: float | None = None) -> Tables:
    limit = seconds or (MOMENT if small else HOUR)
    rows = []
    for name, split in TINY if small else HARD:
        command = [sys.executable, __file__, name, split, str(limit)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    return {"runs": pd.DataFrame(rows)}


def alone(name: str, split: str, seconds: float) -> None:
    """Verify in this process and print what it took."""
    from omlt_ext import Box
    from omlt_ext.heuristics import maximize
    from omlt_ext.verification import Disjunct, Property, verify

    network = torch_init(widths_of(name), SEED)
    box = Box.full(network.n_inputs, 0.0, 1.0)
    best = maximize(network, box, method="gradient_ascent", rounds=20).value
    assert best is not None
    goal = best + ABOVE * max(abs(best), 0.1)
    reaches = Property([Disjunct(box, -np.ones((1, 1)), [-goal])])
    first = verify(network, reaches, split=split, time_limit=1.0)
    before, begin = peak_memory_mb(), time.perf_counter()
    found = verify(network, reaches, split=split, time_limit=seconds)
    taken = time.perf_counter() - begin
    row = {"network": name, "split": split, "verdict": found.verdict, "status": found.status, "seconds": taken}
    row |= {"nodes": found.nodes, "best value": best, "asked": goal}
    row |= {"bound after 1 s": goal + first.bound, "bound": goal + found.bound}
    print(json.dumps(row | {"peak MB before": before, "peak MB": peak_memory_mb()}))


if __name__ == "__main__":
    alone(sys.argv[1], sys.argv[2], float(sys.argv[3]))
