"""Cuts of networks in a gurobipy model: rounds on its LP relaxation, and a callback for the nodes of its solves.

The cuts are those of the encodings' separators (`omlt_ext.separation`), on the variables of the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .domain import Floats
from .errors import LicenceError, ModelError, SolverError
from .milp import MatrixModel
from .separation import Cuts, Separation, check_limits
from .solvers.gurobi import GRB, NO_LICENCE, STATUS, TOO_LARGE, add_rows, gurobipy, sides, turns


@dataclass(frozen=True)
class RootCuts:
    """What `add_cuts` did: `cuts` rows were added to the model, after `rounds` rounds in which `found` were found.

    `before` and `after`: the value of the relaxation, None where it was not reached. `status`: "converged" (no cut is
    violated), "rounds", "time_limit", "interrupted", or what the relaxation ended with: "infeasible" then says it of
    the model, "unbounded" that nothing shows where cuts are needed.
    """

    before: float | None
    after: float | None
    rounds: int
    found: int
    cuts: int
    seconds: float
    status: str


class NetworkCuts:
    """The separators of some networks in a Gurobi model, and what they have given it.

    `copies` are pairs of a network's `MatrixModel` and the model's variable for each of its columns. `rows` are the
    constraints that `add` has added, `at_nodes` counts the cuts that the callback made last has given.
    """

    def __init__(self, model: Any, copies: Sequence[tuple[MatrixModel, list[Any]]]) -> None:
        shared = {id(matrix): Separation(matrix) for matrix, _ in copies}
        self.model = model
        self.parts = [(shared[id(matrix)], variables) for matrix, variables in copies if shared[id(matrix)]]
        self.rounds = max((separation.rounds for separation, _ in self.parts), default=0)
        self.rows: list[Any] = []
        self.at_nodes = 0

    def summary(self) -> str:
        """How many cuts there are, as text."""
        if not self.rows and not self.at_nodes:
            return "no cuts yet: call add_cuts(), or optimize(nn.callback)"
        return f"{len(self.rows)} cuts are constraints, {self.at_nodes} were given to the nodes of the last solve"

    def add(self, rounds: int | None = None, time_limit: float | None = None) -> RootCuts:
        """Solve the relaxation, add the cuts that it violates, and again; those that stay tight go into the model."""
        check_limits(rounds, time_limit)
        self.model.update()
        if self.model.NumObj > 1:
            raise ModelError(f"the model has {self.model.NumObj} objectives; cuts are looked for along one")
        begin, most = time.perf_counter(), self.rounds if rounds is None else int(rounds)
        found, values, status = [separation.none() for separation, _ in self.parts], [], "converged"
        points: list[Floats] = []
        done = 0
        try:
            relaxed = self.model.relax()
            relaxed.Params.OutputFlag = 0
            own = relaxed.getVars()
            columns = [[own[variable.index] for variable in variables] for _, variables in self.parts]
            while self.parts:
                if time_limit is not None:
                    relaxed.Params.TimeLimit = max(0.0, time_limit - (time.perf_counter() - begin))
                relaxed.optimize()
                status = STATUS.get(relaxed.Status, "failed")
                if status != "optimal":
                    break
                values.append(float(relaxed.ObjVal))
                points = [np.array(relaxed.getAttr("X", part), dtype=np.float64) for part in columns]
                if done == most:
                    status = "rounds"
                    break
                new = [separation(x) for (separation, _), x in zip(self.parts, points, strict=True)]
                if not any(cuts.size for cuts in new):
                    status = "converged"
                    break
                for cuts, part in zip(new, columns, strict=True):
                    add_rows(relaxed, cuts.A, part, cuts.lower, cuts.upper)
                found = [Cuts.join(pair) for pair in zip(found, new, strict=True)]
                done += 1
        except KeyboardInterrupt:
            status = "interrupted"
        except gurobipy.GurobiError as error:
            kind = LicenceError if error.errno in (NO_LICENCE, TOO_LARGE) else SolverError
            raise kind(f"Gurobi refuses the relaxation of the model: {error}") from None
        kept = []
        for cuts, x, (_, variables) in zip(found, points, self.parts, strict=False):  # no points, no cuts
            tight = cuts.take(cuts.tight(x))
            kept += add_rows(self.model, tight.A, variables, tight.lower, tight.upper)
        self.model.update()
        self.rows += kept
        before, after = (values[0], values[-1]) if values else (None, None)
        total, seconds = sum(cuts.size for cuts in found), time.perf_counter() - begin
        return RootCuts(before, after, done, total, len(kept), seconds, status)

    def callback(self) -> Callable[[Any, int], None]:
        """A callback for one solve: at the root as many rounds as the separators ask for, at any other node one."""
        its_turn = turns(self.rounds)
        self.at_nodes = 0

        def cut(running: Any, where: int) -> None:
            if where != GRB.Callback.MIPNODE or not its_turn(running):
                return
            for separation, variables in self.parts:
                cuts = separation(np.array(running.cbGetNodeRel(variables), dtype=np.float64))
                self.at_nodes += cuts.size
                for _, row, sense, side in sides(cuts.A, variables, cuts.lower, cuts.upper):
                    running.cbCut(row, sense, side)

        return cut
