"""LP relaxations: big-M, partitions, the extended hull (Balas) and ideal cuts; single neurons, layers, and bounds.

`neurons`: one neuron over its box with interval bounds, max h - sum a_i w_i x_i with random a_i in [0, 1]; how much of
the gap from big-M to the hull each formulation closes, on average and at worst, where there is a gap. `layers`: the LP
relaxation of whole networks with bounds by dual ascent, to its optimum: value, size and seconds; cuts in rounds until
none is violated by more than the tolerance. `bounds`: the LP rung of `tighten_bounds` alone, with cuts, and the MILP
rung with a time limit: mean width of the pre-activations after the first layer, unstable neurons and seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from networks import default_init, normal_init, trained_digits
from record import Tables
from tqdm.auto import tqdm

from omlt_ext import Bounds, Box, Effort, Layer, Network, tighten_bounds
from omlt_ext.cut_rounds import add_cuts
from omlt_ext.domain import Floats
from omlt_ext.encoding import Formulation
from omlt_ext.formulations import Balas, BigM, IdealCuts, Partition
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.solvers import HighsSolver

MANY = 200  # rounds: more than it takes
FORMULATIONS: dict[str, Formulation] = {
    "big-M": BigM(),
    "partition, 2": Partition(2),
    "partition, 4": Partition(4),
    "Balas": Balas(),
    "ideal cuts": IdealCuts(rounds=MANY, tolerance=1e-6),
}
DIGIT = np.eye(10)[0] - np.eye(10)[1]
MILP_SECONDS = 15.0


def main(*, small: bool = False) -> Tables:
    return {"neurons": neurons(small), "layers": layers(small), "bounds": bounds_table(small)}


def cases(small: bool) -> Iterator[tuple[str, Network, Box, Floats]]:
    """(name, network, box, objective): random networks; digits, on a ball around an image and on the whole box."""
    n, hidden, width = (4, (6, 6), 6) if small else (10, (20, 20, 20), 50)
    yield "random, " + name_of(hidden), normal_init((n, *hidden, 1), np.random.default_rng(1)), box_of(n), np.ones(1)
    wide = (width, width)
    yield "default, " + name_of(wide), default_init((2 * n, *wide, 1)), box_of(2 * n), np.ones(1)
    for hidden, radius in (((6,), 0.1),) if small else (((50,), 0.1), ((100, 100), 0.1), ((20, 20), 1.0)):
        network, image = trained_digits(hidden)
        box = Box(np.clip(image - radius, 0, 1), np.clip(image + radius, 0, 1))
        yield f"digits, {name_of(hidden)}, radius {radius:g}", network, box, DIGIT


def name_of(hidden: tuple[int, ...]) -> str:
    return f"{len(hidden)}x{hidden[0]}"


def box_of(n: int) -> Box:
    return Box.full(n, -1, 1)


def lp(model: MatrixModel) -> tuple[float, float, MatrixModel]:
    """Value, seconds and the model of the LP relaxation, with cuts where there are any."""
    begin = time.perf_counter()
    done = add_cuts(model)
    value = done.after
    if value is None:  # no cuts
        value = HighsSolver(model.relax()).solve().value
    assert value is not None
    return value, time.perf_counter() - begin, done.model


def neurons(small: bool) -> pd.DataFrame:
    """The part of the gap from big-M to the hull that is closed."""
    rng = np.random.default_rng(0)
    rows = []
    for n in (2, 5) if small else (2, 5, 10, 50, 200):
        closed: dict[str, list[float]] = {name: [] for name in FORMULATIONS}
        for _ in range(3 if small else 40):
            w = rng.normal(size=n)
            network = Network([Layer(w[None, :], [0.1 * rng.normal()], relu=True), Layer([[1.0]], [0.0], relu=False)])
            bounds = tighten_bounds(network, box_of(n), "interval")
            cost = np.concatenate([-w * rng.uniform(0.0, 1.0, n), [1.0]])
            values = {}
            for name, chosen in FORMULATIONS.items():
                model = network_model(network, bounds, chosen)
                embedded = model.networks[0]
                columns = np.concatenate([embedded.inputs, embedded.groups[0]["h"]])
                values[name] = lp(model.with_objective(columns, cost, maximize=True))[0]
            gap = values["big-M"] - values["Balas"]
            if gap > 1e-4:
                for name, value in values.items():
                    closed[name].append((values["big-M"] - value) / gap)
        for name, parts in closed.items():
            part = {"inputs": n, "formulation": name, "objectives": len(parts)}
            rows.append(part | {"gap closed": float(np.mean(parts)), "at worst": float(np.min(parts))})
    return pd.DataFrame(rows)


def layers(small: bool) -> pd.DataFrame:
    """The LP relaxation of whole networks."""
    rows = []
    for case, network, box, objective in tqdm(list(cases(small)), desc="layers", unit="network"):
        bounds = tighten_bounds(network, box, "dual")
        for name, chosen in (*FORMULATIONS.items(), ("ideal cuts, 20 rounds", IdealCuts())):
            value, seconds, model = lp(network_model(network, bounds, chosen, objective=objective))
            size = {"columns": model.n_columns, "rows": model.n_rows, "nonzeros": int(model.A.nnz)}
            rows.append({"network": case, "formulation": name, "LP bound": value, **size, "seconds": seconds})
    return pd.DataFrame(rows)


def bounds_table(small: bool) -> pd.DataFrame:
    """The LP rung alone and with cuts, and the MILP rung."""
    efforts = {
        "LP": Effort("lp", leaves=1),
        "LP with cuts": Effort("lp", leaves=1, formulation="ideal_cuts"),
        "MILP": Effort("milp", leaves=1, seconds=2.0 if small else MILP_SECONDS),
    }
    rows = []
    for case, network, box, _ in tqdm(list(cases(small)), desc="bounds", unit="network"):
        for name, effort in efforts.items():
            begin = time.perf_counter()
            found = tighten_bounds(network, box, effort)
            seconds = time.perf_counter() - begin
            row = {"network": case, "rung": name, "mean width": after_first(found), "unstable": found.n_unstable}
            rows.append(row | {"seconds": seconds, "finished": not found.notes})
    return pd.DataFrame(rows)


def after_first(bounds: Bounds) -> float:
    """The mean width of all pre-activations but the first layer's, which are exact from the start."""
    return float(np.concatenate(bounds.width()[1:]).mean())
