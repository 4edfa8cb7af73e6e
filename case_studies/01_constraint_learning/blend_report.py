"""The first case study on paper: its table, and its plot of quality against budget and of blends among the wines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from cellar import CASK, Cellar
from scipy.spatial import ConvexHull

INSIDE, FREE = "within the hull", "no trust region"
COLOURS = {INSIDE: "#1b1b1b", FREE: "#c1121f"}
CULTIVARS = ("#7b2d8b", "#2a9d8f", "#e9a03b")
AXES = ("flavanoids", "nonflavanoid_phenols")
PROBLEM = """\
Decided: which wines to blend, in which shares, and how to treat them. Maximised: the ratio OD280/OD315 that a trained
network predicts for the blend, within a budget per litre, the rules of the cellar and the buyer's limits.

  budget, cost                  per litre; the prices are invented
  predicted                     the network's ratio OD280/OD315 for the best blend found
  proved bound                  no blend that the model allows is predicted to have a higher ratio
  status                        optimal: prediction and bound agree to 1e-4, relative
  from hull                     distance of the blend from the mixtures of the wines that trained the network, in
                                standard deviations: 0 is interpolation, more is extrapolation
  network error, sklearn error  the solution against the network itself and against scikit-learn's predict
  nodes, seconds                of the solve, by branch and bound
"""
CAPTION = (
    "Left: dots are measured values of single wines, lines are the network's predictions for blends. A dot may lie "
    f"above a line:\nno cask may make up more than {CASK:.0%} of a blend, so a single wine is no blend, and the "
    "buyer's limits bind blends only."
)


def table(report: dict[str, Any]) -> str:
    """The problem and the report as text, budget by budget, and the blend of the middle budget in words."""
    lines = [PROBLEM, "R2 of the predicted ratio:"]
    lines += [f"  {name:24} {value:.3f}" for name, value in report["r2"].items()]
    for name in (INSIDE, FREE):
        lines += ["", f"{name}:"]
        lines += [
            "  budget   cost  predicted  proved bound  status   from hull  network error  sklearn error  nodes  seconds"
        ]
        for row in report[name]:
            if row["predicted"] is None:
                lines.append(f"  {row['budget']:6.2f}  no blend found: {row['status']}")
                continue
            lines.append(
                f"  {row['budget']:6.2f} {row['cost']:6.2f}  {row['predicted']:9.4f}  {row['bound']:12.4f}  "
                f"{row['status']:8} {row['distance_from_hull']:9.2f}  {row['network_error']:13.0e}  "
                f"{row['sklearn_error']:13.0e}  {row['nodes']:5d}  {row['seconds']:7.1f}"
            )
    lines += ["", *_recipe(report[INSIDE][len(report[INSIDE]) // 2]), f"{report['seconds']:.0f} s in all"]
    return "\n".join(lines)


def _recipe(row: dict[str, Any]) -> list[str]:
    if row["predicted"] is None:
        return []
    wines = ", ".join(f"{share:.0%} of wine {wine}" for wine, share in row["wines"].items())
    doses = ", ".join(f"{dose:.2f} doses of {name}" for name, dose in row["treatments"].items()) or "no treatment"
    label = "no cultivar on the label" if row["label"] is None else f"cultivar {row['label']} on the label"
    return [f"best blend for {row['budget']:.2f} a litre: {wines}; {doses}; {label}"]


def draw(cellar: Cellar, report: dict[str, Any], path: Path) -> None:
    """Write the plot to `path`; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    figure = Figure(figsize=(11, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    _quality(left, cellar, report)
    _bottles(right, cellar, report)
    figure.supxlabel(CAPTION, x=0.01, ha="left", fontsize=9, color="0.25")
    figure.savefig(path, dpi=110)
    print(f"plot: {path}", file=sys.stderr)


def _found(report: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in report[name] if row["predicted"] is not None]


def _quality(axes: Any, cellar: Cellar, report: dict[str, Any]) -> None:
    """Predicted ratio against budget, over the price and the measured ratio of the single wines on offer."""
    offer = np.array(cellar.offer)
    for k, colour in enumerate(CULTIVARS):
        rows = offer[cellar.cultivar[offer] == k]
        axes.scatter(cellar.price[rows], cellar.ratio[rows], s=26, color=colour, alpha=0.65, label=f"cultivar {k}")
    highest = cellar.ratio.max()
    axes.axhline(highest, color="0.5", lw=1, ls=":")
    axes.text(0.99, highest, "highest ratio measured", transform=axes.get_yaxis_transform(), **_NOTE)
    for name, style in ((INSIDE, "o-"), (FREE, "s--")):
        rows = _found(report, name)
        budgets, values = [row["budget"] for row in rows], [row["predicted"] for row in rows]
        axes.plot(budgets, values, style, color=COLOURS[name], ms=5, label=f"best blend, {name}")
    axes.set_xlabel("price or budget per litre (invented prices)")
    axes.set_ylabel("OD280/OD315 (measured; predicted for blends)")
    proved = all(row["status"] == "optimal" for name in (INSIDE, FREE) for row in _found(report, name))
    axes.set_title("Quality against budget" + (", each point proved optimal" if proved else ""), fontsize=11)
    axes.legend(fontsize=8, loc="lower right")


def _bottles(axes: Any, cellar: Cellar, report: dict[str, Any]) -> None:
    """Two of the eleven amounts: the wines, the shadow of their hull, and where the optimal blends lie."""
    points = cellar.amounts[:, [cellar.names.index(name) for name in AXES]]
    for k, colour in enumerate(CULTIVARS):
        axes.scatter(*points[cellar.cultivar == k].T, s=18, color=colour, alpha=0.6)
    corner = points[ConvexHull(points).vertices]
    axes.fill(*corner.T, color="0.85", zorder=0, label="hull of the wines (two of eleven amounts)")
    for name, marker in ((INSIDE, "o"), (FREE, "s")):
        found = np.array([[row["amounts"][a] for a in AXES] for row in _found(report, name)]).reshape(-1, 2)
        edge = {"edgecolors": "white", "linewidths": 0.8}
        axes.scatter(*found.T, s=46, marker=marker, color=COLOURS[name], label=f"best blends, {name}", **edge)
    axes.set_xlabel("flavanoids (units of the data)")
    axes.set_ylabel("nonflavanoid phenols (units of the data)")
    axes.set_title("Where the optimal bottles lie", fontsize=11)
    axes.legend(fontsize=8, loc="upper right")


_NOTE = {"ha": "right", "va": "bottom", "fontsize": 8, "color": "0.35"}
