"""SolverFactory("omlt_ext.relaxing_walk"), "omlt_ext.auto", ...: every registered heuristic as a Pyomo solver.

A solver for each name in the entry-point group `omlt_ext.heuristics`, those of other packages too; the heuristic itself
is imported when its solver first solves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar

import pandas as pd
import pyomo.environ as pyo
from pyomo.opt import SolverResults

from .bridge import compile_model
from .errors import OptionError
from .plugins import HEURISTICS, names
from .pyomo_door import PyomoSolver, renamed
from .pyomo_results import ending, results_of_search
from .pyomo_search import SearchSettings, search_model
from .pyomo_solver import NetworkHighs
from .search.heuristic import Heuristic, heuristic
from .search.history_plot import plot_history
from .surroundings import check_surroundings

__all__ = ["HeuristicSolver", "plot_history", "register", "solver_class"]

logger = logging.getLogger("omlt_ext")

KEYWORDS = tuple(field.name for field in fields(SearchSettings))
OWN = ("tee", "load_solutions")


class HeuristicSolver(PyomoSolver):
    """`SolverFactory("omlt_ext.<name>").solve(model)`: a good point of a mixed-integer linear model with ReLUBlocks.

    The model may have several networks, other linear constraints, other whole and binary variables, and either sense.
    Every point that is returned satisfies the *whole* model to 1e-6 (rows, bounds, whole numbers, absolute; the
    networks by a forward pass) and is loaded into *all* variables, those of the layers too: another solver can start
    from it, as in `SolverFactory("gurobi_direct").solve(model, warmstart=True)`.

    Keywords of `solve` (and of the constructor, as defaults): `time_limit` in seconds; `rounds`, to limit the work
    instead; `seed`; `gap`, relative, at which value and bound are near enough; `effort`, by which the objective is
    bounded first; `executor` and `searches` as in `maximize`; `progress` or `tee` draw a bar; `load_solutions`;
    `warmstart` (default True) takes the variables' values as a first point; everything else are options of the
    heuristic, also in `options`. An unknown keyword raises `TypeError`. Without time limit and rounds the heuristic
    ends by itself.

    The results object has the value on one side and on the other only what was proved. Termination: `optimal` where the
    gap is closed, `maxTimeLimit`, `userInterrupt`, `infeasible` where that was proved, `feasible` where the heuristic
    ended with a point, `noSolution` where it ended without one, and the message says so; variables then stay as they
    are. Where a network is relaxed (the formulation "triangle", rows of it deactivated) the point is one of the network
    itself, and there is no bound. After `solve`, `history` is a pandas frame (seconds, value, bound) in the model's own
    sense; `plot_history` draws it. Logic in a block's own layers (the formulations "sos1", "indicator",
    "complementarity") is no hindrance: the networks are evaluated, not encoded.

    A model without networks is handed to "omlt_ext.highs". Raises `ModelError` as "omlt_ext.highs" does, and where the
    objective holds variables from inside a network.
    """

    method: ClassVar[str] = "auto"
    history: pd.DataFrame | None = None

    def __init__(self, **defaults: Any) -> None:
        self._defaults = self.take_options(defaults)

    @property
    def name(self) -> str:
        return f"omlt_ext.{self.method}"

    def solve(self, model: Any, *, options: Mapping[str, object] | None = None, **keywords: Any) -> SolverResults:
        """Search, load the best point into the model's variables and return Pyomo's results object."""
        begin = time.perf_counter()
        given = {**self._defaults, **self.options, **(options or {}), **keywords}
        chosen, settings, load_solutions = self._settings(given)
        compiled = compile_model(model, logic=False)
        check_surroundings(compiled.blocks, model)
        if not compiled.matrix.networks:
            self.history = None
            logger.info(f"{self.name}: the model has no network in it, so that 'omlt_ext.highs' solves it")
            highs = NetworkHighs(time_limit=settings.time_limit, gap=settings.gap, warmstart=settings.warmstart)
            return highs.solve(model, load_solutions=load_solutions)
        found = search_model(compiled, chosen, settings)
        self.history = found.history
        if found.x is not None and load_solutions:
            compiled.load(found.x)
        elif found.x is None:
            logger.warning(f"{self.name}: {ending(found)}; variables stay as they are")
        return results_of_search(compiled, self.name, found, time.perf_counter() - begin)

    def _settings(self, given: dict[str, Any]) -> tuple[Heuristic, SearchSettings, bool]:
        """(the heuristic with its options, how to search, whether to load) from keywords; `TypeError` for others."""
        given = renamed(given)
        own = {name: given.pop(name) for name in OWN if name in given}
        found = heuristic(self.method)
        options: Any = found
        known = [f.name for f in fields(options) if f.init and f.name not in KEYWORDS] if is_dataclass(options) else []
        mine = {name: value for name, value in given.items() if name in known}
        unknown = sorted(set(given) - set(mine) - set(KEYWORDS))
        if unknown:
            listed = ", ".join([*KEYWORDS, *OWN, "options"])
            raise TypeError(
                f"{self.name}: unknown keyword {unknown[0]!r}; known: {listed}; "
                f"options of {self.method}: {', '.join(known) or 'none'}"
            )
        settings = SearchSettings(**{name: value for name, value in given.items() if name not in mine})
        if own.get("tee"):
            settings = replace(settings, progress=True)
        settings.check()
        return (replace(options, **mine) if mine else found), settings, bool(own.get("load_solutions", True))


def solver_class(method: str) -> type[HeuristicSolver]:
    """The solver of the heuristic `method`, by its name in the entry points.

    >>> solver_class("milp")().name
    'omlt_ext.milp'
    """
    return type(f"Heuristic_{method}", (HeuristicSolver,), {"method": method, "__doc__": HeuristicSolver.__doc__})


def register(methods: Iterable[str] | None = None) -> None:
    """Register a solver "omlt_ext.<method>" with Pyomo for every heuristic; `OptionError` for a name that is taken."""
    for method in names(HEURISTICS) if methods is None else methods:
        name = f"omlt_ext.{method}"
        if name in pyo.SolverFactory and not issubclass(pyo.SolverFactory.get_class(name), HeuristicSolver):
            raise OptionError(f"a heuristic cannot be called {method!r}: {name!r} is another solver")
        pyo.SolverFactory.register(name, doc=f"the heuristic {method!r} for models with ReLUBlocks")(
            solver_class(method)
        )


register()
