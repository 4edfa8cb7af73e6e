"""Verdicts of many properties: how many of a group are settled, and a cactus plot of how soon.

A record of a run has `verdict` ("sat", "unsat" or "unknown") and `seconds`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SOONEST = 1e-3  # seconds; what took less is drawn there


def summary(rows: pd.DataFrame, group: str) -> pd.DataFrame:
    """One line for each value of the column `group`: verdicts, and seconds over all of its runs.

    >>> runs = [("a", "sat", 0.5), ("a", "unknown", 60.0), ("b", "unsat", 0.1)]
    >>> print(summary(pd.DataFrame(runs, columns=["family", "verdict", "seconds"]), "family").to_string(index=False))
    family  runs  unsat  sat  unknown  median s  largest s
         a     2      0    1        1     30.25       60.0
         b     1      1    0        0      0.10        0.1
    """
    lines = []
    for name, part in rows.groupby(group, sort=False):
        counts = {word: int((part["verdict"] == word).sum()) for word in ("unsat", "sat", "unknown")}
        times = {"median s": part["seconds"].median(), "largest s": part["seconds"].max()}
        lines.append({group: name, "runs": len(part), **counts, **times})
    return pd.DataFrame(lines)


def cactus(rows: pd.DataFrame, group: str, path: Path) -> None:
    """Write the plot: over t, how many runs of each group are settled that took at most t seconds each.

    Without matplotlib, say so.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots()
    end = max(float(rows["seconds"].max()), 2 * SOONEST)
    for name, part in rows.groupby(group, sort=False):
        settled = part[part["verdict"] != "unknown"]
        seconds = np.sort(settled["seconds"].to_numpy(dtype=float).clip(SOONEST))
        steps = np.concatenate([[SOONEST], seconds, [end]])
        counts = np.concatenate([np.arange(seconds.size + 1), [seconds.size]])
        axes.step(steps, counts, where="post", lw=1.8, label=f"{name}: {seconds.size} of {len(part)}")
    axes.set(xscale="log", xlabel="seconds for each", ylabel="settled within that time", ylim=(0, None))
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure and name its file on standard error."""
    figure.savefig(path, dpi=110)
    print(f"plot: {path}", file=sys.stderr)
