"""Three plots: what each formulation saves or costs, who is done when, and what its LP gives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLOURS = {
    "bigm": "#000000",
    "ideal_cuts": "#c1121f",
    "1 round": "#b56576",
    "cuts at nodes": "#ff7f7f",
    "partition 2": "#1d4e89",
    "partition 4": "#00a6fb",
    "psplit 2": "#5a189a",
    "balas": "#2a9d8f",
    "reduced_space": "#6a994e",
    "indicator": "#8d6e63",
    "sos1": "#6c757d",
    "auto": "#e9a03b",
    "triangle": "#adb5bd",
}
TITLES = {"highs": "HiGHS", "scip": "SCIP", "gurobi": "Gurobi"}


def draw(rows: pd.DataFrame, out: Path) -> None:
    """Write seconds.png, profile.png and lp.png, all with the main rung's bounds; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    main = rows[rows["rung"] == "dual"]
    if main.empty:
        return
    for name, plot, height in (("seconds", _seconds, 4.4), ("profile", _profile, 4.2), ("lp", _lp, 4.2)):
        figure = Figure(figsize=(12, height), layout="constrained")
        plot(figure, main)
        figure.savefig(out / f"{name}.png", dpi=110)
        print(f"plot: {out / name}.png", file=sys.stderr)


def _seconds(figure: Any, rows: pd.DataFrame) -> None:
    """One dot a problem: seconds over big-M's."""
    names = [name for name in COLOURS if name not in ("bigm", "triangle")]
    rng = np.random.default_rng(0)
    for axes, (solver, title) in zip(figure.subplots(1, 3, sharey=True), TITLES.items(), strict=True):
        ran = rows[(rows["solver"] == solver) & rows["ran"]]
        for k, name in enumerate(names):
            part = ran[ran["formulation"] == name].dropna(subset="ratio")
            if part.empty:
                continue
            x = k + rng.uniform(-0.25, 0.25, len(part))
            for out, marker in ((False, "o"), (True, "x")):
                chosen = (part["timed_out"] == out).to_numpy()
                axes.scatter(x[chosen], part["ratio"][chosen], s=22 if out else 12, marker=marker, color=COLOURS[name])
            low, middle, high = np.quantile(part["ratio"], [0.25, 0.5, 0.75])
            axes.plot([k - 0.35, k + 0.35], [middle, middle], color="black", lw=2)
            axes.fill_between([k - 0.35, k + 0.35], low, high, color=COLOURS[name], alpha=0.2, lw=0)
        axes.axhline(1.0, color="black", lw=0.8)
        axes.set(yscale="log", title=title, xticks=range(len(names)), xlim=(-0.6, len(names) - 0.4))
        axes.set_xticklabels(names, rotation=45, ha="right")
        axes.grid(alpha=0.3, axis="y")
        if solver == "highs":
            axes.set_ylabel("seconds, big-M = 1")
    figure.suptitle("Solve time beside big-M's with the same bounds: dots are problems, crosses time-outs", fontsize=11)


def _profile(figure: Any, rows: pd.DataFrame) -> None:
    """The share of problems solved within a time."""
    for axes, (solver, title) in zip(figure.subplots(1, 3, sharey=True), TITLES.items(), strict=True):
        runs = rows[rows["solver"] == solver]
        count = runs["problem"].nunique()
        for name, colour in COLOURS.items():
            part = runs[(runs["formulation"] == name) & (runs["status"] == "optimal")]
            if not part.empty:
                seconds = np.sort(part["seconds"])
                axes.step(seconds, np.arange(1, seconds.size + 1) / count, where="post", color=colour, label=name)
        axes.set(xscale="log", title=title, xlabel="seconds", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("share of problems solved")
    figure.suptitle("Problems solved to a gap of 1e-4 within a time", fontsize=11)


def _lp(figure: Any, rows: pd.DataFrame) -> None:
    """How much of the distance from big-M's LP bound to the optimum each LP closes, for each kind of problem."""
    once = rows.drop_duplicates(["problem", "formulation"])
    kinds = list(once["kind"].unique())
    names = [name for name in COLOURS if name not in ("bigm", "cuts at nodes", "auto", "reduced_space", "triangle")]
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True), kinds, strict=True):
        data = [
            once.loc[(once["kind"] == kind) & (once["formulation"] == name), "gap_closed"].dropna() for name in names
        ]
        boxes = axes.boxplot(data, patch_artist=True, medianprops={"color": "black"}, flierprops={"markersize": 3})
        for box, name in zip(boxes["boxes"], names, strict=True):
            box.set(facecolor=COLOURS[name], alpha=0.5)
        axes.set(title=kind, xticks=range(1, len(names) + 1), ylim=(-0.1, 1.05))
        axes.set_xticklabels(names, rotation=45, ha="right")
        axes.grid(alpha=0.3, axis="y")
    figure.axes[0].set_ylabel("gap closed: big-M's LP 0, optimum 1")
    figure.suptitle("What the LP relaxation gives; below 0 it is weaker than big-M's", fontsize=11)
