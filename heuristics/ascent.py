"""Projected gradient ascent from many points at once, in units of the box (`slopes.py`).

    m <- MEAN m + g,   u <- P(u + s sign(m))

with g the slope, P the projection on box and rows (`projection.py`) and s falling from `FIRST` to `LAST` times the box.
A hundred steps by signs end about as high as three hundred of Adam's, and each moves fewer numbers. After some steps
the starts that lag behind are left where they are. Rows with outputs are charged for, at a rate that grows, as
`slopes.py` says. Whole columns are relaxed during the first half of the steps, then rounded and left there. Of each
start the best point counts: of where it began, of where it was left, and of the second half.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from omlt_ext.domain import Floats
from omlt_ext.search.problem import Problem

from .projection import Projection
from .slopes import LEAK, Reals, Slopes

FIRST, LAST = 0.2, 0.003  # sizes of steps
MEAN = 0.9  # share of the slopes before that a step keeps
CUTS = (0.15, 0.35)  # shares of the steps after which the worse starts are left
KEPT = 1 / 3  # share of the starts that go on
FEWEST = 8  # starts among which none is left
BYTES = 8e6  # of a block of starts: what a processor keeps near itself
BLOCK = 512  # starts at most
LOOK = 10  # steps between two looks at the clock
RATE = 1.0, 1000.0  # from and to: of the charge for rows with outputs
STEEP = np.float32(1e30)  # makes every slope but 0 longer than a step
HARDER = 4.0  # growth of the charge for rows with outputs where no LP found them kept
NEARER = 10  # steps of a projection on the way


class Ascent:
    """Projected ascent on one problem; `climb` takes starts (m, n) and returns the best point of each.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> Ascent(Problem.of_network(network, Box([-1], [1]))).climb(np.array([[0.5], [-0.5]]), 50)
    array([[ 1.],
           [-1.]])
    """

    def __init__(self, problem: Problem, *, single: bool = True) -> None:
        self.problem = problem
        self.slopes = Slopes(problem, single=single)
        self.projection = Projection(problem, self.slopes.units)
        self.whole = np.flatnonzero(problem.integer)

    @property
    def block(self) -> int:
        """Starts that are climbed together."""
        return int(np.clip(BYTES / (self.slopes.size * np.dtype(self.slopes.dtype).itemsize), 16, BLOCK))

    def climb(
        self, V: Floats, steps: int, *, first: float = FIRST, goes_on: Callable[[], bool] = lambda: True
    ) -> Floats:
        """The best point (m, n) of each start after `steps`, or fewer where `goes_on` ends it.

        `first` is the size of the first step. The points lie in the box; rows without outputs hold up to rounding, or
        as nearly as the projection comes where there are several and no point is inside all of them.
        """
        units = self.slopes.units
        U = self.projection(units.enter(np.atleast_2d(V)))
        if self.slopes.rows.size and not self.slopes.weights.any():
            self.slopes.weigh(U.astype(self.slopes.dtype))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, U.shape[1], self.block):
                if start and not goes_on():
                    break
                part = slice(start, start + self.block)
                U[:, part] = self._climb(U[:, part].astype(self.slopes.dtype), steps, first, goes_on)
        if self.projection.low.size:
            U = self.projection.draw(self.projection(U))
        return units.leave(U)

    def charge_more(self) -> bool:
        """Charge `HARDER` times as much for rows with outputs from now on; False where there are none."""
        self.slopes.weights *= HARDER
        return bool(self.slopes.rows.size)

    def merits(self, V: Floats) -> Floats:
        """What points (m, n) are compared by: the objective, less what rows with outputs charge."""
        F, charge, _ = self.slopes(self.slopes.units.enter(V).astype(self.slopes.dtype))
        return np.asarray(F - RATE[1] * charge, dtype=np.float64)

    def _climb(self, U: Reals, steps: int, first: float, goes_on: Callable[[], bool]) -> Reals:
        real = self.slopes.dtype
        rates = (first * (LAST / first) ** np.linspace(0.0, 1.0, steps)).astype(real)
        charges = RATE[0] * (RATE[1] / RATE[0]) ** np.linspace(0.0, 1.0, steps)
        cuts = {round(share * steps) for share in CUTS}
        found, running = U.copy(), np.arange(U.shape[1])
        M, lam = np.zeros_like(U), self.projection.multipliers(U.shape[1]).astype(real)
        kept, best = U.copy(), np.full(U.shape[1], -np.inf, dtype=real)
        for t in range(steps + 1):
            if t == steps // 2 and self.whole.size:
                U[self.whole] = self.slopes.units.rounded(U[self.whole], self.whole)
                best[:] = -np.inf  # what was better is not whole
            F, charge, G = self.slopes(U, charges[min(t, steps - 1)])
            F -= real(RATE[1]) * charge
            last = t == steps or (t % LOOK == LOOK - 1 and not goes_on())
            if t == 0 or t >= steps // 2 or last:  # in between, almost every step is better than the one before it
                better = np.flatnonzero(best < F)
                kept[:, better], best[better] = U[:, better], F[better]
            if last:
                break
            if t in cuts and running.size > FEWEST:
                found[:, running] = np.where(best < F, U, kept)
                count = max(FEWEST, int(KEPT * running.size))
                ahead = np.sort(np.argsort(-F, kind="stable")[:count])
                running, best, lam = running[ahead], best[ahead], lam[:, ahead]
                U, G, M, kept = (part[:, ahead] for part in (U, G, M, kept))
            M *= real(MEAN)
            M += G
            if t % LOOK == 0:
                flat = ~M.any(axis=0)
                if flat.any():
                    M[:, flat] = self.slopes(U[:, flat], charges[t], LEAK)[2]
            if t >= steps // 2:
                M[self.whole] = 0
            np.multiply(M, STEEP, out=G)  # then clip(G, -s, s) = s sign(m), in a fraction of the time
            U += np.clip(G, -rates[t], rates[t], out=G)
            U = self.projection(U, NEARER, lam)
        found[:, running] = kept
        return found
