"""What a verification ends with."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .counterexample import Counterexample


@dataclass(frozen=True, eq=False)
class Verdict:
    """`verdict` is "sat", "unsat" or "unknown"; what it rests on stands beside it.

    With the slack of a row, g_i - Gx_i x - Gy_i f(x), a point is a counterexample where some disjunct has no negative
    slack. `bound`: no point of any disjunct's domain has a least slack above it, so that a negative one is a proof and
    `-bound` is by how much every point misses; inf while nothing is known of some disjunct, -inf where there is no
    point at all. `counterexample` is there where the verdict is "sat", as the source's own evaluator confirmed it.

    `status` says why: "proved", "confirmed", or of what is unknown "time_limit", "interrupted", or "tolerance": every
    part was looked at, and slacks of some remain too near to 0, or the evaluator refused the points found.
    `trusts_solver`: the proof holds up to the tolerance of an LP or MILP solver, by which its bounds were widened;
    without that it holds in exact arithmetic. `nodes` of all trees, `seconds` in all. `disjuncts` has a row for each:
    its state ("proved", "violated" or "open"), bound and nodes.

    >>> table = pd.DataFrame({"state": ["proved"], "bound": [-0.25], "nodes": [0]})
    >>> Verdict("unsat", None, -0.25, "proved", False, 0, 0.015, table)
    unsat (proved): every point misses by at least 0.25; 1 disjunct, 0 nodes, 0.01 s
    """

    verdict: str
    counterexample: Counterexample | None
    bound: float
    status: str
    trusts_solver: bool
    nodes: int
    seconds: float
    disjuncts: pd.DataFrame

    def __repr__(self) -> str:
        count = len(self.disjuncts)
        work = f"{count} disjunct{'s' * (count != 1)}, {self.nodes} nodes, {self.seconds:.2f} s"
        return f"{self.verdict} ({self.status.replace('_', ' ')}): {self._found()}; {work}"

    def _found(self) -> str:
        if self.counterexample is not None:
            return f"disjunct {self.counterexample.disjunct} holds, says {self.counterexample.evaluator}"
        if self.verdict == "unsat":
            solver = ", up to a solver's tolerance" if self.trusts_solver else ""
            return f"every point misses by at least {-self.bound:.4g}{solver}"
        left = int((self.disjuncts.state == "open").sum())
        return f"{left} disjunct{'s' * (left != 1)} open, no least slack above {self.bound:.4g}"
