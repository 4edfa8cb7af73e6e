"""One walk over linear regions: an LP over the region, a step across its border, and again while the value grows.

Symbols: x the point that a region was entered at, x* its best point, P its pattern, a neuron *tight* where z = 0 at x*.

Three ways across a border: "step" goes past x* as seen from x, to x* + eps (x* - x) in each coordinate that stays
within its bounds, and takes the pattern there; "random" gives each tight neuron a fresh sign, "all_tight" the opposite.
After a flip x* still belongs to the closed region, so that the value cannot fall.
Source: relax-and-walk, arXiv 2401.03451.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import TOLERANCE, Problem

from .border import border_mip
from .region import Local, Regions
from .sign_rows import Patterns

CROSSINGS = ("step", "random", "all_tight")
STRICT = 1e-9  # relative: a value that grows by less has not grown
TIGHT = 1e-9  # of a row, relative to its coefficients: it stops a step


@dataclass(frozen=True)
class Rules:
    """How walks cross borders and when they end.

    `crossings` are tried one after the other until one leads to a better region. A walk ends where none does, where the
    value has grown by no more than `stop_gain` relative to its size, and after `steps` regions. `memory`: no region is
    solved twice, in whichever walk. `nodes` > 0: of a MIP over all tight neurons at once, where no crossing helps.
    """

    crossings: tuple[str, ...]
    epsilon: float
    stop_gain: float
    steps: int | None
    memory: bool
    nodes: int


class Walks:
    """All walks of one search: what they offer to `incumbent`, and the regions that they have been in.

    `visited` maps `Regions.key` to the value of the region, -inf where it is empty; with integer columns, to its value
    where these are fixed, or at all.
    """

    def __init__(self, problem: Problem, incumbent: Incumbent, rules: Rules, rng: np.random.Generator) -> None:
        self.problem, self.incumbent, self.rules, self.rng = problem, incumbent, rules, rng
        self.regions = Regions(problem)
        self.visited: dict[bytes, float] = {}

    def enter(self, x: Floats, pattern: Patterns | None = None) -> tuple[Patterns, Local] | None:
        """The region of x, or of a pattern, and its best point; None where it is empty or was seen before."""
        pattern = self.regions.pattern(x) if pattern is None else pattern
        local = self._solve(pattern, x)
        if local is None and self.problem.integer.any():
            local = self._solve(pattern, None)
        return None if local is None else (pattern, local)

    def walk(self, x: Floats, pattern: Patterns, here: Local) -> Local:
        """From the region of `pattern`, entered at x, with the best point `here`, to the last region of the walk."""
        steps = 1
        while self.incumbent.goes_on() and (self.rules.steps is None or steps < self.rules.steps):
            found = next(self._better(x, pattern, here), None)
            if found is None:
                break
            gain = found[2].value - here.value
            x, pattern, here = found
            steps += 1
            if gain <= self.rules.stop_gain * abs(here.value):
                break
        return here

    def _better(self, x: Floats, pattern: Patterns, here: Local) -> Iterator[tuple[Floats, Patterns, Local]]:
        """Regions with a better value than `here`, and the points where they are entered."""
        for crossing in self.rules.crossings:
            entered, other = self._cross(crossing, x, pattern, here)
            local = None if other is None else self._solve(other, here.v)
            if other is not None and local is not None and grows(local, here):
                yield entered, other, local
        if self.problem.integer.any():  # whole columns were fixed so far
            local = self._solve(pattern, None)
            if local is not None and grows(local, here):
                yield here.v, pattern, local
        if self.rules.nodes and any(mask.any() for own in here.tight for mask in own):
            found = border_mip(
                self.problem, self.regions, here, pattern, nodes=self.rules.nodes, time_limit=self.incumbent.left
            )
            if found is not None and grows(found, here):
                self.incumbent.offer(found.v)
                yield here.v, self.regions.pattern(found.v), found

    def _cross(self, crossing: str, x: Floats, pattern: Patterns, here: Local) -> tuple[Floats, Patterns | None]:
        """(the point of entry, the pattern there); no pattern where the border is not crossed."""
        if crossing == "step":
            entered = beyond(self.problem, x, here.v, self.rules.epsilon)
            other = self.regions.pattern(entered)
        else:
            entered = here.v
            other = tuple(
                tuple(
                    signs ^ (tight if crossing == "all_tight" else tight & (self.rng.random(tight.size) < 0.5))
                    for signs, tight in zip(own, tights, strict=True)
                )
                for own, tights in zip(pattern, here.tight, strict=True)
            )
        same = self.regions.key(other) == self.regions.key(pattern)
        return entered, None if same else other

    def _solve(self, pattern: Patterns, whole: Floats | None) -> Local | None:
        """The best point of a region, offered; None where there is none, or where the walks know it already.

        Integer columns are fixed at those of `whole`, or decided where there is no `whole`.
        """
        key = self.regions.key(pattern, whole)
        if self.rules.memory and (key in self.visited or self.regions.key(pattern) in self.visited):
            return None
        local = self.regions.solve(pattern, whole=whole, time_limit=self.incumbent.left)
        self.visited[key] = -np.inf if local is None else local.value
        if local is not None:
            self.incumbent.offer(local.v)
        return local


def grows(new: Local, old: Local) -> bool:
    """Whether the value is strictly larger, rounding aside."""
    return new.value > old.value + STRICT * max(1.0, abs(old.value))


def beyond(problem: Problem, x: Floats, best: Floats, epsilon: float) -> Floats:
    """best + epsilon (best - x), less the coordinates that would leave their bounds and whole ones, along the rows.

    Rows without outputs that are tight at `best` bend the step into their surface; the first other one ends it. Rows
    with outputs are left to the region's LP.
    """
    step = epsilon * (best - x)
    step[problem.integer] = 0.0
    step[(best + step < problem.lower) | (best + step > problem.upper)] = 0.0
    rows = np.flatnonzero(~problem.on_outputs)
    if rows.size == 0 or not step.any():
        return best + step
    A = sparse.csr_array(problem.R[rows])
    slack = _slack(problem, rows, A, best)
    size = TIGHT * (1.0 + abs(A) @ np.abs(best))
    tight = np.flatnonzero((slack <= size).any(axis=0))
    if tight.size:
        step = _along(A[tight], step)
    rate = A @ step
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(rate > size, slack[1] / rate, np.where(rate < -size, slack[0] / -rate, np.inf))
        ends = np.where(
            step > 0.0, (problem.upper - best) / step, np.where(step < 0.0, (problem.lower - best) / step, np.inf)
        )
    moved = best + np.clip(min(reach.min(), ends.min()), 0.0, 1.0) * step
    return np.clip(moved, problem.lower, problem.upper)


def _slack(problem: Problem, rows: Any, A: Any, v: Floats) -> Floats:
    """(2, m): how far each row is above its lower and below its upper end."""
    activity = A @ v
    return np.stack([activity - problem.row_lower[rows], problem.row_upper[rows] - activity])


def _along(A: Any, step: Floats) -> Floats:
    """The step's part along A's null space, in the coordinates that move."""
    moving = step != 0.0
    B = A[:, np.flatnonzero(moving)].toarray()
    along = step.copy()
    along[moving] -= B.T @ np.linalg.lstsq(B @ B.T, B @ step[moving], rcond=None)[0]
    along[np.abs(along) <= TOLERANCE * np.abs(step).max()] = 0.0
    return along
