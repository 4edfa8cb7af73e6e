"""Treatment plans with whole numbers of sessions: a network for every patient in one Pyomo model, three questions.

    python case_studies/07_treatment_plans/run.py [--small | --full] [--time-limit SECONDS] [--seed 0] [--out DIR]

The story, the data and what they do not support are in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import date
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import clinic as world
from plan_report import draw, frame, text
from plans import METHODS, QUESTIONS, answer
from tqdm.auto import tqdm

from omlt_ext import load_network

PACKAGES = ("omlt-ext", "pyomo", "highspy", "scikit-learn", "numpy")
KEY = ("question", "method", "limit", "patients", "seed")


def read(path: Path) -> list[dict[str, Any]]:
    """The answers of a run before this one; a last line that was cut off is left out."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_text().rpartition("\n")
    path.write_text(whole + newline)
    return [json.loads(line) for line in whole.splitlines()]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Treatment plans with whole numbers of sessions, three questions.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="two patients and small networks: some seconds")
    size.add_argument("--full", action="store_true", help="24 patients, five minutes a search: over an hour, resumes")
    parser.add_argument("--time-limit", type=float, help="seconds of each search (15)")
    parser.add_argument("--seed", type=int, default=0, help="of the split into patients to learn from and others")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder of records and results")
    options = parser.parse_args(arguments)
    patients, hidden, limit = (24, (16, 16), 300.0) if options.full else (10, (16, 16), 15.0)
    if options.small:
        patients, hidden, limit = 2, (6, 6), 1.0
    limit = options.time_limit or limit

    clinic = world.load_clinic(options.seed, patients)
    pipeline = world.train_network(clinic, hidden)
    network = load_network(pipeline)  # the scaler is part of it, so its inputs are the measurements as they were taken
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "answers.jsonl"
    done = {tuple(row[name] for name in KEY): row for row in read(path)}
    rows = []
    try:
        for question, method in tqdm(list(product(QUESTIONS, METHODS)), unit="search"):
            key = (question, method, limit, patients, options.seed)
            if key not in done:
                row = {"patients": patients, "seed": options.seed, **answer(clinic, network, question, method, limit)}
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                done[key] = row
            rows.append(done[key])
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
    if not rows:
        return {}
    report: dict[str, Any] = {"date": str(date.today()), "cores": os.cpu_count(), "seed": options.seed}
    report |= {"patients": patients, "network": repr(network), "R2 held out": world.r_squared(clinic, pipeline)}
    report |= {"seconds a search": limit, "versions": {name: version(name) for name in PACKAGES}}
    (options.out / "machine.json").write_text(json.dumps(report, indent=1) + "\n")
    frame(rows).to_csv(options.out / "answers.csv", index=False, float_format="%.8g")
    print(text(report, rows))
    draw(rows, options.out)
    return report | {"rows": rows}


if __name__ == "__main__":
    main()
