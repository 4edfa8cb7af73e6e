"""SolverFactory("omlt_ext.exact"): the optimum of a Pyomo model with networks in it, proved by whoever does it best."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pandas as pd
import pyomo.environ as pyo
from pyomo.opt import SolverResults

from .bridge import compile_model
from .pyomo_door import PyomoSolver, renamed
from .pyomo_proof import INSIDE, ProofSettings, prove_model
from .pyomo_results import ending, results_of_search
from .pyomo_solver import NetworkHighs
from .surroundings import check_surroundings

logger = logging.getLogger("omlt_ext")

KEYWORDS = tuple(field.name for field in fields(ProofSettings))
OWN = ("tee", "load_solutions")
START_SECONDS, START_SHARE = 2.0, 0.1  # for a heuristic's start of HiGHS: at most, and of the time limit


@pyo.SolverFactory.register(
    "omlt_ext.exact", doc="branch and bound over the networks where the model allows it, else HiGHS"
)
class ExactSolver(PyomoSolver):
    """`SolverFactory("omlt_ext.exact").solve(model)`: the optimum of a mixed-integer linear model with ReLUBlocks.

    The model goes to the network search (`branch_and_bound`) where, after equations have given columns away, it is

        max or min   c v + sum_b d_b f_b(v)   over the columns v of a polytope, each with finite bounds:

    one network or several, other continuous variables beside their inputs, linear constraints on all of these, outputs
    in the objective and not in constraints. HiGHS gets what has whole numbers, constraints on outputs, columns without
    bounds, an objective without outputs, and, where there are constraints, one in which c v can vary ten times as much
    as the outputs' part, since it was measured to be faster there. It starts from the best point of first solves and
    climbs, with bounds tightened by `effort`, and ends where it meets the search's bound of the model without whole
    numbers and constraints on outputs; the tighter of both bounds is reported. Where the networks' own variables are
    bound or used outside, a network is relaxed, or nothing bounds the objective, "omlt_ext.highs" solves the model as
    it stands, started from the heuristic "auto". The logger "omlt_ext" (info) and the results' message say which it
    was, and why.

    Keywords of `solve` (and of the constructor, as defaults): `time_limit` in seconds; `gap`, at which
    |bound - value| / max(1, |value|) is near enough (1e-5 at least); `seed`, of the climbs; `effort`, by which neurons
    are bounded first; `split` as in `branch_and_bound`; `progress` or `tee` draw a bar; `load_solutions`; `warmstart`
    (default True) takes the variables' values as a first point; `options`, a dict of the same. An unknown one raises
    `TypeError`.

    A point that is returned satisfies the whole model to 1e-6 and is loaded into all variables. Termination: `optimal`,
    `maxTimeLimit`, `userInterrupt`, `infeasible`, or `feasible` and `noSolution` where another limit came first.
    `history` is then a frame (seconds, value, bound) in the model's own sense, None where "omlt_ext.highs" solved it.

    Raises `ModelError` as "omlt_ext.highs" does.

    >>> from omlt_ext import Layer, Network, ReLUBlock
    >>> network = Network([Layer([[1.0, 1.0]], [-1.5], relu=True), Layer([[4.0]], [0.0], relu=False)])
    >>> model = pyo.ConcreteModel()
    >>> model.x = pyo.Var(range(2), bounds=(0, 1))
    >>> model.nn = ReLUBlock(network, inputs=model.x)
    >>> model.budget = pyo.Constraint(expr=model.x[0] + 2 * model.x[1] <= 2.5)
    >>> model.gain = pyo.Objective(expr=model.nn.outputs[0] - model.x[1], sense=pyo.maximize)
    >>> results = pyo.SolverFactory("omlt_ext.exact").solve(model)
    >>> print(results.solver.message)
    the network search takes the model over: one network over a polytope of 2 columns; the gap is closed
    >>> round(pyo.value(model.gain), 6)
    0.25
    """

    name = "omlt_ext.exact"
    history: pd.DataFrame | None = None

    def __init__(self, **defaults: Any) -> None:
        self._defaults = self.take_options(defaults)

    def solve(self, model: Any, *, options: Mapping[str, object] | None = None, **keywords: Any) -> SolverResults:
        """Prove the optimum, load its point into the model's variables and return Pyomo's results object."""
        begin = time.perf_counter()
        settings, load_solutions = _settings({**self._defaults, **self.options, **(options or {}), **keywords})
        compiled = compile_model(model, logic=False)
        check_surroundings(compiled.blocks, model)
        found, how = prove_model(compiled, settings)
        if found is None:
            return self._by_highs(model, settings, load_solutions, how, begin)
        self.history = found.history
        if found.x is not None and load_solutions:
            compiled.load(found.x)
        elif found.x is None:
            logger.warning(f"{self.name}: {ending(found)}; variables stay as they are")
        results = results_of_search(compiled, self.name, found, time.perf_counter() - begin)
        results.solver.message = f"{how}; {results.solver.message}"
        return results

    def _by_highs(
        self, model: Any, settings: ProofSettings, load_solutions: bool, why: str, begin: float
    ) -> SolverResults:
        """The model as it stands, by "omlt_ext.highs"."""
        self.history = None
        how = f"'omlt_ext.highs' solves the model, since {why}"
        logger.info(f"{self.name}: {how}")
        limit = settings.time_limit
        left = None if limit is None else max(0.0, limit - (time.perf_counter() - begin))
        start = START_SECONDS if left is None else min(START_SECONDS, START_SHARE * left)
        results = NetworkHighs().solve(
            model,
            time_limit=left,
            gap=settings.gap,
            tee=settings.progress,
            warmstart=settings.warmstart,
            load_solutions=load_solutions,
            heuristic=None if why == INSIDE else "auto",  # which sees inputs and outputs only
            heuristic_time=start,
        )
        results.solver.name = self.name
        results.solver.message = f"{how}; {results.solver.message}"
        return results


def _settings(given: dict[str, Any]) -> tuple[ProofSettings, bool]:
    """(how to solve, whether to load) from keywords; `TypeError` for others."""
    given = renamed(given)
    own = {name: given.pop(name) for name in OWN if name in given}
    unknown = sorted(set(given) - set(KEYWORDS))
    if unknown:
        listed = ", ".join([*KEYWORDS, *OWN, "options"])
        raise TypeError(f"omlt_ext.exact: unknown keyword {unknown[0]!r}; known: {listed}")
    if own.get("tee"):
        given["progress"] = True
    settings = ProofSettings(**given)
    settings.check()
    return settings, bool(own.get("load_solutions", True))
