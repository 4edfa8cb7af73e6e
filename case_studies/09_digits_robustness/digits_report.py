"""The verdicts on paper: tables by radius and by method, and the counterexamples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1]))
from verdicts import cactus, save, summary


def tables(rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """A line a radius, of `verify` over all images; "methods" over the balls that all methods have judged."""
    table = pd.DataFrame(rows)
    asked = table.groupby(["image", "radius"])["method"].transform("nunique") == table["method"].nunique()
    return {"radii": summary(table[table["method"] == "verify"], "radius"), "methods": summary(table[asked], "method")}


def text(report: dict[str, Any], made: dict[str, pd.DataFrame]) -> str:
    """The report, a line a radius and a line a method."""
    title = f"{report['network']}, accuracy {report['accuracy']:.3f} on test images; l{report['norm']} balls in [0, 1]"
    return "\n\n".join([title, *(part.to_string(index=False) for part in made.values())])


def draw(rows: list[dict[str, Any]], originals: dict[int, list[float]], out: Path) -> None:
    """Write counterexamples.png and cactus.png; without matplotlib, say so."""
    table = pd.DataFrame(rows)
    cactus(table[table["method"] == "verify"], "radius", out / "cactus.png")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    found = [row for row in rows if row["verdict"] == "sat" and row["method"] == "verify"]
    smallest = {row["digit"]: row for row in sorted(found, key=lambda row: -row["radius"])}  # the smallest ball
    chosen = sorted(smallest.values(), key=lambda row: int(row["digit"]))
    if not chosen:
        print("no plot of counterexamples: none was found", file=sys.stderr)
        return
    figure = Figure(figsize=(1.15 * len(chosen) + 1.6, 4.6), layout="constrained")
    grid = figure.subplots(3, len(chosen), squeeze=False)
    reach = max(float(np.abs(np.array(row["after"]) - originals[row["image"]]).max()) for row in chosen)
    for column, row in zip(grid.T, chosen, strict=True):
        side = round(len(row["after"]) ** 0.5)
        before, after = (np.array(ink).reshape(side, side) for ink in (originals[row["image"]], row["after"]))
        column[0].imshow(before, cmap="gray_r", vmin=0, vmax=1)
        column[1].imshow(after, cmap="gray_r", vmin=0, vmax=1)
        shown = column[2].imshow(after - before, cmap="PuOr", vmin=-reach, vmax=reach)
        column[0].set_title(f"read as {row['digit']}", fontsize=10)
        column[1].set_title(f"read as {row['reads']}", fontsize=10)
        column[2].set_xlabel(f"{row['radius']:g}", fontsize=10)
        for axes in column:
            axes.set(xticks=[], yticks=[])
    for axes, name in zip(grid[:, 0], ("image", "counterexample", "difference"), strict=True):
        axes.set_ylabel(name, fontsize=11)
    figure.colorbar(shown, ax=grid[2, :].tolist(), shrink=0.9, label="ink added")
    figure.supxlabel("radius of the ball", fontsize=11)
    save(figure, out / "counterexamples.png")
