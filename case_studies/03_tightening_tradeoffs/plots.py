"""Three plots: what each rung costs and gives, what it saves, and how training changes both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLOURS = {
    "naive": "#6c757d",
    "crown": "#2a9d8f",
    "dual": "#1d4e89",
    "split": "#00a6fb",
    "weak": "#e9a03b",
    "lp": "#c1121f",
    "strong": "#5a189a",
    "capped": "#adb5bd",
}


MARK = {"fmt": "o", "ms": 6, "lw": 1, "capsize": 2}


def draw(rows: pd.DataFrame, out: Path) -> None:
    """Write tightness.png, seconds.png and training.png; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    ladder = rows[rows["rung"] != "capped"].copy()
    ladder["rung"] = ladder["rung"].cat.remove_unused_categories()
    for name, plot, shown, height in (
        ("tightness", _tightness, ladder, 4.2),
        ("seconds", _seconds, rows, 4.4),
        ("training", _training, ladder, 1.6 + 0.33 * rows["network"].nunique()),
    ):
        figure = Figure(figsize=(11, height), layout="constrained")
        plot(figure, shown)
        figure.savefig(out / f"{name}.png", dpi=110)
        print(f"plot: {out / name}.png", file=sys.stderr)


def _tightness(figure: Any, rows: pd.DataFrame) -> None:
    """Tightening time against what is left of the naive width and of the naive bounds' open ReLUs."""
    labels = {
        "deep_width_ratio": "width of layers after the first, naive = 1",
        "open_ratio": "ReLUs left open, naive = 1",
    }
    left, right = figure.subplots(1, 2, sharex=True)
    for axes, (name, label) in zip((left, right), labels.items(), strict=True):
        for rung, part in rows.groupby("rung", observed=True):
            x, y = _spread(part["tighten_seconds"]), _spread(part[name].dropna())
            axes.errorbar(
                *(x[1], y[1]),
                xerr=[[x[1] - x[0]], [x[2] - x[1]]],
                yerr=[[y[1] - y[0]], [y[2] - y[1]]],
                color=COLOURS[str(rung)],
                label=rung,
                **MARK,
            )
        axes.set(xscale="log", xlabel="tightening, seconds (median and quartiles)", ylabel=label)
        axes.grid(alpha=0.3)
    left.set(yscale="log")
    right.set(ylim=(0, 1.05))
    right.legend(fontsize=8)
    figure.suptitle(f"What each rung costs and what it gives: {rows['case'].nunique()} cases", fontsize=11)


def _spread(values: pd.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Quartiles, the median between them."""
    return np.quantile(values, [0.25, 0.5, 0.75])


def _seconds(figure: Any, rows: pd.DataFrame) -> None:
    """One dot a case: the MILP alone, and with its tightening; time-outs as crosses."""
    rungs = list(rows["rung"].cat.categories)
    rng = np.random.default_rng(0)
    sides = figure.subplots(1, 2, sharey=True)
    for axes, name, title in zip(
        *(sides, ("solve_seconds", "total_seconds"), ("the MILP alone", "tightening and MILP")), strict=True
    ):
        for k, rung in enumerate(rungs):
            part = rows[rows["rung"] == rung]
            x = k + rng.uniform(-0.25, 0.25, len(part))
            for out, marker in ((False, "o"), (True, "x")):
                chosen = (part["timed_out"] == out).to_numpy()
                axes.scatter(x[chosen], part[name][chosen], s=22 if out else 12, marker=marker, color=COLOURS[rung])
            low, middle, high = _spread(part[name])
            axes.plot([k - 0.35, k + 0.35], [middle, middle], color="black", lw=2)
            axes.fill_between([k - 0.35, k + 0.35], low, high, color=COLOURS[rung], alpha=0.2, lw=0)
        axes.set(yscale="log", title=title, xticks=range(len(rungs)), xticklabels=rungs)
        axes.grid(alpha=0.3, axis="y")
    sides[0].set_ylabel("seconds")
    figure.suptitle("Seconds to the proved maximum: dots are cases, crosses time-outs, bars medians", fontsize=11)


def _training(figure: Any, rows: pd.DataFrame) -> None:
    """Networks side by side: the share of open ReLUs, and the seconds in all."""
    names = list(rows["network"].unique())
    left, right = figure.subplots(1, 2, sharey=True)
    for rung in rows["rung"].cat.categories:
        part = rows[rows["rung"] == rung].groupby("network", sort=False)
        offset = 0.1 * (list(COLOURS).index(rung) - 3)
        y = np.arange(len(names)) + offset
        style = {"s": 24, "color": COLOURS[rung], "label": rung}
        left.scatter(part["open"].mean().reindex(names), y, **style)
        right.scatter(part["total_seconds"].median().reindex(names), y, **style)
    left.set(yticks=range(len(names)), yticklabels=names, xlabel="ReLUs left open, share of all", xlim=(0, 1))
    left.invert_yaxis()
    right.set(xscale="log", xlabel="tightening and MILP, seconds (median)")
    figure.legend(*right.get_legend_handles_labels(), fontsize=8, ncols=7, loc="outside lower center")
    for axes in (left, right):
        axes.grid(alpha=0.3)
