"""Run benchmarks by name, or all of them: python benchmarks/run.py NAME|all [--small] [--data DIR] [--out DIR]

Prints tables and writes them to DIR as CSV and JSON. Without --out a full run writes to benchmarks/results and brings
the tables of docs/PERFORMANCE.md up to date; a small one writes nothing.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

from networks import outside_data
from page import PAGE, refresh
from record import machine, show, write

PLAIN = ("build", "bounds", "ladder", "large", "obbt", "milp", "cuts", "formulation_build", "validity", "changes")
OUTSIDE = ("imports", "collision_avoidance")
RESULTS = Path(__file__).with_name("results")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*PLAIN, *OUTSIDE, "all"])
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    parser.add_argument("--data", type=Path, help="folder with networks from outside the repository")
    parser.add_argument("--out", type=Path, help="where to write the tables")
    given = parser.parse_args(arguments)
    names = [*PLAIN, *OUTSIDE] if given.name == "all" else [given.name]
    out = given.out or (None if given.small else RESULTS)
    about, data = machine(), outside_data(given.data)
    print(about)
    for name in names:
        if name in OUTSIDE and data is None:
            print(f"{name}: skipped, no folder of networks; give --data DIR or set OMLT_EXT_OUTSIDE_DATA")
            continue
        begin = time.perf_counter()
        benchmark = importlib.import_module(name)
        tables = benchmark.main(data, small=given.small) if name in OUTSIDE else benchmark.main(small=given.small)
        show(name, tables)
        print(f"({name}: {time.perf_counter() - begin:.0f} s)")
        if out is not None and tables:
            write(out, name, tables, about)
    if out == RESULTS:
        refresh(RESULTS, PAGE)


if __name__ == "__main__":
    main()
