"""Two plots: by when how many images are misread, and how far behind the best each setting ends."""

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
    "plain-0.8": "#cdb4db",
    "plain-0.9": "#ffafcc",
    "auto": "#5a189a",
    "relaxing_walk": "#1d4e89",
    "sample_mip": "#9a8c98",
}
TITLES = {"attack": "margins of images", "maximum": "maxima of random networks"}
SOONEST = 0.01  # seconds; what came before is drawn there


def draw(rows: pd.DataFrame, out: Path) -> None:
    """Write first.png and values.png; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    images = rows[rows["task"] == "attack"]
    if len(images):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        axes = figure.subplots()
        for setting, part in images.groupby("setting", sort=False):
            seconds = np.sort(part["first"][np.isfinite(part["first"])].clip(lower=SOONEST))
            steps = np.concatenate([[SOONEST], seconds, [rows["limit"].max()]])
            count = np.concatenate([np.arange(len(seconds) + 1), [len(seconds)]])
            axes.step(steps, count, where="post", lw=1.8, label=setting, **style(setting))
        axes.set(xscale="log", xlabel="seconds", ylabel="images misread by then", ylim=(-0.5, images["case"].nunique()))
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
        _save(figure, out / "first.png")

    tasks = [task for task in ("attack", "maximum") if (rows["task"] == task).any()]
    figure = Figure(figsize=(6 * len(tasks), 4.8), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        part = rows[(rows["task"] == task) & np.isfinite(rows["behind"])]
        names = list(part["setting"].unique())
        behind = [-part[part["setting"] == name]["behind"] for name in names]
        axes.boxplot(behind, widths=0.6, flierprops={"markersize": 3})
        axes.set_xticks(range(1, len(names) + 1), names, fontsize=9, rotation=60, ha="right")
        axes.set(ylabel="behind the best of all settings, relative", title=TITLES[task])
        axes.grid(alpha=0.3, axis="y")
    _save(figure, out / "values.png")


def style(setting: str) -> dict[str, Any]:
    """Colour of a setting; tuned ones are dashed in the colour of the same copy before training."""
    name = setting.removesuffix("-tuned")
    return {"color": COLOURS[name], "ls": "-" if name == setting else "--"}


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    print(f"plot: {path}", file=sys.stderr)
