"""One measurement: a problem written with a formulation from the bounds of a rung, its LP bound, and a solver's run.

"LP" is the relaxation as HiGHS solves it: without integrality, and without logic where the formulation has some. For
"ideal_cuts" it holds the cuts of all root rounds. Every solver works on one thread, from no start, to a gap of 1e-4.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from problems import Problem

from omlt_ext import Bounds, tighten_bounds
from omlt_ext.cut_rounds import add_cuts
from omlt_ext.encoding import Formulation
from omlt_ext.errors import LicenceError, MissingDependencyError, SolverError
from omlt_ext.formulations import (
    SOS1,
    Auto,
    Balas,
    BigM,
    IdealCuts,
    Indicator,
    Partition,
    PSplit,
    ReducedSpace,
    TriangleRelaxation,
)
from omlt_ext.milp import MatrixModel
from omlt_ext.solvers import HighsSolver, open_solver

GAP = 1e-4
RUNGS = ("dual", "interval")
SOLVERS = ("highs", "scip", "gurobi")
THREADS: dict[str, dict[str, object]] = {"highs": {"threads": 1, "random_seed": 0}, "scip": {}, "gurobi": {}}
Record = dict[str, Any]


def formulations() -> list[tuple[str, Formulation, tuple[str, ...]]]:
    """Name, formulation and solvers of those that are compared. `Complementarity` is `SOS1` through arrays."""
    return [
        ("bigm", BigM(), SOLVERS),
        ("ideal_cuts", IdealCuts(), SOLVERS),
        ("1 round", IdealCuts(rounds=1), SOLVERS),
        ("cuts at nodes", IdealCuts(callback=True), ("gurobi",)),  # the others' interfaces take no cuts there
        ("partition 2", Partition(2), SOLVERS),
        ("partition 4", Partition(4), SOLVERS),
        ("psplit 2", PSplit(2), SOLVERS),
        ("balas", Balas(), SOLVERS),
        ("reduced_space", ReducedSpace(), SOLVERS),
        ("indicator", Indicator(), SOLVERS),
        ("sos1", SOS1(), SOLVERS),
        ("triangle", TriangleRelaxation(), ()),
        ("auto", Auto("highs"), ("highs",)),
        ("auto", Auto("scip"), ("scip", "gurobi")),
    ]


@dataclass(eq=False)
class Written:
    """A problem's model with one formulation and one rung's bounds, and what is known of it before any solver's run."""

    model: MatrixModel
    about: Record


def write(problem: Problem, bounds: Bounds, formulation: Formulation) -> Written:
    begin = time.perf_counter()
    model = problem.write(bounds, formulation)
    build = time.perf_counter() - begin
    begin = time.perf_counter()
    found = add_cuts(model)
    model, cuts = found.model, time.perf_counter() - begin
    begin = time.perf_counter()
    relaxed = HighsSolver(model.relax(), {"threads": 1}).solve()
    about = {
        "lp": relaxed.value,
        "lp_seconds": time.perf_counter() - begin,
        "build_seconds": build,
        "cut_seconds": cuts,
        "cuts": found.cuts.size,
        "columns": model.n_columns,
        "rows": model.n_rows,
        "nonzeros": int(model.A.nnz),
        "binaries": int(model.integer.sum()),
        "logic": 0 if model.logic is None else model.logic.n_pairs + model.logic.n_indicators,
    }
    return Written(model, about)


def solve(written: Written, solver: str, limit: float) -> Record:
    """A solver's run; where it cannot take the model, `status` says why."""
    begin = time.perf_counter()
    try:
        result = open_solver(solver, written.model, THREADS[solver]).solve(time_limit=limit, gap=GAP)
    except MissingDependencyError:
        return {"solver": solver, "status": "not installed"}
    except LicenceError:
        return {"solver": solver, "status": "too large"}
    except SolverError as error:
        if written.model.logic and solver == "highs":
            return {"solver": solver, "status": "no logic"}
        return {"solver": solver, "status": f"failed: {error}"}
    if result.status == "interrupted":
        raise KeyboardInterrupt
    error = None if result.x is None else max(network.error(result.x) for network in written.model.networks)
    return {
        "solver": solver,
        "status": result.status,
        "value": result.value,
        "bound": result.bound,
        "nodes": result.nodes,
        "seconds": time.perf_counter() - begin,
        "network_error": error,
    }


def measure(problem: Problem, rung: str, limit: float, only: tuple[str, ...] | None = None) -> list[Record]:
    """All formulations and solvers of a problem with one rung's bounds; a relaxation is not solved further.

    `only`: the names of the formulations that are wanted.
    """
    begin = time.perf_counter()
    bounds = tighten_bounds(problem.network, problem.box, rung)
    shared = {
        "problem": problem.name,
        "kind": problem.kind,
        "maximize": problem.maximize,
        "rung": rung,
        "tighten_seconds": time.perf_counter() - begin,
        "relus": problem.network.n_relus,
        "unstable": bounds.n_unstable,
        "inputs": problem.network.n_inputs,
        "limit": limit,
    }
    records = []
    for name, formulation, solvers in formulations():
        if only is not None and name not in only:
            continue
        written = write(problem, bounds, formulation)
        runs = [solve(written, solver, limit) for solver in solvers] or [{"solver": None, "status": "relaxed"}]
        records += [shared | {"formulation": name} | written.about | run for run in runs]
    return records


def check_agreement(records: list[Record]) -> None:
    """No value lies beyond another run's bound, and no LP bound cuts a value off. `RuntimeError` where one does."""
    for record in records:
        sign = 1.0 if record["maximize"] else -1.0
        for other in records:
            for what in ("bound", "lp"):
                value, bound = record.get("value"), other.get(what)
                if value is None or bound is None:
                    continue
                if sign * (value - bound) > 2.0 * GAP * max(1.0, abs(bound)):
                    raise RuntimeError(
                        f"{record['problem']}: {value} ({record['formulation']}, {record['solver']}, {record['rung']}) "
                        f"lies beyond the {what} {bound} ({other['formulation']}, {other['solver']}, {other['rung']})"
                    )
