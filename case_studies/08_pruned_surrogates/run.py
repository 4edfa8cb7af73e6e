"""Pruned surrogates: a sparse copy of a network is searched, and every point is judged by the dense network.

    python case_studies/08_pruned_surrogates/run.py [--small] [--mnist FILE] [--instances N] [--time-limit S] [--jobs N]

What is asked and what came out is in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from surrogate_cases import Attack, Case, Maximum, attacks, maxima
from surrogate_runs import DENSE, SETTINGS, Journal, Task, outcomes, settings_of
from surrogate_tables import write
from tqdm.auto import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))
from arguments import positive

PACKAGES = ("omlt-ext", "pyomo", "highspy", "scikit-learn", "numpy")


def plan(options: argparse.Namespace) -> list[list[Task]]:
    """The runs, grouped by question: a run stopped early is a smaller experiment."""
    cases: list[Case]
    if options.small:
        cases = [Attack(0, 0, 5, depth, 6, options.scale) for depth in (1, 2)] + [Maximum(5, 2, 8, 50)]
    else:
        cases = [*attacks(options.mnist is not None, options.scale)[: options.instances], *maxima()]
    limit = options.time_limit or (1.0 if options.small else 60.0 if options.mnist else 6.0)
    names = list(dict.fromkeys([DENSE, *options.settings]))
    cases = [case for case in cases if options.task in (case.task, "both")]
    return [[(case, name, limit, options.mnist) for name in settings_of(case, names)] for case in cases]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Pruned surrogates against the dense network and other searches.")
    parser.add_argument("--small", action="store_true", help="three tiny networks: some seconds")
    parser.add_argument("--mnist", type=Path, metavar="FILE", help="MNIST as an .npz or a folder of idx files")
    parser.add_argument("--task", choices=("both", "attack", "maximum"), default="both", help="one of the two tasks")
    parser.add_argument("--instances", type=positive(int), default=48, help="the first so many attacks (48)")
    parser.add_argument(
        "--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), help="some of them, and dense"
    )
    parser.add_argument("--time-limit", type=positive(float), help="seconds of each run (6; 60 with MNIST)")
    parser.add_argument(
        "--scale", type=positive(float), help="of the budget U(4.5, 5.5) (side / 28 with digits, 1 with MNIST)"
    )
    parser.add_argument("--jobs", type=positive(int), default=1, help="runs at the same time, each on a core (1)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder of runs and results")
    options = parser.parse_args(arguments)

    groups = plan(options)
    options.out.mkdir(parents=True, exist_ok=True)
    journal = Journal(options.out / "runs.jsonl")
    tasks = [task for group in groups for task in group]
    left = [task for task in tasks if not journal.has(task)]
    try:
        with tqdm(total=len(tasks), initial=len(tasks) - len(left), unit="run") as bar:
            for record in outcomes(left, options.jobs):
                journal.add(record)
                bar.set_postfix_str(f"{record['case']}, {record['setting']}")
                bar.update()
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
    records = journal.of(groups)
    machine: dict[str, Any] = {"date": str(date.today()), "cores": os.cpu_count(), "jobs": options.jobs}
    machine |= {"data": "mnist" if options.mnist else "digits", "seconds a run": tasks[0][2]}
    machine |= {"runs": len(records), "of": len(tasks)}
    machine |= {"versions": {name: version(name) for name in PACKAGES}}
    (options.out / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    print(write(records, options.out))
    return machine


if __name__ == "__main__":
    main()
