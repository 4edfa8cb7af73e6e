"""The records on paper: tables as CSV, plots, and the tables of the README from recorded results.

    python case_studies/04_formulations/tables.py      # tables and plots of results/, and the README's tables

Means of times t are shifted geometric means, exp(mean(log(t + s))) - s with s = 0.1 s. Seconds of a run are those of
the rounds of cuts and of the solver. Runs that ended at their limit count with the time they took; runs that a solver
refused are left out. Ratios to big-M are of t + s, with the same problem, bounds and solver.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pictures import draw

SHIFT = 0.1
FORMULATIONS = (
    "bigm",
    "ideal_cuts",
    "1 round",
    "cuts at nodes",
    "partition 2",
    "partition 4",
    "psplit 2",
    "balas",
    "reduced_space",
    "indicator",
    "sos1",
    "auto",
    "triangle",
)
RUNGS = ("interval", "dual")
MAIN_RUNG = "dual"
RAN = ("optimal", "time_limit")
SLOT = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a run; `seconds` with the cuts', `shifted` with the shift, `ratio` to big-M's, `gap` closed by the LP."""
    rows = pd.DataFrame(records)
    rows["formulation"] = pd.Categorical(rows["formulation"], FORMULATIONS, ordered=True)
    rows["rung"] = pd.Categorical(rows["rung"], RUNGS, ordered=True)
    rows["fresh"] = rows["problem"].str.rpartition("#")[2].astype(int) >= 10
    rows["ran"] = rows["status"].isin(RAN)
    rows["timed_out"] = rows["status"] == "time_limit"
    rows["seconds"] = rows["seconds"] + rows["cut_seconds"]
    rows["shifted"] = rows["seconds"] + SHIFT
    best = rows.dropna(subset="value").assign(signed=lambda r: r["value"] * np.where(r["maximize"], 1.0, -1.0))
    optimum = best.groupby("problem")["signed"].max()
    sign = np.where(rows["maximize"], 1.0, -1.0)
    rows["excess"] = rows["lp"] * sign - rows["problem"].map(optimum)  # how far the LP bound lies from the optimum
    plain = rows[rows["formulation"] == "bigm"]
    keys = ["problem", "rung", "solver"]
    big_m = plain[plain["ran"]].set_index(keys)["shifted"]
    rows["ratio"] = rows["shifted"] / _looked_up(rows, keys, big_m)
    excess = plain.drop_duplicates(["problem", "rung"]).set_index(["problem", "rung"])["excess"]
    own = _looked_up(rows, ["problem", "rung"], excess)
    rows["gap_closed"] = (1.0 - rows["excess"] / own.where(own > 1e-9)).clip(-9.99, 1.0)
    return rows


def _looked_up(rows: pd.DataFrame, keys: list[str], values: pd.Series) -> pd.Series:
    """The value of each row's keys."""
    return pd.Series(pd.MultiIndex.from_frame(rows[keys]).map(values), rows.index, dtype=float)


def mean_time(seconds: pd.Series) -> float:
    """The shifted geometric mean.

    >>> round(mean_time(pd.Series([0.0, 0.3])), 3)
    0.1
    """
    return float(np.exp(np.log(seconds + SHIFT).mean()) - SHIFT) if len(seconds) else float("nan")


def geometric(values: pd.Series) -> float:
    values = values.dropna()
    return float(np.exp(np.log(values).mean())) if len(values) else float("nan")


def sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a formulation: its LP and its size beside big-M's, with the bounds of the main rung."""
    once = rows[rows["rung"] == MAIN_RUNG].drop_duplicates(["problem", "formulation"])
    plain = once[once["formulation"] == "bigm"].set_index("problem")
    lines = []
    for name, part in once.groupby("formulation", observed=True):
        base = plain.loc[part["problem"]]
        ratio = {what: geometric(part[what] / base[what].to_numpy()) for what in ("columns", "rows", "nonzeros")}
        lines.append(
            {
                "formulation": name,
                "gap closed": part["gap_closed"].mean(),
                "quartiles": "[{:.2f}, {:.2f}]".format(*part["gap_closed"].quantile([0.25, 0.75])),
                **{f"{what} / big-M": value for what, value in ratio.items()},
                "build ms": 1e3 * part["build_seconds"].median(),
                "cuts ms": 1e3 * part["cut_seconds"].median(),
                "LP ms": 1e3 * part["lp_seconds"].median(),
            }
        )
    return pd.DataFrame(lines)


def times(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a solver and formulation, with the bounds of the main rung."""
    lines = []
    chosen = rows[(rows["rung"] == MAIN_RUNG) & rows["solver"].notna()]
    solved = chosen[chosen["status"] == "optimal"]
    first = solved.loc[solved.groupby(["problem", "solver"])["seconds"].idxmin()]
    wins = first.groupby(["solver", "formulation"], observed=True).size()
    for (solver, name), part in chosen.groupby(["solver", "formulation"], observed=True, sort=False):
        ran = part[part["ran"]]
        if ran.empty:
            continue
        lines.append(
            {
                "solver": solver,
                "formulation": name,
                "mean s": mean_time(ran["seconds"]),
                "ratio to big-M": geometric(ran["ratio"]),
                "quartiles": "[{:.2g}, {:.2g}]".format(*ran["ratio"].quantile([0.25, 0.75])),
                "nodes (median)": ran["nodes"].median(),
                "timed out": int(part["timed_out"].sum()),
                "refused": int((~part["ran"]).sum()),
                "fastest": int(wins.get((solver, name), 0)),
            }
        )
    return pd.DataFrame(lines)


def grid(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Ratios to big-M with the same bounds: formulations across, `by` and solver down."""
    chosen = rows[rows["solver"].notna() & rows["ran"]]
    if by == "kind":
        chosen = chosen[chosen["rung"] == MAIN_RUNG]
    table = chosen.groupby(["solver", by, "formulation"], observed=True, sort=False)["ratio"].apply(geometric)
    return table.unstack("formulation").dropna(axis=1, how="all").reset_index()


def rungs(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean seconds, tightening included, of every rung and solver: big-M, and the best formulation at that rung."""
    lines = []
    chosen = rows[rows["solver"].notna() & rows["ran"]]
    for (solver, rung), part in chosen.groupby(["solver", "rung"], observed=True, sort=False):
        total = part["seconds"] + part["tighten_seconds"]
        full = part.groupby("formulation", observed=True)["problem"].nunique()
        means = total.groupby(part["formulation"], observed=True).apply(mean_time)[full == full.max()]
        lines.append(
            {
                "solver": solver,
                "bounds": rung,
                "tightening s": mean_time(part["tighten_seconds"]),
                "open ReLUs": part["unstable"].sum() / part["relus"].sum(),
                "big-M s": means.get("bigm"),
                "best": means.idxmin(),
                "best s": means.min(),
            }
        )
    return pd.DataFrame(lines)


def fresh(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a solver: "auto" beside big-M on the problems with other seeds."""
    lines = []
    for solver, part in rows[rows["fresh"] & rows["ran"]].groupby("solver", sort=False):
        own, big_m = (part[part["formulation"] == name] for name in ("auto", "bigm"))
        lines.append(
            {
                "solver": solver,
                "problems": own["problem"].nunique(),
                "big-M s": mean_time(big_m["seconds"]),
                "auto s": mean_time(own["seconds"]),
                "ratio to big-M": geometric(own["ratio"]),
                "quartiles": "[{:.2g}, {:.2g}]".format(*own["ratio"].quantile([0.25, 0.75])),
                "timed out": f"{int(own['timed_out'].sum())}, big-M {int(big_m['timed_out'].sum())}",
            }
        )
    return pd.DataFrame(lines)


def tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All tables; those but the last are of the problems that "auto" was chosen on."""
    every, rows = rows, rows[~rows["fresh"]]
    return {
        "sizes": sizes(rows),
        "times": times(rows),
        "kinds": grid(rows, "kind"),
        "by_rung": grid(rows, "rung"),
        "rungs": rungs(rows),
        "fresh": fresh(every),
    }


def read(folder: Path) -> list[dict[str, Any]]:
    """The recorded run, which is kept compressed."""
    with gzip.open(folder / "records.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def write(records: list[dict[str, Any]], out: Path) -> str:
    """Tables and plots in `out`; the tables as text."""
    rows = frame(records)
    found = tables(rows)
    for name, table in found.items():
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.4g")
    draw(rows[~rows["fresh"]], out)
    three = "{:.3g}".format
    return "\n\n".join(f"{name}\n{t.to_string(index=False, float_format=three)}" for name, t in found.items())


def markdown(table: pd.DataFrame) -> str:
    """The table for the README: three digits, numbers to the right."""
    text = table.astype(object)
    for column in text:
        text[column] = [
            "" if isinstance(v, float) and np.isnan(v) else f"{v:.3g}" if isinstance(v, float) else str(v)
            for v in table[column]
        ]
    right = [pd.api.types.is_numeric_dtype(table[column]) for column in table]
    lines = [list(text.columns), ["--:" if r else ":--" for r in right], *text.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def refresh(folder: Path, page: Path) -> None:
    """Put the tables of the records in `folder` into the marked places of `page`."""
    found = tables(frame(read(folder)))
    page.write_text(SLOT.sub(lambda m: m[1] + markdown(found[m["name"]]) + m[3], page.read_text()))


if __name__ == "__main__":
    study = Path(__file__).parent
    print(write(read(study / "results"), study / "results"))
    refresh(study / "results", study / "README.md")
