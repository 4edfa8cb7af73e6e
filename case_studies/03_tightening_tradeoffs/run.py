"""What tightening is worth: time, widths and verification MILPs for every rung of the ladder, over trained networks.

    python case_studies/03_tightening_tradeoffs/run.py [--small | --full] [--mnist FILE] [--out DIR]

The grid of networks stands below; what it measures is in experiment.py, what came out in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from experiment import Case, Problem, efforts
from images import load_digits_8x8, load_mnist
from journal import Journal
from report import write
from tqdm.auto import tqdm
from training import Recipe

PACKAGES = ("omlt-ext", "highspy", "pyomo", "numpy", "scikit-learn")

# One factor at a time, from a network of three hidden layers of 30; pruning after L1 as well, because it costs less
# accuracy there.
BRANCHES = (
    Recipe(depth=2),
    Recipe(),
    Recipe(depth=4),
    Recipe(depth=5, width=20),
    Recipe(width=50),
    Recipe(l1=1e-3),
    Recipe(l1=3e-3),
    Recipe(decimals=1),
    Recipe(pruned=0.5),
    Recipe(l1=1e-3, pruned=0.8),
)
TINY = (Recipe(depth=2, width=8), Recipe(depth=3, width=8, l1=1e-3, pruned=0.5, decimals=1))
# Every combination, seed by seed, so that a grid stopped early is a smaller grid.
FULL = [
    Recipe(depth, width, l1, pruned, decimals, seed)
    for seed, depth, width, l1, pruned, decimals in product(
        range(3), (2, 3, 4, 5), (25, 50), (0.0, 1e-3), (0.0, 0.5), (None, 1)
    )
]


def plan(options: argparse.Namespace, data: str, radius: float) -> list[Case]:
    """The cases of a run; but for the full grid, each image of a recipe gets a network from a seed of its own."""
    if options.small:
        recipes, images, limit, per_solve = TINY, 1, 5.0, 0.5
    elif options.full:
        recipes, images, limit, per_solve = FULL, 2, 60.0, 1.0
    else:
        recipes, images, limit, per_solve = BRANCHES, 3, 10.0, 0.1
    return [
        Case(data, recipe if options.full else replace(recipe, seed=image), image, radius, limit, per_solve)
        for recipe in recipes
        for image in range(images)
    ]


def measure(journal: Journal, cases: list[Case], images: Any) -> None:
    """Every rung of every case that the journal does not have yet."""
    rungs = list(efforts(1.0))
    with tqdm(total=len(cases) * len(rungs), unit="record") as bar:
        for case in cases:
            done = {record["rung"] for record in journal.of(case)}
            bar.update(len(done))
            if len(done) == len(rungs):
                continue
            problem = Problem(case, images)
            for rung in rungs:
                if rung not in done:
                    bar.set_postfix_str(f"{case.recipe}, image {case.image}, {rung}")
                    journal.add(case, problem.measure(rung))
                    bar.update()


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="What each rung of bound tightening costs, and what it is worth.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="two tiny networks: a few seconds")
    size.add_argument("--full", action="store_true", help="every combination: many hours, to be stopped and resumed")
    parser.add_argument("--mnist", type=Path, metavar="FILE", help="MNIST as an .npz or a folder of idx files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder of records and results")
    options = parser.parse_args(arguments)

    images = load_mnist(options.mnist) if options.mnist else load_digits_8x8()
    cases = plan(options, images.name, images.radius)
    options.out.mkdir(parents=True, exist_ok=True)
    journal = Journal(options.out / "records.jsonl")
    try:
        measure(journal, cases, images)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
    records = [record for case in cases for record in journal.of(case)]
    if not records:
        return {}
    seconds = sum(record["tighten_seconds"] + record["solve_seconds"] for record in records)
    machine = {"date": str(date.today()), "cores": os.cpu_count(), "seconds": round(seconds)}
    machine |= {"records": len(records), "of": len(cases) * len(efforts(1.0))}
    machine |= {"versions": {name: version(name) for name in PACKAGES}}
    (options.out / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    print(write(records, options.out))
    return machine


if __name__ == "__main__":
    main()
