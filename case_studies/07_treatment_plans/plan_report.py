"""The clinic's answers on paper: a table of methods for each question, and a plot of the values over time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from plans import QUESTIONS

COLOURS = {
    "highs": "#000000",
    "auto": "#c1121f",
    "relaxing_walk": "#1d4e89",
    "gradient_ascent": "#2a9d8f",
    "sample_mip": "#e9a03b",
}
TITLES = {
    "total": "total progression (least)",
    "fairest": "least fall of any patient (largest)",
    "cheapest": "price of the plan (least)",
}


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One line an answer; "behind" is how much worse it is than the best answer to that question, in per cent."""
    table = pd.DataFrame([{k: v for k, v in row.items() if k not in ("sessions", "history")} for row in rows])
    table[["value", "bound"]] = table[["value", "bound"]].astype(float)
    signs = table["question"].map(lambda question: 1.0 if QUESTIONS[question] == pyo.maximize else -1.0)
    best = (signs * table["value"]).groupby(table["question"]).transform("max")
    table["behind %"] = 100 * (best - signs * table["value"]) / best.abs().clip(lower=1e-9)
    return table[["question", "method", "value", "behind %", "bound", "status", "seconds"]]


def text(report: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The report, a line an answer."""
    r2 = ", ".join(f"{name} {value:.2f}" for name, value in report["R2 held out"].items())
    table = frame(rows).to_string(index=False, float_format="{:.6g}".format, na_rep="-")
    return f"{report['patients']} patients, {report['network']} each; R2 held out: {r2}\n{table}"


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Write plans.png; without matplotlib, say so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is missing (pip install 'omlt-ext[plot]')", file=sys.stderr)
        return
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    for axes, question in zip(figure.subplots(1, 3), QUESTIONS, strict=True):
        for row in (row for row in rows if row["question"] == question and row["value"] is not None):
            end = max(row["seconds"], 0.05)
            # HiGHS keeps no history: its value counts from the end of its run
            steps = [*row["history"], [end, row["value"]]]
            seconds, values = np.array(steps, dtype=float).T
            style = {"marker": "o", "ls": ""} if len(steps) == 1 else {}
            axes.step(seconds, values, where="post", color=COLOURS.get(row["method"]), label=row["method"], **style)
        bounds = [row["bound"] for row in rows if row["question"] == question and row["bound"] is not None]
        if bounds:
            tightest = min(bounds) if QUESTIONS[question] == pyo.maximize else max(bounds)
            axes.axhline(tightest, color="grey", lw=0.8, ls="--", label="best proved bound")
        axes.set(xscale="log", xlabel="seconds", title=TITLES[question])
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.grid(alpha=0.3)
    figure.axes[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.savefig(out / "plans.png", dpi=110)
    print(f"plot: {out / 'plans.png'}", file=sys.stderr)
