"""The random-network experiment of the relaxing walk's paper, with every search of this package side by side.

    python case_studies/05_relaxing_walk/run.py [--small | --full] [--time-limit SECONDS] [--out DIR]

The grid stands below; what a run is in walk_runs.py, what came out in the README beside this file.
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

from tqdm.auto import tqdm
from walk_runs import METHODS, Case, Journal, measure
from walk_tables import write

PACKAGES = ("omlt-ext", "highspy", "numpy")
INPUTS, DEPTHS, WIDTHS, SEEDS = (10, 100, 1000), (1, 2, 3), (100, 500), range(50, 55)


def plan(options: argparse.Namespace) -> list[Case]:
    """The networks of a run, seed by seed, so that a grid stopped early is a smaller grid."""
    if options.small:
        return [Case(5, depth, 8, 50, options.time_limit or 0.3) for depth in (1, 2)]
    if options.full:
        sizes, limit = product(SEEDS, INPUTS, DEPTHS, WIDTHS), options.time_limit or 60.0
    else:
        sizes, limit = product(SEEDS[:1], INPUTS, DEPTHS, WIDTHS[:1]), options.time_limit or 4.0
    return [Case(inputs, depth, width, seed, limit) for seed, inputs, depth, width in sizes]


def search(journal: Journal, cases: list[Case]) -> None:
    """Every method on every network that the journal does not have yet."""
    with tqdm(total=len(cases) * len(METHODS), unit="run") as bar:
        for case, method in product(cases, METHODS):
            if not journal.has(case, method):
                bar.set_postfix_str(f"{case}, {method}")
                journal.add(case, measure(case, method))
            bar.update()


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Random networks, maximised by every search of the package.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="two tiny networks: a few seconds")
    size.add_argument("--full", action="store_true", help="the paper's 90 networks: 12 hours, can be resumed")
    parser.add_argument("--time-limit", type=float, help="seconds of each search (4, with --full 60)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder of runs and results")
    options = parser.parse_args(arguments)

    cases = plan(options)
    options.out.mkdir(parents=True, exist_ok=True)
    journal = Journal(options.out / "runs.jsonl")
    try:
        search(journal, cases)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
    records = journal.of(cases)
    machine: dict[str, Any] = {"date": str(date.today()), "cores": os.cpu_count(), "seconds a search": cases[0].limit}
    machine |= {"runs": len(records), "of": len(cases) * len(METHODS)}
    machine |= {"versions": {name: version(name) for name in PACKAGES}}
    (options.out / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    print(write(records, options.out))
    return machine


if __name__ == "__main__":
    main()
