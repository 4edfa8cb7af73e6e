"""Verdicts on networks and VNN-LIB properties from files, compared with recorded ones.

    python case_studies/10_verification_files/run.py LIST.csv [--time-limit S] [--families F ...] [--out DIR]
    python case_studies/10_verification_files/run.py NET PROPERTY ...
    python case_studies/10_verification_files/run.py --small

What a list is, and what came out, is in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from instances import Instance, read_instances
from toy_files import write_toys
from tqdm.auto import tqdm

from omlt_ext import verify
from omlt_ext.errors import OmltExtError

sys.path.append(str(Path(__file__).resolve().parents[1]))
from arguments import positive
from json_lines import append_line, read_lines
from verdicts import cactus, summary

PACKAGES = ("omlt-ext", "numpy", "onnx")
KEY = ("digest", "limit")


def judge(instance: Instance, digest: str, limit: float, out: Path) -> dict[str, Any]:
    """The verdict, reading both files included; a counterexample is written to out/counterexamples.

    Raises `KeyboardInterrupt` where the search was interrupted.
    """
    begin = time.perf_counter()
    found = verify(instance.net, instance.unsafe, time_limit=limit)
    seconds = time.perf_counter() - begin
    if found.status == "interrupted":
        raise KeyboardInterrupt
    if found.counterexample is not None:
        (out / "counterexamples").mkdir(exist_ok=True)
        (out / "counterexamples" / f"{digest}.txt").write_text(f"sat\n{found.counterexample.to_vnnlib()}\n")
    row: dict[str, Any] = {"net": instance.net.name, "property": instance.unsafe.name, "digest": digest, "limit": limit}
    row |= {"verdict": found.verdict, "status": found.status, "seconds": round(seconds, 4), "nodes": found.nodes}
    return row | {"bound": found.bound, "trusts_solver": found.trusts_solver}


def check(instance: Instance, row: dict[str, Any]) -> None:
    """`RuntimeError` where the verdict contradicts the one recorded by others."""
    if instance.recorded is not None and {instance.recorded, row["verdict"]} == {"sat", "unsat"}:
        raise RuntimeError(f"{instance}: {row['verdict']!r} contradicts the recorded verdict, {instance.recorded!r}")


def tables(rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """ "families" and "verdicts", a line each."""
    table = pd.DataFrame(rows)
    families = summary(table, "family")
    compared = table[table["recorded"].notna() & (table["verdict"] != "unknown")]
    families["as recorded"] = [int((compared["family"] == name).sum()) for name in families["family"]]
    columns = ["family", "net", "property", "recorded", "verdict", "seconds", "nodes"]
    return {"families": families, "verdicts": table[columns]}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Verdicts on networks and VNN-LIB properties from files.")
    parser.add_argument("files", nargs="*", type=Path, help="a list (.csv), or a network and its properties")
    parser.add_argument("--small", action="store_true", help="tiny networks of its own: a second")
    parser.add_argument("--families", nargs="+", metavar="F", help="only these families of a list")
    parser.add_argument("--time-limit", type=positive(float), default=60.0, help="seconds for each property (60)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder of records and results")
    options = parser.parse_args(arguments)
    if options.small == bool(options.files):
        parser.error("give a list, or a network and its properties; or --small alone")

    options.out.mkdir(parents=True, exist_ok=True)
    try:
        instances = read_instances([write_toys(options.out / "files")] if options.small else options.files)
        families = list(dict.fromkeys(instance.family for instance in instances))
        for name in options.families or []:
            if name not in families:
                parser.error(f"there is no family {name!r}; those of the list are {', '.join(families)}")
        chosen = [instance for instance in instances if instance.family in (options.families or families)]
        rows = settle(chosen, options.time_limit, options.out)
    except OmltExtError as error:
        sys.exit(f"error: {error}")
    if not rows:
        return {}
    report: dict[str, Any] = {"date": str(date.today()), "cores": os.cpu_count(), "limit s": options.time_limit}
    report |= {"properties": len(rows), "of": len(chosen), "versions": {name: version(name) for name in PACKAGES}}
    (options.out / "machine.json").write_text(json.dumps(report, indent=1) + "\n")
    made = tables(rows)
    for name, table in made.items():
        table.to_csv(options.out / f"{name}.csv", index=False, float_format="%.4g")
    print(made["verdicts"].to_string(index=False, na_rep="-"), made["families"].to_string(index=False), sep="\n\n")
    cactus(pd.DataFrame(rows), "family", options.out / "cactus.png")
    return report | {"rows": rows}


def settle(instances: list[Instance], limit: float, out: Path) -> list[dict[str, Any]]:
    """A row for each instance, from the journal where it is done; Ctrl-C leaves the rest for the next time."""
    journal = out / "verdicts.jsonl"
    done = {tuple(row[name] for name in KEY): row for row in read_lines(journal, KEY)}
    rows = []
    try:
        with tqdm(instances, unit="property") as bar:
            for instance in bar:
                bar.set_postfix_str(str(instance))
                digest = instance.digest()
                row = done.get((digest, limit))
                fresh = row is None
                row = judge(instance, digest, limit, out) if row is None else row
                check(instance, row)
                if fresh:
                    append_line(journal, row)
                    done[digest, limit] = row
                rows.append({"family": instance.family, "recorded": instance.recorded} | row)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
    return rows


if __name__ == "__main__":
    main()
