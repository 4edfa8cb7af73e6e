"""The memory that the search by itself takes on a large network, in a process that does nothing else.

1000-3x500 over [0, 1]^1000. Alone, as JSON: python benchmarks/heuristics_memory.py NETWORK SECONDS
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pandas as pd
from heuristic_runs import Setting
from networks import torch_init, widths_of
from record import Tables, peak_memory_mb

from omlt_ext import Box
from omlt_ext.heuristics import maximize

NETWORK, TINY = "1000-3x500", "20-3x10"
SEED = 50
SECONDS = 60.0


def main(setting: Setting) -> Tables:
    rows = []
    for name in [TINY] if setting.small else setting.chosen([NETWORK]):
        command = [sys.executable, __file__, name, str(setting.limit(SECONDS))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return {"auto": pd.DataFrame(rows)} if rows else {}


def alone(name: str, limit: float) -> None:
    """Search in this process and print what it took."""
    network = torch_init(widths_of(name), SEED)
    box = Box.full(network.n_inputs, 0.0, 1.0)
    before, begin = peak_memory_mb(), time.perf_counter()
    found = maximize(network, box, time_limit=limit, seed=SEED)
    seconds, after = time.perf_counter() - begin, peak_memory_mb()
    row = {"network": name, "ReLUs": network.n_relus, "seconds": seconds, "peak MB": after, "peak MB before": before}
    print(json.dumps(row | {"value": found.value}))


if __name__ == "__main__":
    alone(sys.argv[1], float(sys.argv[2]))
