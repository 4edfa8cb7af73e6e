"""Proofs of optimality side by side: this package's branch and bound, and MILP solvers on the same network.

    max  f(x)   to   bound - value <= 1e-4 max(1, |value|),   f a network of `torch_init`

over [0, 1]^n, or over balls of the maximum norm around a random point. All have one thread, the same bounds of the
neurons (effort "dual") and the same start, one round of gradient ascent. The start is the only part that is not timed:
bounds, the big-M model and the solver's reading of it are. Alone, as JSON:
python benchmarks/exact.py NETWORK SEED METHOD SECONDS
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
from heuristic_runs import Key, Record, Setting, available, key_of
from networks import torch_init, widths_of
from record import Tables

from omlt_ext import Box, Network, branch_and_bound
from omlt_ext.domain import Floats
from omlt_ext.errors import LicenceError
from omlt_ext.formulations import BigM
from omlt_ext.heuristics import maximize
from omlt_ext.heuristics.milp import start_of
from omlt_ext.propagation.backend import has_numba
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import open_solver, raised

OURS, FUSED = "branch_and_bound", "branch_and_bound, numba"
BACKENDS = {OURS: "numpy", FUSED: "numba"}
OTHERS = {"HiGHS": "highs", "SCIP": "scip", "Gurobi": "gurobi"}
OPTIONS = {"highs": {"threads": 1}, "scip": {}, "gurobi": {}}  # the last two have one thread here unless told otherwise
GAP, EFFORT = 1e-4, "dual"
SECONDS, SMALL_SECONDS = 120.0, 10.0
BOXES = ("10-1x50", "10-2x25", "10-2x40", "20-2x40", "50-1x50", "100-1x50")
BALLS = ("100-2x50", "100-3x50", "784-2x50")
RADIUS = {16: 0.02, 17: 0.03, 18: 0.05}  # of the ball, by the seed of its network
TINY, WARM = ("4-2x8", "100-2x4"), "2-1x3"
TINY_BALLS = TINY[-1:]
ROUNDING = 1e-9  # relative, of a value
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def main(setting: Setting) -> Tables:
    limit = setting.limit(SMALL_SECONDS if setting.small else SECONDS)
    ours = [OURS, *([FUSED] if has_numba() else [])]
    methods = [*ours, *available(list(OTHERS))]
    names = TINY if setting.small else setting.chosen([*BOXES, *BALLS])
    seeds = list(RADIUS)[:1] if setting.small else list(RADIUS)
    keys = [(name, seed, method, limit) for name in names for seed in seeds for method in methods]
    if not keys:
        return {}
    runs = pd.DataFrame(map(judged, setting.runs.measure(keys, "exact", alone)))
    runs = runs[runs["status"] != "too large"]
    check(runs)
    others = [method for method in methods[len(ours) :] if (runs["method"] == method).any()]
    summary = pd.DataFrame([against(runs, other, mine) for mine in ours for other in others])
    columns = ["network", "seed", "radius", "method", "seconds", "processor s", "gap", "nodes", "value", "bound"]
    return {"summary": summary, "instances": beside(runs), "runs": runs[[*columns, "status"]]}


def alone(key: Key) -> Record:
    """One run in a process of its own, whose libraries have one thread each."""
    command = [sys.executable, __file__, *map(str, key)]
    one = os.environ | dict.fromkeys(THREADS, "1")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=one)
    found: Record = json.loads(done.stdout.splitlines()[-1])
    assert key_of(found) == key
    return found


def run(key: Key) -> Record:
    """One run in this process, after a tiny one that loads what the method needs."""
    name, seed, method, limit = key
    solve(*instance(WARM, seed), method, 1.0)
    network, box = instance(name, seed)
    return {"network": name, "seed": seed, "method": method, "limit": limit} | solve(network, box, method, limit)


def instance(name: str, seed: int) -> tuple[Network, Box]:
    """The network, and [0, 1]^n or what of it lies in the ball."""
    network = torch_init(widths_of(name), seed)
    n = network.n_inputs
    if name not in (*BALLS, *TINY_BALLS):
        return network, Box.full(n, 0.0, 1.0)
    center = np.random.default_rng(seed).random(n)
    lower, upper = (np.clip(center + r, 0.0, 1.0) for r in (-RADIUS[seed], RADIUS[seed]))
    return network, Box(lower, upper)


def solve(network: Network, box: Box, method: str, limit: float) -> Record:
    """Value, bound, status, nodes, seconds and processor seconds of one method."""
    start = maximize(network, box, method="gradient_ascent", rounds=1).x
    assert start is not None
    begin, processor = time.perf_counter(), time.process_time()
    record = (
        by_search(network, box, limit, start, BACKENDS[method])
        if method in BACKENDS
        else by_milp(network, box, OTHERS[method], limit, start, begin)
    )
    return record | {"seconds": time.perf_counter() - begin, "processor s": time.process_time() - processor}


def by_search(network: Network, box: Box, limit: float, start: Floats, backend: str) -> Record:
    """What this package's branch and bound ends with."""
    found = branch_and_bound(network, box, time_limit=limit, gap=GAP, effort=EFFORT, start=start, backend=backend)
    assert found.value is not None
    return ended(found.value, found.bound, found.status, found.nodes)


def by_milp(network: Network, box: Box, name: str, limit: float, start: Floats, begin: float) -> Record:
    """The same of a MILP solver; its bound is raised by its tolerance, its point evaluated by the network."""
    problem = Problem.of_network(network, box).with_bounds(EFFORT)
    model = problem.model(BigM())
    value = problem.value(start)
    try:
        solver = open_solver(name, model, OPTIONS[name])
        solver.start_from(*start_of(model, problem, start))
        left = max(0.0, limit - (time.perf_counter() - begin))
        found = solver.solve(time_limit=left, gap=GAP, absolute_gap=GAP)
    except LicenceError:
        return ended(value, None, "too large", 0)
    if found.x is not None:
        value = max(value, problem.value(problem.inside(found.x[: problem.n])))
    bound = None if found.bound is None else raised(found.bound)
    return ended(value, bound, found.status, found.nodes)


def ended(value: float, bound: float | None, status: str, nodes: int) -> Record:
    """What a run leaves; without a bound where none was proved."""
    known = bound if bound is not None and np.isfinite(bound) else None
    return {"value": value, "bound": known, "status": status, "nodes": nodes}


def judged(record: Record) -> dict[str, Any]:
    """A run on paper: what it says it has closed, its gap, and its seconds, the limit where it has not closed."""
    value, bound, ball = record["value"], record["bound"], record["network"] in (*BALLS, *TINY_BALLS)
    closed = record["status"] == "optimal"
    gap = np.inf if bound is None else max(0.0, bound - value) / max(1.0, abs(value))
    more = {"closed": closed, "gap": gap, "bound": np.inf if bound is None else bound}
    more |= {"time": min(record["seconds"], record["limit"]) if closed else record["limit"]}
    return record | more | {"radius": RADIUS[record["seed"]] if ball else np.nan}


def check(runs: pd.DataFrame) -> None:
    """Raise where the network has a value above a bound that some method has proved."""
    best = runs.groupby(["network", "seed"])["value"].transform("max")
    wrong = runs[best > runs["bound"] + ROUNDING * best.abs().clip(lower=1.0)]
    if len(wrong):
        rows = wrong.assign(best=best)[["network", "seed", "method", "bound", "best"]].to_string(index=False)
        raise RuntimeError(f"values above bounds that were proved:\n{rows}")


def paired(runs: pd.DataFrame, mine: str, other: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Our runs and another's, on the instances that both have."""
    parts = [runs[runs["method"] == method].set_index(["network", "seed"]) for method in (mine, other)]
    both = parts[0].index.intersection(parts[1].index, sort=False)
    return parts[0].loc[both], parts[1].loc[both]


def against(runs: pd.DataFrame, other: str, mine: str = OURS) -> dict[str, Any]:
    """How many times faster `mine` is where either closes, the limit counting as the time of the one that does not.

    The ratio of processor times is of those that both close: on a busy machine it says more than the clock.
    """
    ours, theirs = paired(runs, mine, other)
    either, neither = ours["closed"] | theirs["closed"], ~(ours["closed"] | theirs["closed"])
    times = (theirs["time"] / ours["time"])[either]
    processor = (theirs["processor s"] / ours["processor s"])[ours["closed"] & theirs["closed"]]
    return {
        "method": mine,
        "against": other,
        "limit s": runs["limit"].max(),
        "instances": len(ours),
        "either closes": int(either.sum()),
        "only ours": int((ours["closed"] & ~theirs["closed"]).sum()),
        "only theirs": int((theirs["closed"] & ~ours["closed"]).sum()),
        "times faster, mean": float(np.exp(np.log(times).mean())),
        "processor time, mean": float(np.exp(np.log(processor).mean())),
        "least": times.min(),
        "least on": "{} s{}".format(*times.idxmin()) if len(times) else "",
        "5 times faster": int((times >= 5.0).sum()),
        "faster": int((times > 1.0).sum()),
        "neither closes": int(neither.sum()),
        "smaller gap": int((ours["gap"] < theirs["gap"])[neither].sum()),
    }


def beside(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each instance: seconds of the methods that close it, gaps at the limit of the others."""
    shown = [f"{run.seconds:.3g} s" if run.closed else f"gap {run.gap:.2g}" for run in runs.itertuples()]
    names = runs.assign(shown=shown, radius=runs["radius"].map(lambda radius: "" if np.isnan(radius) else f"{radius}"))
    order = list(dict.fromkeys(runs["method"]))
    wide = names.pivot(index=["network", "seed", "radius"], columns="method", values="shown")
    first = names.drop_duplicates(["network", "seed"])
    return wide.loc[list(zip(first["network"], first["seed"], first["radius"], strict=True)), order].reset_index()


if __name__ == "__main__":
    print(json.dumps(run((sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])))))
