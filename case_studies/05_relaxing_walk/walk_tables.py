"""The runs on paper: tables as CSV.

    python case_studies/05_relaxing_walk/walk_tables.py      # tables and plots of results/ made anew

"behind" is how far a value lies below the best that any method found on that network, relative to the best's magnitude.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from walk_plots import draw

SAME = 1e-6  # values that differ by less count as equal


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a run: how far behind the best of its network, and when it had reached its own value."""
    rows = pd.DataFrame(records)
    best = rows.groupby("case")["value"].transform("max")
    rows["best"] = best
    rows["behind"] = (best - rows["value"]) / best.abs().clip(lower=1e-12)
    rows["wins"] = rows["behind"] <= SAME
    rows["last_gain"] = rows["history"].map(lambda history: history[-1][0])
    rows["size"] = [f"{inputs}-{depth}x{width}" for inputs, depth, width in rows[["inputs", "depth", "width"]].values]
    return rows


def reached(history: list[list[float]], value: float) -> float:
    """The first second at which a history is at `value`, or never (NaN).

    >>> reached([[0.5, 1.0], [2.0, 3.0]], 3.0)
    2.0
    """
    return next((when for when, found in history if found >= value), float("nan"))


def methods(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a method, over all networks in `rows`."""
    lines = []
    for method, part in rows.groupby("method", sort=False):
        goal = part["best"] - 1e-3 * part["best"].abs()
        when = [reached(history, value) for history, value in zip(part["history"], goal, strict=True)]
        lines.append(
            {
                "method": method,
                "networks": len(part),
                "best": int(part["wins"].sum()),
                "within 0.1 %": int(np.isfinite(when).sum()),
                "median s to that": float(np.nanmedian(when)) if np.isfinite(when).any() else np.nan,
                "mean behind %": 100 * part["behind"].mean(),
                "most behind %": 100 * part["behind"].max(),
            }
        )
    return pd.DataFrame(lines)


def values(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a size, one column a method: the mean value over the seeds."""
    table = rows.pivot_table("value", "size", "method", sort=False)
    return table[list(rows["method"].unique())].reset_index()


def tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All tables by name."""
    return {"methods": methods(rows), "values": values(rows)}


def write(records: list[dict[str, Any]], out: Path) -> str:
    """Write tables and plots to a folder; the tables as text."""
    if not records:
        return "no network has been searched by all methods yet"
    rows = frame(records)
    for name, table in tables(rows).items():
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.7g")
    draw(rows, out)
    text = [table.to_string(index=False, float_format="{:.4g}".format, na_rep="-") for table in tables(rows).values()]
    return "\n\n".join([f"{rows['case'].nunique()} networks, {rows['limit'].max():g} s for each method", *text])


def read(results: Path) -> list[dict[str, Any]]:
    """The runs in a folder of results."""
    return [json.loads(line) for line in (results / "runs.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    folder = Path(__file__).parent
    print(write(read(folder / "results"), folder / "results"))
