"""The second case study on paper: its table, and the images before, after, and what was changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def table(report: dict[str, Any]) -> str:
    """The report as text, a line an image."""
    lines = [f"{report['network']}, accuracy {report['accuracy']:.3f} on held-out images"]
    lines += ["  from  to  first flip    cost  proved bound  pixels  status   binaries  network error   nodes  seconds"]
    for row in report["images"]:
        if row["after"] is None:
            lines.append(f"  {row['digit']:4d}  {row['status']}")
            continue
        lines.append(
            f"  {row['digit']:4d}  {row['becomes']:2d}  {row['first_cost']:10.4f}  {row['cost']:6.4f}  "
            f"{row['bound']:12.4f}  {row['pixels']:6d}  {row['status']:8} {row['binaries']:8d}  "
            f"{row['network_error']:13.0e}  {row['nodes']:6d}  {row['seconds']:7.1f}"
        )
    lines += ["costs in units of ink: a pixel holds 0 to 1, so 1.0 turns one pixel from white to black"]
    return "\n".join([*lines, f"{report['seconds']:.0f} s in all"])


def draw(report: dict[str, Any], path: Path) -> None:
    """Write the plot to `path`; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    rows = [row for row in report["images"] if row["after"] is not None]
    if not rows:
        print("no plot: no flip was found", file=sys.stderr)
        return
    figure = Figure(figsize=(1.15 * len(rows) + 1.6, 4.6), layout="constrained")
    grid = figure.subplots(3, len(rows), squeeze=False)
    for column, row in zip(grid.T, rows, strict=True):
        before, after = (np.array(row[name]).reshape(8, 8) for name in ("before", "after"))
        column[0].imshow(before, cmap="gray_r", vmin=0, vmax=1)
        column[1].imshow(after, cmap="gray_r", vmin=0, vmax=1)
        shown = column[2].imshow(after - before, cmap="PuOr", vmin=-1, vmax=1)
        column[0].set_title(f"read as {row['digit']}", fontsize=10)
        column[1].set_title(f"read as {row['becomes']}", fontsize=10)
        column[2].set_xlabel(f"{row['cost']:.2f}", fontsize=10)
        for axes in column:
            axes.set(xticks=[], yticks=[])
    for axes, name in zip(grid[:, 0], ("image", "changed", "change"), strict=True):
        axes.set_ylabel(name, fontsize=11)
    figure.colorbar(shown, ax=grid[2, :].tolist(), shrink=0.9, label="ink added")
    proved = all(row["status"] == "optimal" for row in rows)
    figure.supxlabel(
        f"ink moved in all{', each proved to be the least that flips the classifier' * proved}", fontsize=11
    )
    figure.savefig(path, dpi=110)
    print(f"plot: {path}", file=sys.stderr)
