"""The search by itself on small networks that can be solved exactly: whether it finds the optimum, and when.

The optimum is the best value of HiGHS or of the search, proved by HiGHS to a relative gap of 1e-6 (`optimum`); an
instance that HiGHS does not close in its time does not count. "gap" is what the search itself reports, relative.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
from heuristic_runs import Key, Record, Setting, ahead
from networks import torch_init, widths_of
from record import Tables

from omlt_ext import Box
from omlt_ext.formulations import BigM
from omlt_ext.heuristics import maximize
from omlt_ext.heuristics.milp import start_of
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import HighsSolver

SECONDS = 10.0
EXACT_SECONDS = 600.0
CLOSED = 1e-6
SLACK = 1e-6
NETWORKS = ("10-25", "20-25", "10-50", "5-2x20", "10-2x15", "10-2x20", "10-2x25")
SEEDS = (50, 51, 52, 53, 54)
TINY = ("3-6", "2-2x4")


def main(setting: Setting) -> Tables:
    limit, longest = setting.limit(SECONDS), 20.0 if setting.small else EXACT_SECONDS
    seeds = SEEDS[:1] if setting.small else SEEDS
    names = TINY if setting.small else setting.chosen(NETWORKS)
    cases = [(name, seed) for name in names for seed in seeds]
    ours = setting.runs.measure([(name, seed, "auto", limit) for name, seed in cases], "auto")
    exact = setting.runs.measure([(name, seed, "optimum", longest) for name, seed in cases], "optima", optimum)
    rows = [row for pair in zip(ours, exact, strict=True) if (row := compared(*pair))]
    table = pd.DataFrame(rows)
    return {"summary": summary(table, len(cases), limit), "instances": table} if rows else {}


def optimum(key: Key) -> Record:
    """The best value of an instance, and HiGHS's dual bound on it."""
    name, seed, method, limit = key
    network = torch_init(widths_of(name), seed)
    box = Box.full(network.n_inputs, 0.0, 1.0)
    begin = time.perf_counter()
    start = maximize(network, box, method="auto", time_limit=min(5.0, limit), seed=seed + 1000)
    problem = Problem.of_network(network, box).with_bounds("split")
    model = problem.model(BigM())
    solver = HighsSolver(model)
    solver.start_from(*start_of(model, problem, start.x))
    found = solver.solve(time_limit=limit, gap=0.5 * CLOSED, absolute_gap=1e-9)
    value = max(start.value, -np.inf if found.x is None else problem.value(problem.inside(found.x[: problem.n])))
    record: Record = {"network": name, "seed": seed, "method": method, "limit": limit, "value": value}
    seconds = time.perf_counter() - begin
    return record | {"bound": found.bound, "status": found.status, "seconds": seconds, "history": [[seconds, value]]}


def compared(ours: Record, exact: Record) -> dict[str, object] | None:
    """One instance on paper; None where its optimum is not proved."""
    best = max(ours["value"], exact["value"])
    if exact["bound"] is None or ahead(exact["bound"], best) > CLOSED:
        return None
    if ahead(ours["value"], exact["bound"]) > CLOSED:
        raise RuntimeError(f"{ours['network']}, seed {ours['seed']}: {ours['value']} lies above {exact['bound']}")
    when = next((seconds for seconds, value in ours["history"] if ahead(value, best) >= -SLACK), np.nan)
    row: dict[str, object] = {"network": ours["network"], "seed": ours["seed"], "optimum": f"{best:.9g}"}
    row |= {"auto": f"{ours['value']:.9g}", "behind": max(0.0, -ahead(ours["value"], best)), "found after s": when}
    gap = (ours["bound"] - ours["value"]) / max(1.0, abs(ours["value"]))
    return row | {"gap": gap, "closed": ours["status"] == "optimal", "HiGHS s": exact["seconds"]}


def summary(table: pd.DataFrame, asked: int, limit: float) -> pd.DataFrame:
    """For each size and in all."""
    groups = [*table.groupby("network", sort=False), ("all", table)]
    rows = [
        {
            "network": name,
            "solved exactly": len(part),
            "optimum found": int(part["found after s"].notna().sum()),
            "median s": part["found after s"].median(),
            "slowest s": part["found after s"].max(),
            "gap closed": int(part["closed"].sum()),
            "median gap": part["gap"].median(),
            "largest gap": part["gap"].max(),
            "HiGHS, median s": part["HiGHS s"].median(),
        }
        for name, part in groups
    ]
    rows[-1] |= {"network": f"all of {asked}, {limit:g} s"}
    return pd.DataFrame(rows)
