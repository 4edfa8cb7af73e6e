"""Samples against bounds: 10^6 points of the domain for each of 200 networks, on every rung of the ladder.

Half the points are uniform, a quarter are corners. The last quarter is searched: from the best points so far for each
neuron's two ends, coordinates are moved to one of their ends, again and again. A neuron "leaves" its bounds where the
forward pass is outside by more than its own rounding (1e-12 of the layer's largest number).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from networks import default_init, normal_init, trained_digits
from record import Tables
from tqdm.auto import tqdm

from omlt_ext import Bounds, Box, Effort, Network, tighten_bounds
from omlt_ext.domain import Floats

POINTS = 1_000_000
BATCH = 50_000
EFFORTS = (
    *(Effort(rung) for rung in ("interval", "crown", "dual")),
    Effort("split"),
    Effort("lp"),
    Effort("milp", seconds_per_solve=0.2, layers=(1,), neurons=4),
)
ROUNDING = 1e-12


def networks(small: bool) -> Iterator[tuple[str, Network, Box]]:
    """Random networks of several shapes, scales and domains, and networks trained on digits."""
    rng = np.random.default_rng(0)
    for seed in range(2 if small else 60):
        yield "PyTorch's initialisation", default_init((5, 20, 20, 20, 3), seed), Box.full(5, 0, 1)
    for _ in range(2 if small else 60):
        yield "He's initialisation", normal_init((8, 16, 16, 4), rng), Box.full(8, -1, 1)
    for _ in range(0 if small else 60):
        center = rng.uniform(-1, 1, 10)
        yield "He's, small ball", normal_init((10, 24, 24, 2), rng), Box.ball(center, 0.05)
    for seed in range(1 if small else 20):
        network, image = trained_digits((16, 16), seed=seed)
        yield "trained on digits, ball of 0.1", network, Box.ball(image, 0.1, within=Box.full(64, 0, 1))


def main(*, small: bool = False) -> Tables:
    rows = []
    for number, (kind, network, box) in enumerate(tqdm(list(networks(small)), desc="validity", unit="network")):
        rungs = {effort.rung: tighten_bounds(network, box, effort) for effort in EFFORTS}
        nested = all(
            holds(wide, tight) for wide, tight in zip([*rungs.values()][:-1], [*rungs.values()][1:], strict=True)
        )
        low, high = extremes(network, box, 2000 if small else POINTS, np.random.default_rng(number))
        for rung, bounds in rungs.items():
            outside = sum(left(bounds, k, low[k], high[k]) for k in range(len(network.layers)))
            seen = np.mean([((high[k] - low[k]) / bounds.width()[k]).mean() for k in range(1, len(network.layers))])
            rows.append({"networks": kind, "rung": rung, "outside": outside, "nested": nested, "seen": 100 * seen})
    table = pd.DataFrame(rows).groupby(["networks", "rung"], sort=False)
    summary = table.agg(
        number=("rung", "size"), outside=("outside", "sum"), nested=("nested", "all"), seen=("seen", "mean")
    )
    summary = summary.reset_index().rename(columns={"outside": "neurons outside", "seen": "width that points reach %"})
    return {"summary": summary.assign(points=2000 if small else POINTS)}


def holds(wide: Bounds, tight: Bounds) -> bool:
    """Whether the second bounds lie in the first, side by side."""
    pairs = zip(wide.lower, tight.lower, wide.upper, tight.upper, strict=True)
    return all((a <= b).all() and (c >= d).all() for a, b, c, d in pairs)


def left(bounds: Bounds, k: int, low: Floats, high: Floats) -> int:
    """Neurons of layer k that a point has taken outside their bounds."""
    slack = ROUNDING * max(1.0, float(np.abs([low, high]).max()))
    return int(((low < bounds.lower[k] - slack) | (high > bounds.upper[k] + slack)).sum())


def extremes(network: Network, box: Box, count: int, rng: np.random.Generator) -> tuple[list[Floats], list[Floats]]:
    """The least and the largest pre-activation of every neuron over all points."""
    sizes = [layer.n_out for layer in network.layers]
    low, high = ([np.full(n, value) for n in sizes] for value in (np.inf, -np.inf))
    best = np.tile(box.center, (2 * sum(sizes), 1))  # for each neuron the point of its least, then of its largest

    def see(points: Floats) -> None:
        row = 0
        for k, z in enumerate(network.pre_activations(points)):
            for ends, at, sign in ((low, z.argmin(axis=0), 1.0), (high, z.argmax(axis=0), -1.0)):
                values = z[at, np.arange(z.shape[1])]
                better = sign * values < sign * ends[k]
                ends[k][better] = values[better]
                best[row : row + better.size][better] = points[at[better]]
                row += better.size

    for first in range(0, count, BATCH):
        m = min(BATCH, count - first)
        share = first / count
        if share < 0.5:
            see(box.sample(m, rng))
        elif share < 0.75:
            see(np.where(rng.random((m, box.n)) < 0.5, box.lower, box.upper))
        else:
            points = best[rng.integers(0, len(best), m)]
            moved = rng.random((m, box.n)) < rng.uniform(0.02, 0.5, (m, 1))
            see(np.where(moved, np.where(rng.random((m, box.n)) < 0.5, box.lower, box.upper), points))
    return low, high
