"""One run of one method on one random network, and the file of runs that another session goes on from.

    max  f(x)   over   [0, 1]^n

The networks are those of arXiv 2401.03451, section 4.1: PyTorch's default initialisation from a seed, one output.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from omlt_ext import Box, Layer, Network
from omlt_ext.heuristics import GradientAscent, Milp, RelaxingWalk, SampleMip, maximize

sys.path.append(str(Path(__file__).resolve().parents[1]))
from json_lines import append_line, read_lines

Record = dict[str, Any]

METHODS: dict[str, Any] = {
    "RW, published": RelaxingWalk.published(),
    "RRW, random flips": RelaxingWalk.random_flips(),
    "SW, uniform starts": RelaxingWalk.uniform_starts(),
    "Sample-MIP": SampleMip(),
    "relaxing_walk": RelaxingWalk(),
    "gradient_ascent": GradientAscent(),
    "auto": "auto",
    "HiGHS": Milp(),
}
SOLVERS = ("HiGHS",)  # those that get bounds by dual ascent, as a user would who wants the MILP solved
GAP = 1e-5
ROWS = 200  # of a history that are kept


@dataclass(frozen=True)
class Case:
    """A network by its size and seed, and the seconds that each method has."""

    inputs: int
    depth: int
    width: int
    seed: int
    limit: float

    def __str__(self) -> str:
        return f"{self.inputs}-{self.depth}x{self.width} s{self.seed}"

    def network(self) -> Network:
        """U(-s, s) with s = 1/sqrt(n_in), as PyTorch draws it: 24 bits a number, weights by rows, then biases."""
        rng = np.random.RandomState(self.seed)
        layers = []
        widths = (self.inputs, *[self.width] * self.depth, 1)
        for k, (n_in, n_out) in enumerate(pairwise(widths)):
            u = 2.0**-24 * (rng.randint(0, 2**32, size=n_out * (n_in + 1), dtype=np.uint32) & 0xFFFFFF)
            s = float(np.float32(1 / np.sqrt(n_in)))
            numbers = (2 * s * u - s).astype(np.float32).astype(np.float64)
            weight, bias = numbers[: n_out * n_in].reshape(n_out, n_in), numbers[n_out * n_in :]
            layers.append(Layer(weight, bias, relu=k < self.depth))
        return Network(layers)


def measure(case: Case, method: str) -> Record:
    """One method on one network; the history has a pair (seconds, value) for each better point."""
    network = case.network()
    effort = "dual" if method in SOLVERS else "crown"
    begin = time.perf_counter()
    found = maximize(
        network,
        Box.full(case.inputs, 0.0, 1.0),
        method=METHODS[method],
        time_limit=case.limit,
        seed=case.seed,
        gap=GAP,
        effort=effort,
    )
    seconds = time.perf_counter() - begin
    points = found.history.dropna(subset="value").drop_duplicates("value")[["seconds", "value"]].to_numpy()
    kept = np.unique(np.linspace(0, len(points) - 1, ROWS).round().astype(int)) if len(points) > ROWS else slice(None)
    record: Record = {**case.__dict__, "case": str(case), "method": method, "status": found.status}
    record |= {"value": found.value, "bound": found.bound, "seconds": round(seconds, 3)}
    return record | {"history": [[round(when, 3), value] for when, value in points[kept].tolist()]}


class Journal:
    """The runs in a file of JSON lines, each written when it is finished; a last line that was cut off is removed.

    Raises `ReadError` where the file holds anything else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[tuple[str, float, str], Record] = {}
        for record in read_lines(path, ("case", "limit", "method")):
            self.records[record["case"], record["limit"], record["method"]] = record

    def has(self, case: Case, method: str) -> bool:
        return (str(case), case.limit, method) in self.records

    def of(self, cases: list[Case]) -> list[Record]:
        """The runs of those cases for which all methods are done."""
        done = [case for case in cases if all(self.has(case, method) for method in METHODS)]
        return [self.records[str(case), case.limit, method] for case in done for method in METHODS]

    def add(self, case: Case, record: Record) -> None:
        """Hold a run against the others of its case, and write it. `RuntimeError` where a value is above a bound."""
        others = [r for (name, _, _), r in self.records.items() if name == str(case)]
        for other in others:
            for high, low in ((record, other), (other, record)):
                if low["bound"] is not None and high["value"] > low["bound"] + GAP * max(1.0, abs(low["bound"])):
                    raise RuntimeError(
                        f"{case}: the value {high['value']} of {high['method']} lies above the bound {low['bound']} of "
                        f"{low['method']}"
                    )
        self.records[str(case), case.limit, record["method"]] = record
        append_line(self.path, record)
