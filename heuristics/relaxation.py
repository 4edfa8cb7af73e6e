"""The LP relaxation of a problem, solved again and again with neurons restricted to a sign.

Symbols: z pre-activation, h post-activation, sigma in [0, 1] the relaxed binary of big-M, l <= z <= u the bounds. The
relaxation of an unstable ReLU is the triangle h >= 0, h >= z, h <= u (z - l)/(u - l). Restricted to z >= 0 (sigma = 1)
it is h = z, restricted to z <= 0 (sigma = 0) it is h = 0.

At a point of the triangle sigma is not unique: h/u <= sigma <= 1 - (h - z)/(-l), one number on the upper line only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from omlt_ext.domain import Floats, Ints
from omlt_ext.network import Bools, Pattern
from omlt_ext.plugins import formulation
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import HighsSolver

from .relaxed_faces import RelaxedFaces, Solution, fits


class Restriction(NamedTuple):
    """A ReLU by its place, and its sign: z >= 0 where `active`, z <= 0 elsewhere."""

    network: int
    layer: int
    neuron: int
    active: bool


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A solution of the relaxation: point `v` (n,), `value`, and the interval of each neuron's sigma.

    `low[b][k]` and `high[b][k]` (n_k,) are its ends for layer k of network b; stable neurons have 0 or 1, linear 1.
    """

    v: Floats
    value: float
    low: tuple[tuple[Floats, ...], ...]
    high: tuple[tuple[Floats, ...], ...]

    def distance(self, pattern: Sequence[Pattern]) -> tuple[tuple[Floats, ...], ...]:
        """xi = |sigma - pattern| of each neuron, with the sigma of its interval that is nearest to the pattern."""
        return tuple(
            tuple(
                np.abs(np.clip(signs, low, high) - signs)
                for signs, low, high in zip(map(np.float64, own), lows, highs, strict=True)
            )
            for own, lows, highs in zip(pattern, self.low, self.high, strict=True)
        )


class Relaxation:
    """The relaxation of one problem; it lives across solves, each of which starts where the last one ended.

    A single network under a box, with rows and an objective that may be met by a polytope and the network's outputs,
    is solved by guessed faces (`relaxed_faces`), whatever its size; every other problem by HiGHS on the big-M model.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 3.0]], [0.0], relu=False)])
    >>> relaxation = Relaxation(Problem.of_network(network, Box([-1], [2])))
    >>> found = relaxation.solve(), relaxation.solve([Restriction(0, 0, 1, False)])  # at x = -1 and x = 2
    >>> [round(relaxed.value, 6) for relaxed in found]
    [3.0, 2.0]
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem.with_bounds()
        self._by: RelaxedFaces | RelaxedMatrix
        self._by = RelaxedFaces(self.problem) if fits(self.problem) else RelaxedMatrix(self.problem)

    @property
    def bound(self) -> float:
        """No value of the problem lies above it; infinite until an unrestricted solve has shown one."""
        return self._by.bound

    @property
    def infeasible(self) -> bool:
        """Whether an unrestricted solve has shown that there is no point at all."""
        return self._by.infeasible

    def unstable(self, network: int, layer: int) -> Ints:
        """The ReLUs of a layer whose sign the bounds leave open: the ones that a restriction says something about."""
        assert self.problem.bounds is not None
        return np.flatnonzero(self.problem.bounds[network].unstable[layer])

    def solve(self, restrictions: Sequence[Restriction] = (), *, time_limit: float | None = None) -> Relaxed | None:
        """The optimum with these restrictions; None where there is no point, no finite value, or no time.

        A restriction on a neuron that is stable the other way leaves no point; one that says what the bounds say or
        that names a linear neuron active, changes nothing.
        """
        open_ones = []
        for restriction in restrictions:
            b, k, j, active = restriction
            if not self.problem.networks[b].network.layers[k].relu[j]:
                if not active:
                    return None
            elif j in self.unstable(b, k):
                open_ones.append(restriction)
            elif active != bool(self._stable_active(b, k)[j]):
                return None
        if any((b, k, j, not active) in open_ones for b, k, j, active in open_ones):
            return None
        found = self._by.solve(open_ones, time_limit)
        return None if found is None else self._relaxed(*found)

    def _stable_active(self, b: int, k: int) -> Bools:
        assert self.problem.bounds is not None
        return self.problem.bounds[b].stable_active[k]

    def _relaxed(self, v: Floats, value: float, zs: list[list[Floats]], hs: list[list[Floats]]) -> Relaxed:
        """From z and h of the unstable neurons, layer by layer."""
        assert self.problem.bounds is not None
        lows, highs = [], []
        for b, (bounds, placed) in enumerate(zip(self.problem.bounds, self.problem.networks, strict=True)):
            low, high = [], []
            for k, layer in enumerate(placed.network.layers):
                at = self.unstable(b, k)
                stable = (~layer.relu | bounds.stable_active[k]).astype(np.float64)
                low.append(stable)
                high.append(stable.copy())
                z, h = zs[b][k], hs[b][k]
                low[-1][at] = np.clip(h / bounds.upper[k][at], 0.0, 1.0)
                high[-1][at] = np.clip(1.0 - (h - z) / -bounds.lower[k][at], low[-1][at], 1.0)
            lows.append(tuple(low))
            highs.append(tuple(high))
        return Relaxed(v, value, tuple(lows), tuple(highs))


class RelaxedMatrix:
    """The big-M model without integrality in one HiGHS model; restrictions are bounds of sigma."""

    bound = np.inf

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model = problem.model(formulation("bigm")).relax()
        self.solver = HighsSolver(self.model)
        self.sigma = [[groups.get("sigma", np.empty(0, int)) for groups in own.groups] for own in self.model.networks]
        self.all = np.concatenate([columns for own in self.sigma for columns in own])
        self.feasible = self.infeasible = False

    def solve(self, restrictions: Sequence[Restriction], time_limit: float | None) -> Solution | None:
        """(v, value, z and h of unstable neurons), or None."""
        lower, upper = self.model.lower.copy(), self.model.upper.copy()
        for b, k, j, active in restrictions:
            own = self.model.networks[b]
            neurons = next(group.neuron for group in own.encodings[k].columns if group.name == "sigma")
            column = self.sigma[b][k][np.searchsorted(neurons, j)]
            lower[column] = upper[column] = float(active)
        self.solver.set_bounds(self.all, lower[self.all], upper[self.all])
        result = self.solver.solve(time_limit=time_limit)
        self.infeasible = self.infeasible or (result.status == "infeasible" and not restrictions)
        if result.status != "optimal" or result.x is None or result.value is None:
            return None
        if not self.feasible:  # from now on the basis of the last solve is worth more than presolve
            self.solver.set_options({"presolve": "off"})
            self.feasible = True
        zs, hs = [], []
        for own in self.model.networks:
            z, h = [], []
            for encoding, groups in zip(own.encodings, own.groups, strict=True):
                named = {group.name: group.neuron for group in encoding.columns}
                there = np.isin(named["z"], named.get("sigma", np.empty(0, int)))
                z.append(result.x[groups["z"][there]])
                h.append(result.x[groups["h"]])
            zs.append(z)
            hs.append(h)
        return result.x[: self.problem.n], result.value, zs, hs
