"""Building every formulation's model of 784-256-256-10 over [0, 1]^784, in seconds per nonzero beside big-M's.

"arrays" is `network_model`, "block" a `ReLUBlock`, both with CROWN bounds that are there already; the last columns
count the time for those bounds as well, for big-M and the others alike. The formulations take turns, so that a slow
moment of the machine falls on all of them. Processor time is measured.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from networks import normal_init
from record import Tables
from tqdm.auto import tqdm

from omlt_ext import Bounds, Box, Network, ReLUBlock, tighten_bounds
from omlt_ext.encoding import Formulation
from omlt_ext.formulations import (
    SOS1,
    Auto,
    Balas,
    BigM,
    Complementarity,
    IdealCuts,
    Indicator,
    Partition,
    PSplit,
    ReducedSpace,
    TriangleRelaxation,
)
from omlt_ext.milp import network_model

WIDTHS, SMALL = (784, 256, 256, 10), (10, 8, 8, 2)
TURNS = 7
SLOW = 1.0  # seconds from which a block is built twice only


def formulations() -> dict[str, Formulation]:
    return {
        "bigm": BigM(),
        "triangle": TriangleRelaxation(),
        "reduced_space": ReducedSpace(),
        "auto": Auto(),
        "sos1": SOS1(),
        "complementarity": Complementarity(),
        "indicator": Indicator(),
        "ideal_cuts": IdealCuts(),
        "psplit, 2, interval sums": PSplit(2, effort="interval"),
        "partition, 2 in order, interval sums": Partition(2, by="order", effort="interval"),
        "partition, 2, interval sums": Partition(2, effort="interval"),
        "partition, 8, interval sums": Partition(8, effort="interval"),
        "partition, 2 (CROWN sums)": Partition(2),
        "balas": Balas(),
    }


def main(*, small: bool = False) -> Tables:
    network = normal_init(SMALL if small else WIDTHS, np.random.default_rng(0))
    box, chosen = Box.full(network.n_inputs, 0, 1), formulations()
    bounds = tighten_bounds(network, box, "crown")
    tightening = 1e3 * float(np.median([timed(tighten_bounds, network, box, "crown") for _ in range(TURNS)]))
    seconds: dict[tuple[str, str], list[float]] = {(name, way): [] for name in chosen for way in ("arrays", "block")}
    for turn in tqdm(range(1 if small else TURNS), desc="formulation_build", unit="turn"):
        for name, formulation in chosen.items():
            for way, build in (("arrays", arrays), ("block", block)):
                found = seconds[name, way]
                if turn < 2 or found[-1] < SLOW:
                    found.append(timed(build, network, bounds, formulation))
    rows = []
    for name, formulation in chosen.items():
        model = network_model(network, bounds, formulation)
        nonzeros = int(model.A.nnz) + (0 if model.logic is None else int(model.logic.A.nnz) + 2 * model.logic.n_pairs)
        row: dict[str, Any] = {"formulation": name, "columns": model.n_columns, "rows": model.n_rows}
        row["nonzeros"] = nonzeros
        for way in ("arrays", "block"):
            row[f"{way} ms"] = 1e3 * float(np.median(seconds[name, way]))
        rows.append(row)
    for row in rows:
        for way in ("arrays", "block"):
            for name, start in ((f"{way} / big-M", 0.0), (f"{way} / big-M, bounds counted", tightening)):
                own, big_m = ((start + r[f"{way} ms"]) / r["nonzeros"] for r in (row, rows[0]))
                row[name] = own / big_m
    return {"build": pd.DataFrame(rows)}


def timed(build: Callable[..., object], *arguments: object) -> float:
    gc.collect()
    begin = time.process_time()
    build(*arguments)
    return time.process_time() - begin


def arrays(network: Network, bounds: Bounds, formulation: Formulation) -> object:
    return network_model(network, bounds, formulation)


def block(network: Network, bounds: Bounds, formulation: Formulation) -> object:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(0, 1), bounds=bounds, effort="interval", formulation=formulation)
    return model
