"""Two plots: how far behind the best each method is over time, and on how many networks it is near the best, when."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLOURS = {
    "RW, published": "#1d4e89",
    "RRW, random flips": "#00a6fb",
    "SW, uniform starts": "#90be6d",
    "Sample-MIP": "#e9a03b",
    "relaxing_walk": "#5a189a",
    "gradient_ascent": "#2a9d8f",
    "auto": "#c1121f",
    "HiGHS": "#000000",
}
FLOOR = 1e-6  # nearer to the best counts as there


def draw(rows: pd.DataFrame, out: Path) -> None:
    """Write history.png and near_best.png; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    times = np.geomspace(0.01, rows["limit"].max(), 200)
    inputs, depths = sorted(rows["inputs"].unique()), sorted(rows["depth"].unique())
    figure = Figure(figsize=(3.4 * len(depths) + 2.4, 2.4 * len(inputs) + 1.4), layout="constrained")
    grid = figure.subplots(len(inputs), len(depths), squeeze=False, sharex=True, sharey=True)
    for axes_row, n in zip(grid, inputs, strict=True):
        for axes, depth in zip(axes_row, depths, strict=True):
            part = rows[(rows["inputs"] == n) & (rows["depth"] == depth)]
            for method, runs in part.groupby("method", sort=False):
                behind = np.median([behind_at(run, times) for run in runs.to_dict("records")], axis=0)
                axes.step(times, np.maximum(behind, FLOOR), where="post", color=COLOURS[method], lw=1.5, label=method)
            axes.set(xscale="log", yscale="log", ylim=(0.7 * FLOOR, 2.0))
            axes.set_title(f"{n} inputs, {depth} hidden layer{'s' if depth > 1 else ''}", fontsize=10)
            axes.grid(alpha=0.3)
    figure.supxlabel("seconds")
    figure.supylabel("behind the best, relative (median)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    _save(figure, out / "history.png")

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, near in zip(figure.subplots(1, 2, sharey=True), (1e-3, FLOOR), strict=True):
        for method, runs in rows.groupby("method", sort=False):
            share = np.mean([behind_at(run, times) <= near for run in runs.to_dict("records")], axis=0)
            axes.step(times, share, where="post", color=COLOURS[method], lw=1.8, label=method)
        title = "within 0.1 % of the best" if near > FLOOR else "at the best, to 1e-6"
        axes.set(xscale="log", xlabel="seconds", title=title, ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of networks")
    figure.axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(figure, out / "near_best.png")


def behind_at(run: dict[str, Any], times: Any) -> Any:
    """How far the run is behind its network's best at some times; 1 where it has nothing yet."""
    seconds, values = np.array(run["history"]).T
    behind = (run["best"] - np.maximum.accumulate(values)) / max(abs(run["best"]), 1e-12)
    at = np.searchsorted(seconds, times, side="right") - 1
    return np.where(at < 0, 1.0, np.minimum(behind[np.maximum(at, 0)], 1.0))


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    print(f"plot: {path}", file=sys.stderr)
