"""Points that may be counterexamples, and what is proved where there are none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..domain import Floats
from ..search.incumbent import Incumbent
from ..search.problem import TOLERANCE
from .counterexample import Counterexample, confirm
from .original import Original, original_of
from .property import Property

NEAR = 1e-5  # a point whose least slack is this near to 0 may be one by the source's own rounding
TRIES = 2  # points of a batch that the source is asked about
STEPS = (0.0, 1e-7, 1e-4)  # of the way into a polytope, whose border rounding crosses


@dataclass
class Judge:
    """Asks the evaluator of `source` about points; `found` is the first that it confirms.

    The source is opened when the first point comes: a proof does without.
    """

    source: object
    property: Property
    found: Counterexample | None = None
    evaluate: Original | None = None

    def ask(self, x: Floats) -> None:
        """Whether x (n_in,) is a counterexample; once there is one, nothing more is asked."""
        if self.found is None:
            self.evaluate = original_of(self.source) if self.evaluate is None else self.evaluate
            self.found = confirm(self.evaluate, self.property, x)


@dataclass(eq=False)
class Suspects(Incumbent):
    """The incumbent of one disjunct: t is its least slack, proved negative where `bound` lies below -`margin`.

    Points with t >= 0, up to rounding, go to the judge, the largest first; where it refuses them the search goes on to
    larger t. It ends where the judge has a counterexample, of whichever disjunct.
    """

    judge: Judge = field(kw_only=True)
    margin: float = 0.0
    inner: Floats | None = None  # a point well inside a polytope

    @property
    def proved(self) -> bool:
        """Whether no point has t >= 0. What rests on a solver does not count where a point's own value says more."""
        return self.propagated < -self.margin or self.trusts

    @property
    def trusts(self) -> bool:
        """Whether the proof, if there is one, rests on a solver's tolerances."""
        return max(self.bound, self.value) < -self.margin <= self.propagated

    @property
    def closed(self) -> bool:
        return self.proved or self.judge.found is not None

    @property
    def worth(self) -> float:
        return -self.margin

    def offer(self, V: Floats) -> bool:
        """Keep the best of some points (n,) or (m, n), and have those judged first that may be counterexamples."""
        inside = self.problem.inside(np.atleast_2d(V))
        Y = self.problem.outputs(inside)
        values = self.problem.values(inside, Y)
        if not self.problem.is_box:
            values = np.where(self.problem.violations(inside, Y) <= TOLERANCE, values, -np.inf)
        order = np.argsort(-values, kind="stable")[:TRIES]
        for i in order[values[order] >= -NEAR]:
            self._judge(inside[i])
        best = order[0]
        if not values[best] > self.value:
            return False
        self.v, self.value = inside[best].copy(), float(values[best])
        self.record()
        return True

    def _judge(self, u: Floats) -> None:
        for step in STEPS if self.inner is not None else STEPS[:1]:
            pulled = u if self.inner is None else u + step * (self.inner - u)
            self.judge.ask(self.judge.property.point(pulled))
