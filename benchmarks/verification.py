"""Properties of a verification competition: verdicts, time and memory, each in a process of its own.

Reads `verification/verdicts.csv` (net, property, verdict) in the folder of outside data. Every run is a line of
`verification.jsonl` in the folder of results, written when it is finished: the same command goes on from there.
Alone, as JSON: python benchmarks/verification.py NET PROPERTY SECONDS
"""

from __future__ import annotations

import csv
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from record import Tables, peak_memory_mb

LIMIT, QUICK = 60.0, 5.0
JOURNAL = Path(__file__).with_name("results") / "verification.jsonl"


def main(data: Path, *, small: bool = False) -> Tables:
    table = data / "verification" / "verdicts.csv"
    if not table.exists():
        print(f"verification: skipped, there is no {table.name} in the folder")
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        wanted = list(csv.DictReader(file))
    families: dict[str, list[dict[str, str]]] = {}
    for row in wanted:
        families.setdefault(row["net"].split("/")[0], []).append(row)
    chosen = [rows[0] for rows in families.values()] if small else wanted
    journal = None if small else JOURNAL
    known = recorded(journal)
    runs = []
    for row in chosen:
        key = row["net"], row["property"]
        if key not in known:
            known[key] = alone(table.parent, row, QUICK if small else LIMIT)
            print(f"{row['property']}: {known[key]['verdict']} in {known[key]['seconds']:.2f} s", flush=True)
            if journal is not None:
                with journal.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(known[key]) + "\n")
        runs.append(known[key] | {"recorded": row["verdict"]})
    return tables(pd.DataFrame(runs))


def recorded(journal: Path | None) -> dict[tuple[str, str], dict[str, Any]]:
    """What is done already, by network and property."""
    if journal is None or not journal.exists():
        return {}
    runs = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    return {(run["net"], run["property"]): run for run in runs}


def alone(folder: Path, row: dict[str, str], limit: float) -> dict[str, Any]:
    """One property in a process of its own."""
    command = [sys.executable, __file__, str(folder / row["net"]), str(folder / row["property"]), str(limit)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"net": row["net"], "property": row["property"]} | found


def tables(runs: pd.DataFrame) -> Tables:
    """All runs, and a summary of each family."""
    runs = runs.assign(family=runs.net.str.split("/").str[0])
    settled = runs.verdict != "unknown"
    runs = runs.assign(settled=settled, contradicts=settled & (runs.verdict != runs.recorded))
    summary = runs.groupby("family", sort=False).agg(
        properties=("property", "size"),
        settled=("settled", "sum"),
        contradictions=("contradicts", "sum"),
        median_seconds=("seconds", "median"),
        largest_seconds=("seconds", "max"),
        peak_MB=("peak_MB", "max"),
    )
    columns = ["net", "property", "recorded", "verdict", "seconds", "nodes", "bound", "trusts_solver", "peak_MB"]
    return {"families": summary.reset_index(), "properties": runs[columns]}


def settle(net: str, name: str, limit: float) -> None:
    """Verify in this process and print what it took; reading both files is part of the time, imports are not."""
    from omlt_ext import verify

    importlib.import_module("omlt_ext.readers.onnx")
    begin = time.perf_counter()
    found = verify(net, name, time_limit=limit)
    seconds = time.perf_counter() - begin
    row = {"verdict": found.verdict, "status": found.status, "seconds": seconds, "nodes": found.nodes}
    row |= {"bound": found.bound, "trusts_solver": found.trusts_solver, "peak_MB": peak_memory_mb()}
    print(json.dumps(row))


if __name__ == "__main__":
    settle(sys.argv[1], sys.argv[2], float(sys.argv[3]))
