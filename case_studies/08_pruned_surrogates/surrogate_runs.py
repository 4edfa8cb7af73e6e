"""One run of one setting on one question, and the file of runs that another session goes on from."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyomo.environ as pyo
from surrogate_cases import Case, Question

from omlt_ext.heuristics.milp import Milp
from omlt_ext.heuristics.pruned_surrogate import PrunedSurrogate
from omlt_ext.pruning import prune
from omlt_ext.pruning.finetune import Finetune
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem

sys.path.append(str(Path(__file__).resolve().parents[1]))
from json_lines import append_line, read_lines

Record: TypeAlias = dict[str, Any]
Task: TypeAlias = tuple[Case, str, float, Path | None]  # question, setting, seconds, file of images

GAP = 1e-4
ROWS = 100  # of a history that are kept
ROUNDS = 5  # of pruning and training, as in the paper; every round starts from the dense weights
TUNED = Finetune(epochs=10, learning_rate=0.01, rewind=True)


@dataclass(frozen=True)
class PlainMilp:
    """Branch and bound alone: a `Milp` is started by walks over the sparse networks, any other search is not."""

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        Milp().search(problem, incumbent, rng, rounds)


JUDGED = {"repair": False}  # the dense network only judges
PLAIN = {"repair": False, "inner": PlainMilp()}


@dataclass(frozen=True)
class Setting:
    """A solver of the package; where it is a surrogate, how the network is pruned, and other options of the solver.

    Without such options the solver is used as it comes, and pruning is told for the tables only.
    """

    solver: str
    pruning: str | None = None
    sparsity: float = 0.0
    tuned: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def _sparse(pruning: str, sparsity: float, options: dict[str, Any] = JUDGED) -> Setting:
    return Setting("pruned_surrogate", pruning, sparsity, options=options)


DENSE = "dense"
SPARSE = {f"weights-{s}": _sparse("magnitude", s) for s in (0.5, 0.8, 0.9)}
SPARSE |= {f"neurons-{s}": _sparse("neurons", s) for s in (0.2, 0.3)}
SETTINGS = {
    DENSE: Setting("milp"),
    "surrogate": _sparse(str(PrunedSurrogate().method), PrunedSurrogate().sparsities[0], {}),
    **SPARSE,
    **{f"{name}-tuned": replace(setting, tuned=True) for name, setting in SPARSE.items()},
    **{f"plain-{s}": _sparse("magnitude", s, PLAIN) for s in (0.8, 0.9)},
    **{name: Setting(name) for name in ("auto", "relaxing_walk", "sample_mip")},
}


def settings_of(case: Case, chosen: list[str]) -> list[str]:
    """Those settings that the question allows: fine-tuning needs images."""
    return [name for name in chosen if case.task == "attack" or not SETTINGS[name].tuned]


def measure(task: Task) -> Record:
    """One run, from the Pyomo model to its last point; fine-tuning was done before, and its seconds stand apart.

    Raises `KeyboardInterrupt` where the solver was interrupted, and `RuntimeError` where the point that it returns is
    not one of the model, or has another value than the solver says.
    """
    case, name, limit, source = task
    question, setting = case.ask(source), SETTINGS[name]
    record: Record = {"task": case.task, "case": str(case), "setting": name, "limit": limit}
    record |= {"digest": question.digest, **question.about, "relus": question.network.n_relus}
    options, stand_in = surrogate_options(question, setting)
    record |= stand_in
    m = question.model
    solver = pyo.SolverFactory(f"omlt_ext.{setting.solver}")
    begin = time.perf_counter()
    found = solver.solve(m, time_limit=limit, seed=0, gap=GAP, **options)
    record |= {"seconds": round(time.perf_counter() - begin, 3)}
    ended = str(found.solver.termination_condition)
    if ended == "userInterrupt":
        raise KeyboardInterrupt
    upper = found.problem.upper_bound
    record |= {"status": ended, "bound": None if upper is None or not np.isfinite(upper) else upper, "value": None}
    if found.problem.number_of_solutions:
        value = question.check(m)
        if abs(value - found.problem.lower_bound) > 1e-4 * max(1.0, abs(value)):
            raise RuntimeError(f"{case}, {name}: the value is {value}, the solver says {found.problem.lower_bound}")
        record["value"] = value
    points = solver.history.dropna(subset="value").drop_duplicates("value")[["seconds", "value"]].to_numpy()
    first = points[points[:, 1] > 0.0, 0]
    record["first"] = round(float(first[0]), 4) if case.task == "attack" and first.size else None
    kept = np.unique(np.linspace(0, len(points) - 1, ROWS).round().astype(int)) if len(points) > ROWS else slice(None)
    return record | {"history": [[round(when, 4), value] for when, value in points[kept].tolist()]}


def surrogate_options(question: Question, setting: Setting) -> tuple[dict[str, Any], Record]:
    """(options of the solver, what the copy is like that stands in): its ReLUs, accuracy and the seconds to make it."""
    if setting.pruning is None:
        return {}, {}
    begin = time.perf_counter()
    training: dict[str, Any] = {"steps": ROUNDS, "finetune": TUNED} if setting.tuned else {}
    pruned = prune(
        question.network, setting.pruning, setting.sparsity, question.samples, test=question.test, **training
    )
    about: Record = {"prune seconds": round(time.perf_counter() - begin, 3), "relus": pruned.network.n_relus}
    accuracy = pruned.report.accuracy
    about |= {} if accuracy is None else {"dense accuracy": accuracy[0], "accuracy": accuracy[1]}
    if not setting.options:
        return {}, about
    how = {"pruned": pruned.network} if setting.tuned else {"method": setting.pruning, "sparsity": setting.sparsity}
    return {**how, **setting.options}, about


def outcomes(tasks: list[Task], jobs: int) -> Iterator[Record]:
    """The records of the tasks, as they are finished."""
    if jobs == 1:
        yield from map(measure, tasks)
        return
    with get_context("spawn").Pool(jobs, deaf) as pool:  # an interruption ends the workers
        yield from pool.imap_unordered(measure, tasks)
        pool.close()  # all is done: the workers end by themselves
        pool.join()


def deaf() -> None:
    """Ctrl-C reaches all processes; the workers leave it to the one that writes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Journal:
    """The runs in a file of JSON lines, each written when it is finished; a last line that was cut off is removed.

    Raises `ReadError` where the file holds anything else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[tuple[str, str, float], Record] = {}
        for record in read_lines(path, ("case", "setting", "limit")):
            self.records[record["case"], record["setting"], record["limit"]] = record

    def has(self, task: Task) -> bool:
        return (str(task[0]), *task[1:3]) in self.records

    def of(self, groups: list[list[Task]]) -> list[Record]:
        """The runs of those questions (groups of tasks) for which all settings are done."""
        done = [group for group in groups if all(map(self.has, group))]
        return [self.records[str(case), name, limit] for group in done for case, name, limit, _ in group]

    def add(self, record: Record) -> None:
        """Hold a run against the others of its question, and write it.

        Raises `RuntimeError` where a value is above a bound, or where the question is not the same.
        """
        for other in self.records.values():
            if other["case"] == record["case"]:
                check_agreement(record, other)
        self.records[record["case"], record["setting"], record["limit"]] = record
        append_line(self.path, record)


def check_agreement(record: Record, other: Record) -> None:
    """Two runs of one question: the same question, and neither value above the other's bound."""
    case = record["case"]
    if record["digest"] != other["digest"]:
        raise RuntimeError(f"{case}: the network or the budget is not that of the runs before; use a new folder")
    for high, low in ((record, other), (other, record)):
        if high["value"] is None or low["bound"] is None:
            continue
        if high["value"] > low["bound"] + GAP * max(1.0, abs(low["bound"])):
            raise RuntimeError(
                f"{case}: the value {high['value']} of {high['setting']} lies above the bound {low['bound']} of "
                f"{low['setting']}"
            )
