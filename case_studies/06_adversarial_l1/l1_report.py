"""The attacks on paper: a table of methods, the images, and the margins of all methods beside each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLOURS = {
    "highs": "#000000",
    "auto": "#c1121f",
    "relaxing_walk": "#1d4e89",
    "gradient_ascent": "#2a9d8f",
    "sample_mip": "#e9a03b",
    "auto, folded": "#5a189a",
}
SAME = 1e-6  # margins that differ by less, relative to 1 or their size, count as equal
SHOWN = 10  # images in the plot


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One line an attack: how far its margin lies below the best known of its image."""
    table = pd.DataFrame(rows)
    table["margin"] = table["margin"].astype(float)
    table["best"] = table.groupby("image")["margin"].transform("max")
    table["behind"] = (table["best"] - table["margin"]) / table["best"].abs().clip(lower=1.0)
    return table


def methods(table: pd.DataFrame) -> pd.DataFrame:
    """One row a method, over all images."""
    lines = []
    for method, part in table.groupby("method", sort=False):
        found = part["margin"].notna()
        lines.append(
            {
                "method": method,
                "images": len(part),
                "found": int(found.sum()),
                "best": int((part["behind"] <= SAME).sum()),
                "misread": int((part["margin"] > 0.0).sum()),
                "mean margin": part["margin"].mean(),
                "most behind": part["behind"].max(),
                "proved": int((part["status"] == "optimal").sum()),
                "mean s": part["seconds"].mean(),
            }
        )
    return pd.DataFrame(lines)


def text(report: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The report, a line a method."""
    table = methods(frame(rows)).to_string(index=False, float_format="{:.4g}".format)
    return (
        f"{report['network']}, accuracy {report['accuracy']:.3f} on test images\n"
        f"{table}\nmargin: wrong logit less right logit, within an l1 budget of {report['delta']:g}"
    )


def draw(rows: list[dict[str, Any]], originals: dict[int, list[float]], out: Path) -> None:
    """Write images.png and margins.png; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    table = frame(rows)
    best = table.dropna(subset="margin").sort_values("behind", kind="stable").drop_duplicates("image")
    chosen = best.sort_values("image", key=lambda image: image.map(list(originals).index))[:SHOWN].to_dict("records")
    if not chosen:
        print("no plots: no image was found", file=sys.stderr)
        return
    figure = Figure(figsize=(1.15 * len(chosen) + 1.6, 4.6), layout="constrained")
    for column, row in zip(figure.subplots(3, len(chosen), squeeze=False).T, chosen, strict=True):
        side = round(len(row["after"]) ** 0.5)
        before, after = (np.array(ink).reshape(side, side) for ink in (originals[row["image"]], row["after"]))
        column[0].imshow(before, cmap="gray_r", vmin=0, vmax=1)
        column[1].imshow(after, cmap="gray_r", vmin=0, vmax=1)
        shown = column[2].imshow(after - before, cmap="PuOr", vmin=-1, vmax=1)
        column[0].set_title(f"read as {row['digit']}", fontsize=10)
        column[1].set_title(f"read as {row['reads']}", fontsize=10)
        column[2].set_xlabel(f"{row['margin']:.2f}", fontsize=10)
        for axes in column:
            axes.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=figure.axes[2::3], shrink=0.9, label="ink added")
    figure.supxlabel("margin: wrong logit less right logit, of the best image that any search found", fontsize=11)
    _save(figure, out / "images.png")

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    names = list(table["method"].unique())
    for k, name in enumerate(names):
        part = table[table["method"] == name]
        x = [list(originals).index(image) + 0.12 * (k - len(names) / 2) for image in part["image"]]
        axes.scatter(x, part["margin"], s=26, color=COLOURS.get(name), label=name)
    axes.axhline(0.0, color="black", lw=0.8)
    axes.set(xticks=range(len(originals)), xlabel="image", ylabel="margin found; above 0 the image is misread")
    axes.set_xticklabels([table.loc[table["image"] == image, "digit"].iloc[0] for image in originals])
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(figure, out / "margins.png")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    print(f"plot: {path}", file=sys.stderr)
