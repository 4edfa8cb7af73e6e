"""One run of one method on one random network, its history, and a file of such runs that another run goes on from.

    max  f(x)   over   [0, 1]^n,   f a network of `torch_init`

Every method gets the same wall-clock time, from a network in memory to its last point; what it found at an earlier
time is read from its history, (seconds, value) pairs, so that one run answers for 10 s as well as for 60 s.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from networks import torch_init, widths_of
from plain_ascent import plain_ascent
from tqdm.auto import tqdm

from omlt_ext import Box, Network
from omlt_ext.domain import Floats
from omlt_ext.formulations import BigM
from omlt_ext.heuristics import maximize
from omlt_ext.heuristics.milp import sample, start_of
from omlt_ext.search.heuristic import heuristic
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import open_solver

Record = dict[str, Any]
Key = tuple[str, int, str, float]  # network, seed, method, time limit
Method = Callable[[Network, Box, float, int], Record]

EFFORT = "dual"  # of the bounds in the models that HiGHS and SCIP get
GAP = 1e-5  # at which a run ends before its time
SMALL_SECONDS = 0.5
ROWS = 400  # of a history that are kept
EXTRAS = {"SCIP": "pyscipopt", "Gurobi": "gurobipy"}


def run(key: Key) -> Record:
    """One run; the record has the value, the bound if there is one, the seconds it took, and the history."""
    name, seed, method, limit = key
    network = torch_init(widths_of(name), seed)
    box = Box.full(network.n_inputs, 0.0, 1.0)
    found = METHODS.get(method, named(method))(network, box, limit, seed)
    return {"network": name, "seed": seed, "method": method, "limit": limit} | found


def named(method: str) -> Method:
    """A method of the package: "auto", "relaxing_walk.published" (that variant), "relaxing_walk/1" (one round)."""
    name, _, rounds = method.partition("/")
    name, _, variant = name.partition(".")

    def search(network: Network, box: Box, limit: float, seed: int) -> Record:
        chosen: Any = getattr(type(heuristic(name)), variant)() if variant else name
        begin = time.perf_counter()
        found = maximize(
            network,
            box,
            method=chosen,
            time_limit=limit,
            rounds=int(rounds) if rounds else None,
            seed=seed,
            gap=GAP,
            effort=EFFORT if name == "milp" else "crown",
        )
        seconds = time.perf_counter() - begin
        return ended(found.bound, found.status, seconds, found.history)

    return search


def plain(network: Network, box: Box, limit: float, seed: int) -> Record:
    begin = time.perf_counter()
    _, history = plain_ascent(network, box, np.ones(1), time_limit=limit, seed=seed)
    seconds = time.perf_counter() - begin
    return ended(None, "time_limit", seconds, pd.DataFrame(history, columns=["seconds", "value"]))


def scip(network: Network, box: Box, limit: float, seed: int) -> Record:
    """SCIP in place of HiGHS: the same model, the same start, and its points are evaluated by the network."""
    problem = Problem.of_network(network, box)
    incumbent = Incumbent(problem, GAP, limit)
    problem = problem.with_bounds(EFFORT)
    sample(problem, incumbent, np.random.default_rng(seed))
    assert incumbent.v is not None
    model = problem.model(BigM())
    solver = open_solver("scip", model)
    solver.start_from(*start_of(model, problem, incumbent.v))

    def watch(point: Floats | None, bound: float) -> None:
        if point is not None:
            incumbent.offer(point[: problem.n])

    found = solver.solve(time_limit=incumbent.left, gap=GAP, watch=watch)
    if found.x is not None:
        incumbent.offer(found.x[: problem.n])
    return ended(found.bound, found.status, incumbent.seconds, incumbent.result().history)


def ended(bound: float | None, status: str, seconds: float, history: pd.DataFrame) -> Record:
    """What a run leaves: at most `ROWS` of the rows in which its value grew, first and last among them."""
    points = history.dropna(subset="value")
    points = points[points["value"] > points["value"].cummax().shift(fill_value=-np.inf)]
    kept = np.unique(np.linspace(0, len(points) - 1, ROWS).round().astype(int)) if len(points) > ROWS else slice(None)
    rows = [
        [round(seconds, 3), value] for seconds, value in points[["seconds", "value"]].iloc[kept].to_numpy().tolist()
    ]
    value = rows[-1][1] if rows else None
    return {"value": value, "bound": bound, "status": status, "seconds": seconds, "history": rows}


METHODS: dict[str, Method] = {"plain ascent": plain, "SCIP": scip}


def available(methods: Sequence[str]) -> list[str]:
    """Those that are installed here."""
    return [method for method in methods if method not in EXTRAS or find_spec(EXTRAS[method])]


def value_at(record: Record, seconds: float) -> float:
    """The best value that a run had after so many seconds; -inf before its first.

    >>> value_at({"history": [(1.0, 2.0), (3.0, 5.0)]}, 2.5)
    2.0
    """
    return max((value for when, value in record["history"] if when <= seconds), default=-np.inf)


def ahead(ours: float, other: float) -> float:
    """How far `ours` lies above `other`, relative to the larger of both magnitudes; inf where the other has nothing.

    >>> ahead(1.01, 1.0) > 0, ahead(-1.0, -float("inf"))
    (True, inf)
    """
    if ours == other:
        return 0.0
    return float((ours - other) / max(abs(ours), abs(other))) if np.isfinite([ours, other]).all() else ours - other


@dataclass(frozen=True)
class Setting:
    """What to run: at tiny sizes (`small`) or all there is (`full`), for `seconds` a run, `only` some networks."""

    small: bool = False
    full: bool = False
    seconds: float | None = None
    only: tuple[str, ...] = ()
    runs: Runs = field(default_factory=lambda: Runs(None))

    def limit(self, default: float) -> float:
        """Seconds of a run."""
        return self.seconds or (SMALL_SECONDS if self.small else default)

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Those of the networks that are to be run."""
        return [name for name in names if not self.only or name in self.only]


class Runs:
    """The runs in a file of JSON lines, each written when it is finished; without a path, in memory only.

    A last line that was cut off is removed. `again`: methods whose earlier runs do not count.
    """

    def __init__(self, path: Path | None, again: Sequence[str] = ()) -> None:
        self.path = path
        self.found: dict[Key, Record] = {}
        if path is None or not path.exists():
            return
        whole, newline, rest = path.read_bytes().rpartition(b"\n")
        if rest:
            os.truncate(path, len(whole) + len(newline))
        for line in whole.splitlines():
            record = json.loads(line)
            self.found[key_of(record)] = record  # the last run of a key is the one that counts
        self.found = {key: record for key, record in self.found.items() if record["method"] not in again}

    def measure(self, keys: Sequence[Key], what: str, make: Callable[[Key], Record] = run) -> list[Record]:
        """The records of these keys, in their order; those that are not there yet are made, one after another."""
        with tqdm(keys, desc=what, unit="run") as bar:
            for key in bar:
                bar.set_postfix_str(f"{key[0]} s{key[1]}, {key[2]}")
                if key not in self.found:
                    self._add(make(key))
        return [self.found[key] for key in keys]

    def _add(self, record: Record) -> None:
        self.found[key_of(record)] = record
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())


def key_of(record: Record) -> Key:
    return record["network"], record["seed"], record["method"], record["limit"]
