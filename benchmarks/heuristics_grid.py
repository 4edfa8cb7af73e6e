"""The search by itself against plain gradient ascent, HiGHS and SCIP: thirty-six random networks, equal times.

The networks are those of arXiv 2401.03451 and smaller ones: 10, 100 and 1000 inputs, one to three hidden layers of 50,
100, 200 and 500 neurons, maximised over [0, 1]^n. HiGHS and SCIP have the big-M model with dual bounds, and the best of
the same forward passes to start from. Differences are relative; up to 1e-6 they count as none. What the others find up
to 5 % after the time counts for them, since some of them tell of a point only as they end.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from heuristic_runs import Record, Setting, ahead, available, value_at
from record import Tables

OURS = "auto"
OTHERS = ("plain ascent", "milp", "SCIP")
SHOWN = {"milp": "HiGHS"}
SECONDS, FULL_SECONDS = 15.0, 60.0
EARLY = 10.0
INPUTS, DEPTHS, WIDTHS = (10, 100, 1000), (1, 2, 3), (50, 100, 200, 500)
GRID = tuple(
    f"{inputs}-{'' if depth == 1 else f'{depth}x'}{width}" for inputs, depth, width in product(INPUTS, DEPTHS, WIDTHS)
)
SEEDS = (50, 51)
TINY = ("3-6", "4-2x8")
SLACK = 1e-6
LATE = 1.05


def main(setting: Setting) -> Tables:
    limit = setting.limit(FULL_SECONDS if setting.full else SECONDS)
    methods = available([OURS, *OTHERS])
    names = TINY if setting.small else setting.chosen(GRID)
    cases = [(name, seed) for seed in (SEEDS if setting.full else SEEDS[:1]) for name in names]
    keys = [(name, seed, method, limit) for name, seed in cases for method in methods]
    records = setting.runs.measure(keys, "grid")
    if not records:
        return {}
    groups = [dict(zip(methods, records[k : k + len(methods)], strict=True)) for k in range(0, len(keys), len(methods))]
    times = sorted({min(EARLY, limit), limit})
    shares = [share(groups, other, when) for when in times for other in methods[1:]]
    return {"shares": pd.DataFrame(shares), "instances": pd.DataFrame([instance(group, limit) for group in groups])}


def share(groups: list[dict[str, Record]], other: str, when: float) -> dict[str, Any]:
    """On how many instances our value after `when` seconds is at least as good as another method's, and better."""
    late = LATE * when
    gains = np.array([ahead(value_at(group[OURS], when), value_at(group[other], late)) for group in groups])
    return {
        "against": SHOWN.get(other, other),
        "after s": when,
        "instances": len(gains),
        "at least as good": int((gains >= -SLACK).sum()),
        "better": int((gains > SLACK).sum()),
        "median ahead": float(np.median(gains)),
        "most behind": float(max(0.0, -gains.min())),
    }


def instance(group: dict[str, Record], limit: float) -> dict[str, Any]:
    """The values of one instance, and whose is the best."""
    values = {
        SHOWN.get(method, method): value_at(record, limit if method == OURS else LATE * limit)
        for method, record in group.items()
    }
    best = max(values.values())
    first = group[OURS]
    row: dict[str, Any] = {"network": first["network"], "seed": first["seed"]}
    row |= {name: f"{value:.8g}" for name, value in values.items()}
    row["best"] = ", ".join(name for name, value in values.items() if ahead(value, best) >= -SLACK)
    return row | {"auto's gap": first["bound"] - first["value"]}
