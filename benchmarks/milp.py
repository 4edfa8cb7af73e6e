"""MILP solve time with CROWN, dual and split bounds against interval bounds, the same big-M model otherwise.

Each instance is solved to HiGHS's default gap of 1e-4 by one thread, once with each kind of bounds, from the same
start: the best of 1,000 forward passes. Seconds include the bounds and the making of the model. Times at the limit are
counted at the limit. "maximum": the largest output over [-r, r]^n. "margin": the least difference between the largest
output and the second, both at a random point, over the ball of radius r around that point.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
from networks import normal_init
from record import Tables
from tqdm.auto import tqdm

from omlt_ext import Box, Network, tighten_bounds
from omlt_ext.domain import Floats
from omlt_ext.formulations import BigM
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver

TIME_LIMIT = 60.0
SHIFT = 1.0
GAP = 1e-4
EFFORTS = ("interval", "crown", "dual", "split")
STARTS = 1000


@dataclass(frozen=True)
class Family:
    task: str
    widths: tuple[int, ...]
    radius: float
    seeds: int


FAMILIES = (
    Family("maximum", (4, 25, 25, 1), 1.0, 6),
    Family("maximum", (10, 25, 25, 1), 0.25, 5),
    Family("margin", (10, 25, 25, 5), 0.2, 6),
    Family("margin", (20, 30, 30, 30, 10), 0.05, 6),
    Family("margin", (5, 40, 40, 40, 5), 0.1, 6),
)
TINY = (Family("maximum", (3, 6, 6, 1), 1.0, 2), Family("margin", (4, 6, 6, 3), 0.2, 2))


def main(*, small: bool = False) -> Tables:
    rows = []
    cases = [(family, seed) for family in (TINY if small else FAMILIES) for seed in range(family.seeds)]
    for family, seed in tqdm(cases, desc="milp", unit="instance"):
        network, box, objective = instance(family, seed)
        start = best_start(network, box, objective)
        name = {"task": family.task, "network": "-".join(map(str, family.widths)), "r": family.radius, "seed": seed}
        found = {effort: solve(network, box, objective, start, effort) for effort in EFFORTS}
        check_agreement(name, found)
        flat = {f"{key} {effort}": value for effort in EFFORTS for key, value in found[effort].items()}
        rows.append(name | flat)
    table = pd.DataFrame(rows)
    columns = [f"{key} {effort}" for key in ("seconds", "nodes", "unstable", "timed out") for effort in EFFORTS]
    return {"instances": table[["task", "network", "r", "seed", *columns]], "summary": summary(table)}


def instance(family: Family, seed: int) -> tuple[Network, Box, Floats]:
    """The network, the box, and the weights of the outputs to maximise."""
    rng = np.random.default_rng([seed, *family.widths])
    network = normal_init(family.widths, rng)
    if family.task == "maximum":
        return network, Box.full(network.n_inputs, -family.radius, family.radius), np.ones(1)
    center = rng.uniform(-1, 1, network.n_inputs)
    second, first = np.argsort(network(center))[-2:]
    objective = np.zeros(network.n_outputs)
    objective[[second, first]] = 1.0, -1.0
    return network, Box.ball(center, family.radius), objective


def best_start(network: Network, box: Box, objective: Floats) -> Floats:
    points = box.sample(STARTS, np.random.default_rng(0))
    return points[int(np.argmax(network(points) @ objective))]


def solve(network: Network, box: Box, objective: Floats, start: Floats, effort: str) -> dict[str, Any]:
    begin = time.perf_counter()
    bounds = tighten_bounds(network, box, effort)
    model = network_model(network, bounds, BigM(), objective=objective)
    solver = HighsSolver(model, {"threads": 1})
    solver.start_from(*model.networks[0].point(start))
    result = solver.solve(time_limit=TIME_LIMIT - (time.perf_counter() - begin), gap=GAP)
    seconds = time.perf_counter() - begin
    out = result.status == "time_limit"
    if not out and result.status != "optimal":
        raise RuntimeError(f"HiGHS ended with {result.status}")
    return {
        "seconds": TIME_LIMIT if out else seconds,
        "nodes": result.nodes,
        "unstable": bounds.n_unstable,
        "timed out": out,
        "value": result.value,
        "bound": result.bound,
    }


def check_agreement(name: dict[str, Any], found: dict[str, dict[str, Any]]) -> None:
    """No solve may find a point above another's dual bound."""
    for one, other in permutations(EFFORTS, 2):
        value, bound = found[one]["value"], found[other]["bound"]
        if value is not None and bound is not None and value > bound + GAP * max(1.0, abs(bound)):
            raise RuntimeError(f"{name}: {value} with {one} bounds lies above the dual bound {bound} with {other}")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """For each family and in all: shifted geometric means (shift 1 s), their ratio to interval's, and its quartiles."""
    groups: list[tuple[str, pd.DataFrame]] = [
        (f"{task} {network} r={r:g}", part)
        for (task, network, r), part in table.groupby(["task", "network", "r"], sort=False)
    ]
    rows = []
    for name, part in [*groups, ("all", table)]:
        logs = {effort: np.log(part[f"seconds {effort}"] + SHIFT) for effort in EFFORTS}
        for effort in EFFORTS:
            gain = np.exp(logs["interval"] - logs[effort])
            rows.append(
                {
                    "instances": name,
                    "number": len(part),
                    "bounds": effort,
                    "mean s": float(np.exp(logs[effort].mean()) - SHIFT),
                    "shifted ratio": float(np.exp((logs["interval"] - logs[effort]).mean())),
                    "quartiles": f"{gain.quantile(0.25):.3g}-{gain.quantile(0.75):.3g}",
                    "range": f"{gain.min():.3g}-{gain.max():.3g}",
                    "timed out": int(part[f"timed out {effort}"].sum()),
                }
            )
    return pd.DataFrame(rows)
