"""What a search over a network returns, whichever method found it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from ..domain import Floats


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The best point found, its value, and what is proved about it.

    `x` (n_inputs,) is the point, `value` = objective . f(x) evaluated by the network itself (both None where nothing
    was found). `bound`: no point of the domain has a value above it when maximising (below it when minimising); None
    where nothing was proved. `status`: "optimal" (the gap is closed), "time_limit", "interrupted", "infeasible", or
    "limit" (another limit of the solver, its tolerances or memory, left a gap).
    `nodes` is the size of the tree; `history` has a row (seconds, value, bound) for each improvement.
    """

    x: Floats | None
    value: float | None
    bound: float | None
    status: str
    nodes: int = 0
    seconds: float = 0.0
    history: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["seconds", "value", "bound"]))

    @property
    def gap(self) -> float | None:
        """|bound - value| / max(1, |value|), None where either is missing."""
        if self.value is None or self.bound is None:
            return None
        return abs(self.bound - self.value) / max(1.0, abs(self.value))
