"""The largest value of a linear objective of one network's outputs over a box, and how much larger it could be.

    max  c . f(x)   where   lower <= x <= upper

Symbols: f the network, c the objective's weights (n_outputs,), x a point (n_inputs,). `value` is c . f(x) at the best
point found, always evaluated by the network itself. `bound` is at least the maximum, whatever has been proved so far:
by propagation through the network with c appended as a last linear layer (valid in exact arithmetic), and by the
solver's dual bound, widened by `TOLERANCE`. The solver sees the network in units that keep every number within
[-4096, 4096] (`scale_network`), since its tolerances are absolute; its bound is in `unit`s of the objective.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from omlt_ext.bounds import Bounds
from omlt_ext.cut_rounds import add_cuts
from omlt_ext.domain import Box, Floats, as_box
from omlt_ext.encoding import Formulation
from omlt_ext.errors import BoundsError, OptionError, ShapeError, SolverError
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.mixed import piecewise_linear
from omlt_ext.network import Layer, Network
from omlt_ext.plugins import formulation as find_formulation
from omlt_ext.propagation.rounding import row_blocks
from omlt_ext.search import SearchResult
from omlt_ext.solvers import HighsSolver, SolveResult
from omlt_ext.tightening import Effort, tighten_bounds

logger = logging.getLogger("omlt_ext")

METHODS = ("auto", "milp")
TOLERANCE = 1e-6  # of HiGHS's dual bound, relative to max(1, |bound|): its feasibility tolerance
LEAST_GAP = 1e-5  # a smaller gap cannot be told from the solver's tolerances
TIGHT = {"mip_feasibility_tolerance": 1e-9, "primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}
CUT_SHARE = 0.2  # of the time that is left, that cuts may take
SAMPLES = 4096
SAMPLE_WORK = 2**33  # multiplications that sampling may take; large networks get fewer samples
SAMPLE_BYTES = 2**26


def maximize(
    network: Network,
    domain: Box | Iterable[ArrayLike],
    objective: ArrayLike | None = None,
    *,
    method: str = "auto",
    time_limit: float | None = None,
    seed: int = 0,
    gap: float = 1e-4,
    effort: str | Effort = "crown",
    formulation: str | Formulation = "bigm",
    progress: bool = False,
) -> SearchResult:
    """The maximum of objective . f(x) over a box: the best point found, its value, and a bound on the maximum.

    `domain` is a `Box` or a pair (lower, upper), each a number or n_inputs numbers. `objective` (n_outputs,) weighs
    the outputs; a network with one output does not need it. To minimise c . f(x), maximise (-c) . f(x): value and
    bound are then those of (-c) . f(x).

    The one method, "milp" (which "auto" picks), bounds the objective by propagation (`effort` as in `tighten_bounds`),
    takes the best of some thousand forward passes (drawn with `seed`: half uniform, half corners), and starts HiGHS
    from it on the mixed-integer model that `formulation`, a name or an object, makes. The search ends when
    (bound - value) / max(1, |value|) <= gap, with `gap` at least 1e-5; status "optimal" says that it did. `time_limit`
    in seconds covers everything; it is looked at between steps and inside sampling and the solve, so that one pass of
    `effort` can outlast it. Ctrl-C ends the search as well, at HiGHS's next look at it: some seconds later where one
    of its heuristics (a smaller mixed-integer model, inside which it does not look) has just begun. Both leave the best
    point and bound so far. With the same seed and no time limit the result is the same again. `progress` draws a bar
    on standard error: seconds, out of the time limit if there is one, with the value and the bound.

    Raises `NetworkError` for anything but a `Network`, `BoundsError` for a domain that is missing or infinite or on
    which the network overflows, `ShapeError` for a wrong number of coordinates or weights, `OptionError` for other
    arguments, `FormulationError` for an unknown formulation, `SolverError` for one that HiGHS does not know (logic).

    Source of the model: Fischetti and Jo, Constraints 23 (2018), section 2.

    >>> from omlt_ext import Box, Layer, Network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)])
    >>> best = maximize(network, Box([-1, -1], [1, 1]))  # max (x + y)+ - 3 (x - y)+
    >>> best.status, round(best.value, 4), round(best.bound, 4), best.x
    ('optimal', 2.0, 2.0, array([1., 1.]))
    """
    begin = time.perf_counter()
    _check_options(method, time_limit, seed, gap, effort)
    relus = find_formulation(formulation)
    piecewise_linear(network)
    box = as_box(domain, network.n_inputs)
    weights = _weights(objective, network)
    with _bar(time_limit, progress) as bar:
        search = _Search(network, box, weights, max(float(gap), LEAST_GAP), begin, time_limit, bar)
        try:
            bounds = search.propagate("interval")
            search.sample(seed)
            if search.goes_on():
                bounds = search.propagate(effort)
            if search.goes_on():
                search.solve(bounds, relus)
        except KeyboardInterrupt:
            search.stopped_by = "interrupted"
    return search.result()


def _bar(time_limit: float | None, progress: bool) -> tqdm[NoReturn]:
    """A bar of seconds, that a drawing of at most every tenth of a second keeps cheap; without `progress`, none."""
    total = None if time_limit is None or not np.isfinite(time_limit) else float(time_limit)
    end = " s{postfix}"
    shape = "{n:.1f}" + end if not total else "{percentage:3.0f}%|{bar:20}| {n:.1f}/{total:.4g}" + end
    return tqdm(total=total, disable=not progress, bar_format=shape, miniters=0, leave=False)


@dataclass
class _Search:
    """What is known so far: the best point, its value and the bound; `stopped_by` where the gap did not end it."""

    network: Network
    box: Box
    objective: Floats
    gap: float
    begin: float
    time_limit: float | None
    bar: tqdm[NoReturn]
    x: Floats | None = None
    value: float = -np.inf
    bound: float = np.inf
    propagated: float = np.inf  # the part of the bound that needs no trust in a solver
    nodes: int = 0
    stopped_by: str = "limit"
    rows: list[tuple[float, float | None, float | None]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds left, None without a limit."""
        return None if self.time_limit is None else max(0.0, self.time_limit - self.seconds)

    @property
    def closed(self) -> bool:
        return self.bound - self.value <= self.gap * max(1.0, abs(self.value))

    def goes_on(self) -> bool:
        """Whether there is something left to prove and time to do it."""
        return not self.closed and (self.left is None or self.left > 0.0)

    def propagate(self, effort: str | Effort) -> Bounds:
        """Bound every pre-activation, and the objective as one more linear layer; return the network's own bounds."""
        objective = Layer(self.objective[None, :], [0.0], relu=False)
        folded = Network([*self.network.layers, objective])
        try:
            bounds = tighten_bounds(folded, self.box, effort)
        except BoundsError:
            tighten_bounds(self.network, self.box, effort)  # where a layer overflows, its own error is the right one
            raise BoundsError("objective . f(x) overflows double precision on this box; scale the objective") from None
        self.propagated = min(self.propagated, float(bounds.upper[-1][0]))
        self.prove(self.propagated)
        return Bounds.of(self.network, self.box, bounds.lower[:-1], bounds.upper[:-1])

    def sample(self, seed: int) -> None:
        """Forward passes of the middle of the box, uniform points and corners; at least one batch of them."""
        for points in _points(self.network, self.box, np.random.default_rng(seed)):
            self.offer(points)
            if not self.goes_on():
                return

    def solve(self, bounds: Bounds, formulation: Formulation) -> None:
        """Branch and bound by HiGHS; once more with tighter tolerances where its point falls short of its bound."""
        assert self.x is not None  # sampling came first
        model = self.with_cuts(network_model(self.network, bounds, formulation, objective=self.objective))
        embedded = model.networks[0]

        def watch(point: Floats | None, bound: float) -> None:
            """Evaluate HiGHS's points while it runs; note its bound at each hundredth of the gap."""
            if point is not None:
                self.offer(point[None, embedded.inputs])
            wide = widened(bound)
            if self.value <= wide < self.bound - 0.01 * (self.bound - self.value):
                self.prove(wide)
            self.show()

        for options in ({}, TIGHT):
            solver = HighsSolver(model, options)
            solver.start_from(*embedded.point(self.x))
            # Half the gap, since the widened bound and the network's own value lie a tolerance further apart.
            try:
                result = solver.solve(time_limit=self.left, gap=0.5 * self.gap, watch=watch)
            except SolverError as error:
                logger.warning(f"{error}; what is known so far stands")
                return
            self.nodes += result.nodes
            if result.status in ("time_limit", "interrupted"):
                self.stopped_by = result.status
            if result.x is not None:
                self.offer(result.x[None, embedded.inputs])
            self.trust(result)
            if result.status != "optimal" or not self.goes_on():
                return

    def with_cuts(self, model: MatrixModel) -> MatrixModel:
        """The model with the cuts that its formulation has for the LP relaxation."""
        done = add_cuts(model, time_limit=None if self.left is None else CUT_SHARE * self.left)
        if done.status == "interrupted":
            raise KeyboardInterrupt
        return done.model

    def trust(self, result: SolveResult) -> None:
        """Take the solver's dual bound, unless the network itself shows that it is wrong."""
        wide = None if result.bound is None else widened(result.bound)
        if result.status == "infeasible" or (wide is not None and wide < self.value):
            claim = "no point" if wide is None else f"no value above {wide}"
            self.refute(claim)
        elif wide is not None:
            self.prove(wide)

    def offer(self, points: Floats) -> None:
        """Keep the best of some points (m, n_inputs), each moved into the box first."""
        inside = np.clip(points, self.box.lower, self.box.upper)
        x = inside[int(np.argmax(self.network(inside) @ self.objective))]
        value = float(self.objective @ self.network(x))
        if self.x is None or value > self.value:
            self.x, self.value = x.copy(), value
            if value > self.bound and self.bound < self.propagated:
                self.refute(f"no value above {self.bound}")
            self.record()

    def refute(self, claim: str) -> None:
        """Give up a bound of the solver's that the network's own value shows to be wrong."""
        self.bound = self.propagated
        logger.warning(
            f"HiGHS says that there is {claim}, but the network has the value {self.value} at a point of the box; "
            "the solver's bound is left out. The numbers of the model span too wide a range: scale the network or "
            "give a smaller box"
        )

    def prove(self, bound: float) -> None:
        """Lower the bound."""
        if bound < self.bound:
            self.bound = bound
            self.record()

    def record(self) -> None:
        """Add a row to the history."""
        value = None if self.x is None else self.value
        # Rounding can put the value a few units in the last place above a tight bound; a larger bound is valid too.
        bound = max(self.bound, self.value) if np.isfinite(self.bound) else None
        self.rows.append((self.seconds, value, bound))
        self.show()

    def show(self) -> None:
        """Move the bar on."""
        self.bar.set_postfix_str(f"value {self.value:.6g}, bound {self.bound:.6g}", refresh=False)
        now = self.seconds if self.bar.total is None else min(self.seconds, self.bar.total)
        self.bar.update(now - self.bar.n)

    def result(self) -> SearchResult:
        status = "time_limit" if self.left == 0.0 and self.stopped_by == "limit" else self.stopped_by
        self.record()
        history = pd.DataFrame(self.rows, columns=["seconds", "value", "bound"], dtype=np.float64)
        seconds, value, bound = self.rows[-1]
        return SearchResult(self.x, value, bound, "optimal" if self.closed else status, self.nodes, seconds, history)


def widened(bound: float) -> float:
    """A dual bound of HiGHS, larger by its tolerance.

    >>> widened(1000.0)
    1000.001
    """
    return bound + TOLERANCE * max(1.0, abs(bound))


def _points(network: Network, box: Box, rng: np.random.Generator) -> Iterator[Floats]:
    """Batches (m, n_inputs): the middle of the box first, then in each batch half uniform points, half corners."""
    work = sum(layer.nnz for layer in network.layers)
    widest = max(network.n_inputs, *(layer.n_out for layer in network.layers))
    yield box.center[None, :]
    count = int(np.clip(SAMPLE_WORK // max(1, work), 16, SAMPLES))
    for rows in row_blocks(count // 2, 2 * widest, SAMPLE_BYTES):
        m = rows.stop - rows.start
        corners = np.where(rng.random((m, box.n)) < 0.5, box.lower, box.upper)
        yield np.concatenate([box.sample(m, rng), corners])


def _weights(objective: ArrayLike | None, network: Network) -> Floats:
    """c (n_outputs,), finite."""
    n = network.n_outputs
    if objective is None:
        if n != 1:
            raise ShapeError(f"the network has {n} outputs; give an objective with one weight for each of them")
        return np.ones(1)
    try:
        weights = np.array(objective, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(f"the objective must be numbers: {error}") from None
    if weights.shape != (n,):
        raise ShapeError(f"objective has shape {weights.shape}; it weighs the {n} outputs, so it must be ({n},)")
    if not np.isfinite(weights).all():
        j = int(np.flatnonzero(~np.isfinite(weights))[0])
        raise OptionError(f"objective[{j}] is {weights[j]}; it must be a finite number")
    return weights


def _check_options(method: str, time_limit: float | None, seed: int, gap: float, effort: str | Effort) -> None:
    if method not in METHODS:
        raise OptionError(f"unknown method {method!r}; choose one of {', '.join(map(repr, METHODS))}")
    try:
        Effort.of(effort)
    except BoundsError as error:
        raise OptionError(str(error)) from None
    for name, number in (("time_limit", 0.0 if time_limit is None else time_limit), ("gap", gap)):
        if not (isinstance(number, Real) and number >= 0.0):
            raise OptionError(f"{name} is {number!r}; it must be a number of at least 0")
    if not (isinstance(seed, Integral) and seed >= 0):
        raise OptionError(f"seed is {seed!r}; it must be a whole number of at least 0")
