"""The combination that `maximize` uses when nothing else is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omlt_ext.encoding import Formulation
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Problem

from .milp import Milp


@dataclass(frozen=True)
class Auto:
    """Branch and bound, for now."""

    formulation: str | Formulation = "bigm"

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        """See `Milp`."""
        Milp(self.formulation).search(problem, incumbent, rng, rounds)
