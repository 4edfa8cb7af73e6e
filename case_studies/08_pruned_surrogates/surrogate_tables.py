"""The runs on paper: tables as CSV.

    python case_studies/08_pruned_surrogates/surrogate_tables.py      # tables and plots of results/ made anew

Each setting is held against the dense MILP on the same question. `first`: the seconds to the first image that the dense
network misreads. Differences are relative to the best value of any setting, with attacks to 1 where that is larger;
up to 1e-6 they count as none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from surrogate_plots import draw
from surrogate_runs import DENSE

SAME, TINY = 1e-6, 1e-12


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a run, with the value and first success of the dense MILP on its question, and the best value of all."""
    rows = pd.DataFrame(records)
    rows["value"] = rows["value"].astype(float).fillna(-np.inf)
    rows["first"] = rows["first"].astype(float).fillna(np.inf)
    dense = rows[rows["setting"] == DENSE].set_index("case")
    rows["dense value"], rows["dense first"] = rows["case"].map(dense["value"]), rows["case"].map(dense["first"])
    rows["best"] = rows.groupby("case")["value"].transform("max")
    scale = rows["best"].abs().clip(lower=(rows["task"] == "attack").map({True: 1.0, False: TINY}))
    for name, against in (("ahead", rows["dense value"]), ("behind", rows["best"])):
        with np.errstate(invalid="ignore"):
            gap = (rows["value"] - against) / scale
        rows[name] = gap.where(rows["value"] != against, 0.0)
    return rows


def attack(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a setting: what the copy is like, how soon the first misread image is there, and the margins in the end.

    "sooner" counts among the images that the setting or the dense MILP brings to be misread, "misread" among all.
    """
    lines = []
    for setting, part in rows[rows["task"] == "attack"].groupby("setting", sort=False):
        found = np.isfinite(part["first"])
        either = found | np.isfinite(part["dense first"])
        sooner = f"{(part['first'] < part['dense first']).sum()} of {either.sum()}"
        lines.append(
            {
                "setting": setting,
                "ReLUs": part["relus"].mean(),
                "accuracy": part["accuracy"].mean() if "accuracy" in part else np.nan,
                "images": len(part),
                "misread": int(found.sum()),
                "sooner": "" if setting == DENSE else sooner,
                "median s to first": part["first"].median() if found.sum() * 2 > len(part) else np.nan,
                "as good": int((part["ahead"] >= -SAME).sum()),
                "better": int((part["ahead"] > SAME).sum()),
                "best": int((part["behind"] >= -SAME).sum()),
                "mean margin": part["value"].mean(),
                "proved": int((part["status"] == "optimal").sum()),
            }
        )
    return pd.DataFrame(lines)


def maximum(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a setting, over the random networks."""
    lines = []
    for setting, part in rows[rows["task"] == "maximum"].groupby("setting", sort=False):
        lines.append(
            {
                "setting": setting,
                "networks": len(part),
                "as good": int((part["ahead"] >= -SAME).sum()),
                "better": int((part["ahead"] > SAME).sum()),
                "best": int((part["behind"] >= -SAME).sum()),
                "mean behind": part["behind"].abs().mean(),
                "most behind": part["behind"].abs().max(),
            }
        )
    return pd.DataFrame(lines)


def values(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a random network, one column a setting."""
    part = rows[rows["task"] == "maximum"]
    return part.pivot_table("value", "case", "setting", sort=False)[list(part["setting"].unique())].reset_index()


def tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All tables by name, those of a task that was not run left out."""
    made = {}
    if (rows["task"] == "attack").any():
        made["attack"] = attack(rows)
    if (rows["task"] == "maximum").any():
        made |= {"maximum": maximum(rows), "values": values(rows)}
    return made


def write(records: list[dict[str, Any]], out: Path) -> str:
    """Write tables and plots to a folder; the tables as text."""
    if not records:
        return "no question has been answered by all settings yet"
    rows, made = frame(records), []
    for name, table in tables(rows).items():
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
        made.append(table.to_string(index=False, float_format="{:.4g}".format, na_rep="-"))
    draw(rows, out)
    return "\n\n".join([f"{rows['case'].nunique()} questions, {rows['limit'].max():g} s for each setting", *made])


def read(results: Path) -> list[dict[str, Any]]:
    """The runs in a folder of results."""
    return [json.loads(line) for line in (results / "runs.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    folder = Path(__file__).parent / "results"
    print(write(read(folder), folder))
