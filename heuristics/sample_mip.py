"""Sample-MIP: regions of uniform points by LP, then the regions that meet at the best point of each by MIP.

A round: draw v uniformly; v* the best point of its region (`region.py`). Where its value is not far below the best one
known, |best - value| < ratio |best|: the best point of all regions that meet at v* (`border.py`), again and again
until that is no better.
Source: Perakis and Tsiourvas, arXiv 2205.14189. New here: the pattern comes from a forward pass, everything but the
neurons at the border is substituted, a point that violates rows is moved to the nearest one that does not, and regions
are not solved twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from omlt_ext.domain import Box, Polytope
from omlt_ext.network import Network
from omlt_ext.options import check_count, check_flag, check_number
from omlt_ext.search import SearchResult
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.maximize import maximize_by
from omlt_ext.search.problem import Problem

from .border import border_mip
from .nearest import Nearest
from .region import Local, Regions
from .sign_rows import TIGHT, Patterns
from .starts import uniform_starts

ROUNDS = 100  # where neither rounds nor a time limit end the search


@dataclass(frozen=True)
class SampleMip:
    """Sample-MIP; one round is one sample.

    `mip=False` leaves the MIPs out (the base algorithm). A MIP follows where best - value <= `ratio` |best|; free in it
    are neurons with |z| <= `border` times the length of their row, and the so many that are `nearest` to the border
    beside them (none, as published). `nodes` limits each MIP.
    """

    mip: bool = True
    ratio: float = 2.0 / 3.0
    border: float = TIGHT
    nearest: int = 0
    nodes: int = 1000

    def __post_init__(self) -> None:
        check_flag("mip", self.mip)
        check_number("ratio", self.ratio)
        check_number("border", self.border)
        check_count("nearest", self.nearest, 0)
        check_count("nodes", self.nodes, 1)

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        """Rounds until the limit; without one, 100 of them."""
        if problem.bounds is None and self.mip:
            problem = problem.with_bounds("interval")
        if rounds is None and incumbent.time_limit is None:
            rounds = ROUNDS
        regions, nearest, seen = Regions(problem), Nearest(problem), set[bytes]()
        for drawn in islice(uniform_starts(problem, rng), rounds):
            if not incumbent.goes_on():
                return
            v = nearest(drawn, incumbent.left)
            if v is None:
                continue
            pattern = regions.pattern(v)
            if regions.key(pattern) in seen:
                continue
            seen.add(regions.key(pattern))
            local = regions.solve(pattern, time_limit=incumbent.left)
            if local is None:
                continue
            incumbent.offer(local.v)
            if self.mip and incumbent.value - local.value <= self.ratio * abs(incumbent.value):
                self._cross(problem, regions, local, pattern, incumbent)

    def _cross(self, problem: Problem, regions: Regions, local: Local, pattern: Patterns, incumbent: Incumbent) -> None:
        """MIPs over the regions at a point, while they find better ones."""
        while incumbent.goes_on():
            better = border_mip(
                problem,
                regions,
                local,
                pattern,
                nodes=self.nodes,
                border=self.border,
                nearest=self.nearest,
                time_limit=incumbent.left,
            )
            if better is None:
                return
            incumbent.offer(better.v)
            local, pattern = better, regions.pattern(better.v)


def sample_mip(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    objective: ArrayLike | None = None,
    **options: Any,
) -> SearchResult:
    """The maximum of objective . f(x) over a box or polytope, by `SampleMip`.

    `options` are those of `SampleMip` and, as in `maximize`, `time_limit`, `rounds`, `seed`, `gap`, `effort`,
    `executor`, `searches` and `progress`. Arguments, result and errors are those of `maximize`.

    >>> from omlt_ext import Box, Layer, Network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)])
    >>> best = sample_mip(network, Box([-1, -1], [1, 1]), rounds=8)  # max (x + y)+ - 3 (x - y)+
    >>> round(best.value, 6), best.x
    (2.0, array([1., 1.]))
    """
    return maximize_by(SampleMip, network, domain, objective, options)
