"""The sign of the least output of each collision avoidance network over its own box, proved through ReLUBlock.

The file's name ends in its label: SAT, an output <= 0 is reachable in the box; UNSAT, it is not. UNSAT counts as proved
where HiGHS's dual bound, lowered by its tolerance, is above 0; SAT where the network itself, evaluated at the point
that HiGHS found, moved into the box, gives at most 0. Nothing else counts.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from record import Tables

from omlt_ext import ReLUBlock, load_network

TIME_LIMIT = 60.0
TOLERANCE = 1e-6  # of HiGHS's dual bound, relative to max(1, |bound|): its feasibility tolerance
SMALL_COUNT = 2


def main(data: Path, *, small: bool = False) -> Tables:
    paths = sorted(data.rglob("*SAT.nnet"))
    rows = [prove(path) for path in (paths[::40][:SMALL_COUNT] if small else paths)]
    table = pd.DataFrame(rows, columns=["file", "label", "proved", "status", "least", "bound", "unstable", "seconds"])
    agree = table["label"] == table["proved"]
    summary = {
        "networks": len(table),
        "agree": int(agree.sum()),
        "undecided": int((table["proved"] == "").sum()),
        "contradict": int((~agree & (table["proved"] != "")).sum()),
        "smallest |minimum|": table["least"].abs().min(),
        "median s": table["seconds"].median(),
        "longest s": table["seconds"].max(),
        "all s": table["seconds"].sum(),
    }
    return {"networks": table, "summary": pd.DataFrame([summary])}


def prove(path: Path) -> dict[str, Any]:
    """Minimise the output over the box of the file; `seconds` cover the block, the bounds and the solve."""
    network = load_network(path)
    box = network.input_box
    assert box is not None
    begin = time.perf_counter()
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, effort="crown")
    model.least = pyo.Objective(expr=model.nn.outputs[0])
    results = pyo.SolverFactory("omlt_ext.highs").solve(model, time_limit=TIME_LIMIT)
    seconds = time.perf_counter() - begin
    x = np.array([variable.value for variable in model.nn.inputs.values()], dtype=np.float64)
    least = float(network(np.clip(x, box.lower, box.upper))[0])
    bound = float(results.problem.lower_bound)
    proved = "SAT" if least <= 0 else "UNSAT" if bound - TOLERANCE * max(1.0, abs(bound)) > 0 else ""
    return {
        "file": path.name,
        "label": path.stem.rsplit("_", 1)[1],
        "proved": proved,
        "status": str(results.solver.termination_condition),
        "least": least,
        "bound": bound,
        "unstable": model.nn.activation_bounds.n_unstable,
        "seconds": seconds,
    }
