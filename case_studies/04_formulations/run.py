"""Which formulation, with which bounds, for which solver? Forty problems, all of them with all.

    python case_studies/04_formulations/run.py [--small] [--jobs N] [--time-limit SECONDS] [--out DIR]

The problems stand in problems.py, what is measured in comparison.py, what came out in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from comparison import RUNGS, Record, check_agreement, measure
from problems import Key, all_problems, make, name_of
from tables import write
from tqdm.auto import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))
from arguments import positive

PACKAGES = {
    "omlt-ext": "omlt_ext",
    "highspy": "highspy",
    "pyscipopt": "pyscipopt",
    "gurobipy": "gurobipy",
    "numpy": "numpy",
    "scikit-learn": "sklearn",
}
FRESH = ("bigm", "auto")  # what is measured on problems that played no part in the choice of "auto"
Task = tuple[Key, str, float, "tuple[str, ...] | None"]


def work(task: Task) -> list[Record]:
    """The records of one problem and rung."""
    problem, rung, limit, only = task
    return measure(make(*problem), rung, limit, only)


def outcomes(tasks: list[Task], jobs: int) -> Iterator[list[Record]]:
    """The records of each task, as they come."""
    if jobs == 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(work, task) for task in tasks]):
                yield future.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read(path: Path) -> list[Record]:
    """The records of a run before this one; a last line that was cut off is left out."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text().rpartition("\n")
    path.write_text(whole + "\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Every formulation with every rung of bounds, by three solvers.")
    parser.add_argument("--small", action="store_true", help="one tiny problem of each kind: some seconds")
    parser.add_argument("--jobs", type=positive(int), default=1, help="problems measured at once, one core each")
    parser.add_argument("--time-limit", type=positive(float), default=10.0, help="seconds for each solver's run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder of records and results")
    options = parser.parse_args(arguments)

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "records.jsonl"
    everything = read(path)
    chosen = {name_of(*problem): problem for problem in all_problems(small=options.small)}
    fresh = {name_of(*problem): problem for problem in all_problems(fresh=True, small=options.small)}
    records = [r for r in everything if r["problem"] in chosen | fresh and r["limit"] == options.time_limit]
    done = {(record["problem"], record["rung"]) for record in records}
    wanted = [(chosen[name], rung, None) for rung in RUNGS for name in chosen if (name, rung) not in done]
    wanted += [(fresh[name], RUNGS[0], FRESH) for name in fresh if (name, RUNGS[0]) not in done]
    tasks: list[Task] = [(problem, rung, options.time_limit, only) for problem, rung, only in wanted]
    try:
        with path.open("a") as file, tqdm(outcomes(tasks, options.jobs), total=len(tasks), unit="problem") as bar:
            for found in bar:
                check_agreement([r for r in records if r["problem"] == found[0]["problem"]] + found)
                file.write("".join(json.dumps(record) + "\n" for record in found))
                file.flush()
                records += found
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
    if not records:
        return {}
    machine = {"date": str(date.today()), "cores": os.cpu_count(), "jobs": options.jobs, "limit": options.time_limit}
    versions = {name: version(name) for name, module in PACKAGES.items() if find_spec(module)}
    machine |= {"records": len(records), "versions": versions}
    (options.out / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    print(write(records, options.out))
    return machine


if __name__ == "__main__":
    main()
