"""Run benchmarks by name, or all of them: python benchmarks/run.py NAME|all [--small] [--data DIR] [--out DIR]

Prints tables and writes them to DIR as CSV and JSON. Without --out a full run writes to benchmarks/results and brings
the tables of docs/PERFORMANCE.md up to date; a small one writes nothing. "all" leaves out the searches, which take
hours: python benchmarks/run.py heuristics [--time S] [--only NETWORK ...] [--full] [--again METHOD ...] writes each
of their runs into DIR/heuristics.jsonl when it is finished, and goes on from what is there; "exact" does the same with
DIR/exact.jsonl. "verification_memory", an hour for each row, is left out as well; --time gives it other seconds.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

from heuristic_runs import Runs, Setting
from networks import outside_data
from page import PAGE, refresh
from record import machine, show, write

PLAIN = (
    "build",
    "bounds",
    "ladder",
    "large",
    "obbt",
    "milp",
    "cuts",
    "formulation_build",
    "validity",
    "changes",
    "pruning",
    "densities",
    "pruning_memory",
)
OUTSIDE = ("imports", "collision_avoidance", "verification")
HEURISTICS = ("heuristics_recorded", "heuristics_grid", "heuristics_exact", "heuristics_memory")
SEARCHES = (*HEURISTICS, "exact")
LONG = ("verification_memory",)  # an hour for each row
GROUPS = {"all": (*PLAIN, *OUTSIDE), "heuristics": HEURISTICS}
RESULTS = Path(__file__).with_name("results")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*PLAIN, *OUTSIDE, *SEARCHES, *LONG, *GROUPS])
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    parser.add_argument("--data", type=Path, help="folder with networks from outside the repository")
    parser.add_argument("--out", type=Path, help="where to write the tables")
    searches = parser.add_argument_group("searches")
    searches.add_argument("--time", type=float, help="seconds of each run, instead of each benchmark's own")
    searches.add_argument("--only", nargs="+", default=(), metavar="NETWORK", help="these networks, such as 10-2x100")
    searches.add_argument("--full", action="store_true", help="all seeds, 60 s for each run of the grid: many hours")
    searches.add_argument("--again", nargs="+", default=(), metavar="METHOD", help="measure these methods anew")
    given = parser.parse_args(arguments)
    names = GROUPS.get(given.name, (given.name,))
    out = given.out or (None if given.small else RESULTS)
    about, data = machine(), outside_data(given.data)
    print(about)
    setting = None
    if set(names) <= set(SEARCHES):
        runs = Runs(out and out / ("exact.jsonl" if given.name == "exact" else "heuristics.jsonl"), given.again)
        setting = Setting(given.small, given.full, given.time, tuple(given.only), runs)
    for name in names:
        if name in OUTSIDE and data is None:
            print(f"{name}: skipped, no folder of networks; give --data DIR or set OMLT_EXT_OUTSIDE_DATA")
            continue
        begin = time.perf_counter()
        benchmark = importlib.import_module(name)
        if setting is not None:
            tables = benchmark.main(setting)
        elif name in LONG:
            tables = benchmark.main(small=given.small, seconds=given.time)
        else:
            tables = benchmark.main(data, small=given.small) if name in OUTSIDE else benchmark.main(small=given.small)
        show(name, tables)
        print(f"({name}: {time.perf_counter() - begin:.0f} s)")
        if out is not None and tables and not given.only:  # a part must not stand for the whole
            write(out, name, tables, about)
    if out == RESULTS:
        refresh(RESULTS, PAGE)


if __name__ == "__main__":
    main()
