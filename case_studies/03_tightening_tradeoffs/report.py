"""The records on paper: tables as CSV, and the tables of the README from recorded results.

    python case_studies/03_tightening_tradeoffs/report.py      # tables and plots of results/, and the README's tables

Means of times t are shifted geometric means, exp(mean(log(t + s))) - s with s = 0.1 s. A MILP that ran into its limit
counts with the time it ran. "[a, b]" are quartiles over the cases.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from plots import draw

SHIFT = 0.1
RUNGS = ("naive", "crown", "dual", "split", "weak", "lp", "strong", "capped")
USEFUL = ("crown", "dual", "split", "weak", "strong")
SLOT = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a record of those cases that have all rungs; ratios are to the naive rung of the same case."""
    rows = pd.json_normalize(records)
    rows["case"] = rows["network"] + rows[["case.recipe.seed", "case.image"]].astype(str).agg("/".join, axis=1)
    rows = rows[rows.groupby("case")["rung"].transform("size") == len(RUNGS)].copy()
    rows["rung"] = pd.Categorical(rows["rung"], RUNGS, ordered=True)
    rows = rows.sort_values("rung", kind="stable", ignore_index=True)
    rows["relus"] = rows["case.recipe.depth"] * rows["case.recipe.width"]
    rows["open"] = rows["unstable"].map(sum) / rows["relus"]
    rows["deep_width"] = rows["width"].map(lambda widths: np.mean(widths[1:]))  # the first layer's are exact anyway
    rows["timed_out"] = rows["status"] != "optimal"
    rows["decided"] = (rows["margin_bound"] < 0.0) | (rows["start"] > 0.0)  # robust or not, without a MILP
    rows["verdict"] = np.select([rows["value"] > 0.0, rows["bound"] < 0.0], ["attacked", "robust"], "unknown")
    rows["total_seconds"] = rows["tighten_seconds"] + rows["solve_seconds"]
    for name in ("deep_width", "open"):
        rows[f"{name}_ratio"] = rows[name] / _naive(rows, name).where(lambda v: v > 0.0)
    for name in ("solve_seconds", "total_seconds"):
        rows[f"{name}_ratio"] = (rows[name] + SHIFT) / (_naive(rows, "total_seconds") + SHIFT)
    return rows


def _naive(rows: pd.DataFrame, name: str) -> pd.Series:
    first = rows[rows["rung"] == RUNGS[0]].set_index("case")[name]
    return rows["case"].map(first)


def mean_time(seconds: pd.Series) -> float:
    """The shifted geometric mean.

    >>> round(mean_time(pd.Series([0.0, 0.3])), 3)
    0.1
    """
    return float(np.exp(np.log(seconds + SHIFT).mean()) - SHIFT)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a rung, over all cases in `rows`."""
    ladder = rows[(rows["rung"] != "capped") & ~rows["timed_out"]]
    fastest = ladder.loc[ladder.groupby("case")["total_seconds"].idxmin(), "rung"].value_counts()
    lines = []
    for rung, part in rows.groupby("rung", observed=True):
        lines.append(
            {
                "rung": rung,
                "tightening s": mean_time(part["tighten_seconds"]),
                "open ReLUs": part["open"].mean(),
                "width / naive": part["deep_width_ratio"].mean(),
                "MILP s": mean_time(part["solve_seconds"]),
                "both s": mean_time(part["total_seconds"]),
                "both / naive": float(np.exp(np.log(part["total_seconds_ratio"]).mean())),
                "quartiles": "[{:.2g}, {:.2g}]".format(*part["total_seconds_ratio"].quantile([0.25, 0.75])),
                "timed out": int(part["timed_out"].sum()),
                "fastest in all": int(fastest.get(rung, 0)),
                "decided without MILP": int(part["decided"].sum()),
            }
        )
    return pd.DataFrame(lines)


def networks(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a network: accuracy, nonzero weights, verdicts, open ReLUs and seconds in all for some rungs."""
    lines = []
    for name, part in rows.groupby("network", sort=False):
        line: dict[str, Any] = {
            "network": name,
            "accuracy": part["accuracy"].mean(),
            "nonzeros": part["nonzeros"].mean(),
        }
        verdicts = part[part["verdict"] != "unknown"].groupby("case")["verdict"].first()
        line |= {"robust": int((verdicts == "robust").sum()), "cases": part["case"].nunique()}
        by_rung = {rung: part[part["rung"] == rung] for rung in RUNGS}
        line |= {f"open, {rung}": by_rung[rung]["open"].mean() for rung in ("naive", "strong")}
        seconds = {rung: mean_time(by_rung[rung]["total_seconds"]) for rung in ("naive", *USEFUL)}
        line |= {f"both s, {rung}": value for rung, value in seconds.items()}
        lines.append(line)
    return pd.DataFrame(lines)


def factors(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a level of each factor, over all cases that have it: open ReLUs and seconds in all, rung by rung."""
    lines = []
    for factor in ("depth", "width", "l1", "pruned", "decimals"):
        for level, part in rows.groupby(f"case.recipe.{factor}", dropna=False):
            groups = part.groupby("rung", observed=True)
            line: dict[str, Any] = {"factor": factor, "level": level, "cases": part["case"].nunique()}
            line |= {f"open, {rung}": share for rung, share in groups["open"].mean().items()}
            lines.append(line | {f"both s, {rung}": s for rung, s in groups["total_seconds"].apply(mean_time).items()})
    return pd.DataFrame(lines)


def layers(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean width relative to naive bounds, layer by layer, for every depth; the first hidden layer's is 1."""
    long = rows[rows["rung"] != "capped"].explode(["width", "unstable"]).reset_index(drop=True)
    long["layer"] = long.groupby(["case", "rung"], observed=True).cumcount() + 1
    naive = long[long["rung"] == RUNGS[0]].set_index(["case", "layer"])["width"]
    index = pd.MultiIndex.from_frame(long[["case", "layer"]])
    long["ratio"] = long["width"].astype(float) / naive.reindex(index).astype(float).to_numpy()
    table = (
        long[long["layer"] > 1]
        .pivot_table("ratio", ["case.recipe.depth", "layer"], "rung", observed=True)
        .reset_index()
    )
    return table.rename(columns={"case.recipe.depth": "hidden layers"})


def tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All tables by name; those that begin with "depth" are the summary of part of the cases."""
    found = {"rungs": summary(rows), "networks": networks(rows), "factors": factors(rows), "layers": layers(rows)}
    for depth, part in rows.groupby("case.recipe.depth"):
        found[f"depth_{depth}"] = summary(part)
    return found


def write(records: list[dict[str, Any]], out: Path) -> str:
    """Write tables and plots to a folder; the summary as text."""
    rows = frame(records)
    if rows.empty:
        return "no case has all its rungs yet"
    for name, table in tables(rows).items():
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.5g")
    draw(rows, out)
    cases = f"{rows['case'].nunique()} cases; seconds are shifted geometric means"
    return f"{cases}\n{summary(rows).to_string(index=False, float_format='{:.3g}'.format)}"


def refresh(results: Path, page: Path) -> None:
    """Fill the tables that a page marks, from `<!-- table: rungs -->` to `<!-- end -->`, from a folder of results."""
    found = tables(frame(read(results)))
    machine = json.loads((results / "machine.json").read_text())
    found["machine"] = pd.DataFrame([machine | machine.pop("versions")])
    page.write_text(SLOT.sub(lambda slot: f"{slot[1]}{markdown(found[slot['name']])}\n{slot[3]}", page.read_text()))


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, numbers to three digits.

    >>> print(markdown(pd.DataFrame({"rung": ["dual"], "s": [0.12345], "n": [7]})))
    | rung | s | n |
    | :-- | --: | --: |
    | dual | 0.123 | 7 |
    """
    sides = ["--:" if pd.api.types.is_numeric_dtype(kind) else ":--" for kind in table.dtypes]
    body = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(map(str, table.columns)), sides, *body])


def read(results: Path) -> list[dict[str, Any]]:
    """The records in a folder of results."""
    return [json.loads(line) for line in (results / "records.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    folder = Path(__file__).parent
    print(write(read(folder / "results"), folder / "results"))
    refresh(folder / "results", folder / "README.md")
