"""Two plots: when images are misread, and what the settings have in the end, each against the dense MILP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLOURS = {
    "dense": "#000000",
    "surrogate": "#c1121f",
    "weights-0.5": "#90be6d",
    "weights-0.8": "#2a9d8f",
    "weights-0.9": "#00a6fb",
    "neurons-0.2": "#e9a03b",
    "neurons-0.3": "#bc6c25",
    "auto": "#5a189a",
    "relaxing_walk": "#1d4e89",
    "sample_mip": "#9a8c98",
}
SOONEST = 0.01  # seconds; what came before is drawn there


def draw(rows: pd.DataFrame, out: Path) -> None:
    """Write first.png and values.png; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    limit = rows["limit"].max()
    images = rows[rows["task"] == "attack"]
    if len(images):
        figure = Figure(figsize=(12, 4.6), layout="constrained")
        cactus, scatter = figure.subplots(1, 2)
        for setting, part in images.groupby("setting", sort=False):
            seconds = np.sort(part["first"][np.isfinite(part["first"])].clip(lower=SOONEST))
            steps = np.concatenate([[SOONEST], seconds, [limit]])
            count = np.concatenate([np.arange(len(seconds) + 1), [len(seconds)]])
            cactus.step(steps, count, where="post", lw=1.8, label=setting, **style(setting))
        cactus.set(xscale="log", xlabel="seconds", ylabel="images misread by then", title="how soon images are misread")
        never = 2.0 * limit
        for setting, part in images.groupby("setting", sort=False):
            if setting in COLOURS and setting != "dense":
                x, y = (part[name].clip(lower=SOONEST, upper=never) for name in ("dense first", "first"))
                scatter.scatter(x, y, s=18, alpha=0.7, color=COLOURS[setting])
        scatter.plot([SOONEST, never], [SOONEST, never], color="grey", lw=0.8)
        for line in (scatter.axhline, scatter.axvline):
            line(limit, color="grey", lw=0.8, ls=":")
        title = "below the line: sooner than dense; past the dots: never"
        scatter.set(xscale="log", yscale="log", xlabel="dense, seconds to the first", ylabel="seconds", title=title)
        for axes in (cactus, scatter):
            axes.grid(alpha=0.3)
        figure.legend(*cactus.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
        _save(figure, out / "first.png")

    tasks = [task for task in ("attack", "maximum") if (rows["task"] == task).any()]
    figure = Figure(figsize=(6 * len(tasks), 4.6), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        part = rows[(rows["task"] == task) & (rows["setting"] != "dense")]
        names = list(part["setting"].unique())
        gains = [part[part["setting"] == name]["ahead"].replace([np.inf, -np.inf], np.nan).dropna() for name in names]
        axes.boxplot(gains, orientation="horizontal", widths=0.6, flierprops={"markersize": 3})
        axes.axvline(0.0, color="black", lw=0.8)
        axes.set_yticks(range(1, len(names) + 1), names, fontsize=9)
        axes.invert_yaxis()
        axes.set_title("margin" if task == "attack" else "value of a random network")
        axes.set(xscale="symlog", xlabel="ahead of the dense MILP at the limit, relative")
        axes.grid(alpha=0.3, axis="x")
    _save(figure, out / "values.png")


def style(setting: str) -> dict[str, Any]:
    """Colour of a setting; tuned ones are dashed in the colour of the same copy before training."""
    name = setting.removesuffix("-tuned")
    return {"color": COLOURS[name], "ls": "-" if name == setting else "--"}


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    print(f"plot: {path}", file=sys.stderr)
