"""Time and width of interval, CROWN and dual bounds for 784-512-512-512-10 with PyTorch's default initialisation."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
from networks import LARGE, SEED, SMALL, default_init
from record import Tables, spread

from omlt_ext import Box, tighten_bounds

REPEATS = 7


def main(*, small: bool = False) -> Tables:
    widths = SMALL if small else LARGE
    network = default_init(widths)
    unit = Box.full(widths[0], 0, 1)
    ball = Box.ball(np.random.default_rng(SEED).random(widths[0]), 0.05, within=unit)
    rows = []
    for name, box in ((f"[0, 1]^{widths[0]}", unit), ("ball of 0.05", ball)):
        for effort in ("interval", "crown", "dual"):
            seconds = []
            for _ in range(2 if small else REPEATS):
                begin = time.perf_counter()
                bounds = tighten_bounds(network, box, effort)
                seconds.append(time.perf_counter() - begin)
            rows.append(
                {
                    "domain": name,
                    "effort": effort,
                    "seconds": float(np.median(seconds)),
                    "spread": spread(pd.Series(seconds)),
                    "runs": len(seconds),
                    "unstable": bounds.n_unstable,
                    "mean width of the last layer": float(bounds.width()[-1].mean()),
                }
            )
    return {"bounds": pd.DataFrame(rows)}
