"""Cut rounds: solve the LP relaxation, ask the separators of its networks for cuts, add them, and again."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import numpy as np
from tqdm.auto import tqdm

from .domain import Floats
from .errors import SolverError
from .milp import MatrixModel
from .separation import Cuts, Separation
from .solvers import HighsSolver, SolveResult

logger = logging.getLogger("omlt_ext")

OPTIONS = {"presolve": "off", "solver": "simplex"}  # each LP starts from the basis of the one before


class CutLP:
    """The LP relaxation of a model together with the cuts found so far; it lives across objectives."""

    def __init__(self, model: MatrixModel, separation: Separation) -> None:
        self.base = model.relax()
        self.separation = separation
        self.cuts = separation.none()
        self.found = 0
        self.solver = HighsSolver(self.base, OPTIONS)
        self.last: SolveResult | None = None  # the last LP that was solved to its optimum

    @property
    def model(self) -> MatrixModel:
        """The LP with its cuts."""
        return self.base.with_rows(self.cuts.A, self.cuts.lower, self.cuts.upper)

    def solve(self, time_limit: float | None = None) -> SolveResult:
        """Solve the LP as it is."""
        result = self.solver.solve(time_limit=time_limit)
        if result.status == "optimal":
            self.last = result
        return result

    def separate(self, x: Floats) -> int:
        """Add the cuts that x violates; return how many there are."""
        cuts = self.separation(x)
        if cuts.size:
            self.solver.add_rows(cuts.A, cuts.lower, cuts.upper)
            self.cuts = Cuts.join([self.cuts, cuts])
            self.found += cuts.size
        return cuts.size

    def drop_slack(self) -> None:
        """Take out the cuts that the last optimal point leaves slack."""
        if self.last is None or self.last.x is None or self.cuts.size == 0:
            return
        tight = self.cuts.tight(self.last.x)
        self.solver.remove_rows(self.base.n_rows + np.flatnonzero(~tight))
        self.cuts = self.cuts.take(tight)


@dataclass(frozen=True, eq=False)
class CutRounds:
    """What `add_cuts` did: the `model` with its `cuts`, those that are not slack in the end, as rows.

    `before` and `after`: the LP relaxation's value, None where it was not reached; `rounds` of cuts that were added,
    `found` in them together. `status`: "converged" (no cut is violated), "rounds", "time_limit", "interrupted",
    "failed" (HiGHS did), or what the LP ended with: "infeasible" then says it of the model.
    """

    model: MatrixModel = field(repr=False)
    cuts: Cuts = field(repr=False)
    before: float | None
    after: float | None
    rounds: int
    found: int
    seconds: float
    status: str


def add_cuts(
    model: MatrixModel,
    *,
    rounds: int | None = None,
    time_limit: float | None = None,
    separation: Separation | None = None,
    progress: bool = False,
) -> CutRounds:
    """The model with cuts of its networks' separators as rows, those that its LP relaxation violates.

    At most `rounds` rounds (None: as many as the separators ask for) and `time_limit` seconds; Ctrl-C ends the rounds
    as well, and the cuts found so far are kept. Cuts that are slack at the last LP's optimum are dropped: its value
    stays. A model without an objective is a model whose points all have the same value. `progress` draws a bar.

    >>> import numpy as np
    >>> from omlt_ext import Layer, Network, tighten_bounds
    >>> from omlt_ext.formulations import IdealCuts
    >>> from omlt_ext.milp import network_model
    >>> network = Network([Layer([[1.0, 1.0]], [-0.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
    >>> model = network_model(network, tighten_bounds(network, (0, 1)), IdealCuts(), objective=[1.0])
    >>> model = model.fix(np.array([0]), np.array([0.0]))  # max relu(x_1 - 0.5)
    >>> done = add_cuts(model)
    >>> round(done.before, 6), round(done.after, 6), done.cuts.size, done.status
    (0.75, 0.5, 1, 'converged')
    """
    begin = time.perf_counter()
    separation = Separation(model) if separation is None else separation
    if not separation:
        return CutRounds(model, separation.none(), None, None, 0, 0, time.perf_counter() - begin, "converged")
    rounds = separation.rounds if rounds is None else rounds
    lp = CutLP(model, separation)
    before, done, status = None, 0, "rounds"
    try:
        with tqdm(total=rounds, disable=not progress, unit="round", leave=False) as bar:
            while True:
                spent = time.perf_counter() - begin
                result = lp.solve(None if time_limit is None else max(0.0, time_limit - spent))
                before = result.value if before is None and result.status == "optimal" else before
                if result.status != "optimal" or result.x is None:
                    status = result.status
                    break
                if done == rounds:
                    break
                if lp.separate(result.x) == 0:
                    status = "converged"
                    break
                done += 1
                bar.update()
    except KeyboardInterrupt:
        status = "interrupted"
    except SolverError as error:
        logger.warning(f"{error}; the model goes on with the cuts found so far")
        status = "failed"
    if status != "infeasible":
        lp.drop_slack()
    after, seconds = None if lp.last is None else lp.last.value, time.perf_counter() - begin
    if done:
        logger.info(f"{done} rounds, {lp.found} cuts, {lp.cuts.size} kept; LP {before} -> {after} in {seconds:.2f} s")
    tight = model.with_rows(lp.cuts.A, lp.cuts.lower, lp.cuts.upper)
    return CutRounds(tight, lp.cuts, before, after, done, lp.found, seconds, status)
