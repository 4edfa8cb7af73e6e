"""Widths and times along the effort ladder, against LP and MILP OBBT of the same layers.

LP OBBT is this package's own LP rung, layer by layer, every layer over the LP bounds of the layers before, without the
split rung: two LPs for each neuron, warm-started. Its time includes the interval, CROWN and dual rungs that it starts
from; so do the other times. The sides of the table `splits` are the sizes of the trees. MILP OBBT is the MILP rung over
dual bounds, with a time limit for each bound, on the widest neurons of one layer; its time is that of a bound, times
the bounds of the layer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from networks import default_init, trained_digits
from record import Tables, spread
from tqdm.auto import tqdm

from omlt_ext import Bounds, Box, Effort, Network, tighten_bounds

LEAVES = (16, 32, 64)
REPEATS = 5
MILP_SECONDS = 20.0
MILP_NEURONS = 6
MILP_LEAVES = (32, 128, 512)


def cases(small: bool) -> Iterator[tuple[str, Network, Box]]:
    """Networks with PyTorch's default initialisation over boxes and a ball, and networks trained on digits."""
    if small:
        yield "10-3x10 over its box", default_init((10, 10, 10, 10, 3)), Box.full(10, 0, 1)
        return
    wide = default_init((784, 100, 100, 100, 10))
    yield "784-3x100-10 over its box", wide, Box.full(784, 0, 1)
    center = np.random.default_rng(0).random(784)
    yield "784-3x100-10, ball of 0.05", wide, Box.ball(center, 0.05, within=Box.full(784, 0, 1))
    yield "100-3x100-10 over its box", default_init((100, 100, 100, 100, 10)), Box.full(100, 0, 1)
    trained, _ = trained_digits((100, 100, 100))
    yield "trained 64-3x100-10 over its box", trained, Box.full(64, 0, 1)
    large, image = trained_digits((100, 100, 100), side=28)
    yield "trained 784-3x100-10, ball of 0.05", large, Box.ball(image, 0.05, within=Box.full(784, 0, 1))


def main(*, small: bool = False) -> Tables:
    dual, splits, layers = [], [], []
    bar = tqdm(list(cases(small)), desc="ladder", unit="network")
    for name, network, box in bar:
        repeats = 1 if small else REPEATS
        lp, lp_seconds = timed(network, box, Effort("lp", leaves=1))
        runs = [timed(network, box, Effort("dual")) for _ in range(repeats)]
        seconds = pd.Series([run[1] for run in runs])
        excess = [100 * (width(runs[0][0], k) / width(lp, k) - 1) for k in range(1, len(network.layers))]
        row = {"network": name, "LP s": lp_seconds, "dual s": seconds.median(), "spread": spread(seconds)}
        row |= {"times faster": lp_seconds / seconds.median(), "worst layer above LP %": max(excess)}
        dual.append(row | {"all layers above LP %": 100 * (total(runs[0][0]) / total(lp) - 1)})
        for leaves in (4,) if small else LEAVES:
            found, took = timed(network, box, Effort("split", leaves=leaves))
            below = [100 * (1 - width(found, k) / width(lp, k)) for k in range(1, len(network.layers))]
            row = {"network": name, "leaves": leaves, "LP s": lp_seconds, "split s": took}
            row |= {"share of LP time": took / lp_seconds}
            splits.append(row | {f"layer {k + 1} below LP %": value for k, value in enumerate(below)})
        layers += [{"network": name, "layer": k, "LP mean width": width(lp, k)} for k in range(len(network.layers))]
    tables = {"dual": pd.DataFrame(dual), "split": pd.DataFrame(splits), "widths": pd.DataFrame(layers)}
    return tables | {"milp": against_milp(small)}


def against_milp(small: bool) -> pd.DataFrame:
    """The widest neurons of the last hidden layer: MILP OBBT with a limit for each bound, and trees of growing size."""
    if small:
        network, box, k = default_init((8, 8, 8, 3)), Box.full(8, 0, 1), 1
    else:
        network, box, k = trained_digits((100, 100), side=28)[0], Box.full(784, 0, 1), 1
    limit, neurons = (0.5, 2) if small else (MILP_SECONDS, MILP_NEURONS)
    strong = Effort("milp", leaves=1, layers=(k,), neurons=neurons, seconds_per_solve=limit)
    base = tighten_bounds(network, box, Effort("lp", leaves=1, layers=(k,), neurons=neurons))
    exact, seconds = timed(network, box, strong, base)
    chosen = np.sort(np.argsort(-base.width()[k], kind="stable")[:neurons])
    all_bounds, shown = network.layers[k].n_out / neurons * seconds, float(base.width()[k][chosen].mean())
    rows = [{"bounds": "LP", "mean width": shown, "below LP %": 0.0, "s for the layer": np.nan}]
    reached = float(exact.width()[k][chosen].mean())
    rows.append({"bounds": f"MILP, {limit:g} s a bound", "mean width": reached, "s for the layer": all_bounds})
    for leaves in (8,) if small else MILP_LEAVES:
        found, took = timed(network, box, Effort("split", leaves=leaves, layers=(k,)))
        mean = float(found.width()[k][chosen].mean())
        rows.append({"bounds": f"split, {leaves} leaves", "mean width": mean, "s for the layer": took})
    table = pd.DataFrame(rows)
    table["below LP %"] = 100 * (1 - table["mean width"] / shown)
    table["share of MILP time"] = table["s for the layer"] / all_bounds
    return table


def timed(network: Network, box: Box, effort: Effort, bounds: Bounds | None = None) -> tuple[Bounds, float]:
    begin = time.perf_counter()
    found = tighten_bounds(network, box, effort, bounds=bounds)
    return found, time.perf_counter() - begin


def width(bounds: Bounds, k: int) -> float:
    return float(bounds.width()[k].mean())


def total(bounds: Bounds) -> float:
    """The mean width of all layers after the first."""
    return float(np.concatenate(bounds.width()[1:]).mean())
