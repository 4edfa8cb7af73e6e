"""Bounds of all networks of a model together: what the constraints around them and the other networks leave.

Every network has two sets of bounds. The *implied* ones follow from its inputs alone: their box, which the block holds,
and linear constraints on them, which stay in the model. The *tight* ones use everything else as well: ranges of outputs
carried back, other networks, LPs and MILPs over the whole model. A neuron whose sign only the tight ones decide is
*held*: its encoding keeps a row that enforces the range, or points would come in at which the network is another one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from .bounds import Bounds
from .coupling import input_rows, is_coupled, links
from .domain import Box, Floats, Ints, Polytope
from .encoding import encode_network
from .errors import InfeasibleError
from .inputs import wanted_box
from .milp import EmbeddedNetwork, MatrixModel, ModelBuilder
from .mixed import piecewise_linear
from .network import Bools
from .obbt import ColumnTask, column_ranges
from .plugins import formulation
from .propagation import crown, interval
from .propagation.feasibility import check_not_empty, contract, propagate_back
from .propagation.interval import Range, collect, given
from .surroundings import Surroundings
from .tightening import Effort, tighten_bounds
from .tightening.parallel import ExecutorGone, outcomes

logger = logging.getLogger("omlt_ext")

PASSES = 20  # of propagation through all rows and networks, at most
PROGRESS = 1e-3  # a pass that narrows nothing by this part of its width is the last
SHRUNK = 1e-2  # a network is bounded again where an input has lost this part of its width
WHOLE = 1e-6  # how far from a whole number an end may lie: the solvers' own tolerance
COLUMNS = {"lp": 64, "milp": 16}  # columns in a task


@dataclass(eq=False)
class State:
    """One network of the model: where it stands, and the bounds known so far."""

    block: Any
    inputs: Ints
    outputs: Ints
    limits: Sequence[tuple[Floats, Floats]]
    rows: tuple[Floats, Floats] | None  # A x <= b of the inputs, from the constraints around
    coupled: bool  # the rest of the model says more about it than its box and `rows`
    implied: Bounds
    tight: Bounds
    climbed: Floats | None = None  # the widths of the box that the ladder was last climbed on

    def domain(self, box: Box) -> Box | Polytope:
        return box if self.rows is None else Polytope(box, *self.rows)

    def within(self, bounds: Bounds, box: Box) -> Bounds:
        """Bounds that hold on a larger box, as bounds on this one."""
        domain = self.domain(box)
        return replace(bounds, box=box, polytope=domain if isinstance(domain, Polytope) else None)

    @property
    def limited(self) -> bool:
        return any(np.isfinite(ends).any() for pair in self.limits for ends in pair)

    def output_range(self) -> tuple[Floats, Floats]:
        layer = self.block.network.layers[-1]
        return layer.activation(self.tight.lower[-1]), layer.activation(self.tight.upper[-1])

    def held(self) -> tuple[Bools, ...]:
        """Neurons whose range the encoding has to enforce: a sign that is not implied, a limit that has no column."""
        tight, implied = self.tight, self.implied
        found = []
        for k, layer in enumerate(self.block.network.layers):
            active = tight.stable_active[k] & ~implied.stable_active[k]
            inactive = tight.stable_inactive[k] & ~implied.stable_inactive[k]
            asked = np.isfinite(self.limits[k][0]) | np.isfinite(self.limits[k][1])
            signed = tight.stable_active[k] | tight.stable_inactive[k]
            found.append((active | inactive | (asked & signed)) & (np.diff(layer.csr_weight().indptr) > 0))
        return tuple(found)


class WholeModel:
    """Tightens the bounds of every network in `around`, and the ranges [lower, upper] of its columns."""

    def __init__(
        self,
        around: Surroundings,
        effort: Effort,
        *,
        deadline: float | None = None,
        executor: Executor | None = None,
        progress: bool = False,
    ) -> None:
        self.around, self.effort, self.deadline, self.executor = around, effort, deadline, executor
        self.progress = progress
        self.lower, self.upper = around.lower.copy(), around.upper.copy()
        self.notes: list[str] = []
        self.swept = self.stopped = False
        self.states = [self._state(b) for b in range(len(around.blocks))]

    def _state(self, b: int) -> State:
        around, block = self.around, self.around.blocks[b]
        network, inputs, outputs = piecewise_linear(block.network), around.inputs[b], around.outputs[b]
        ends = wanted_box(block, replace(block._request, new_bounds=False))
        check_not_empty(*ends, f"{block.name}: input")
        box = Box(*ends)
        self._take(inputs, box.lower, box.upper)
        start = interval(network, box, block._alone)
        rows, coupled = input_rows(around, b), is_coupled(around, b)
        state = State(block, inputs, outputs, around.limits[b], rows, coupled, start, start)
        state.coupled |= state.limited
        box = self._box(state)
        state.implied = state.tight = interval(network, state.domain(box), state.within(start, box))
        ranges = [
            given(state.tight, k).meet(Range.by("given", *pair)) for k, pair in enumerate(state.limits)
        ]  # from here on the layers' ranges hold what the user's model asks of them
        for k, z in enumerate(ranges):
            check_not_empty(z.lower, z.upper, f"{block.name}: layer {k}, neuron")
        state.tight = collect(ranges, network, box, state.tight.polytope)
        return state

    def run(self, rounds: int) -> None:
        """Ladder and propagation in turn, as long as boxes shrink, `rounds` times at most; then LPs and MILPs."""
        self.propagate()
        for _ in range(rounds):
            due = [state for state in self.states if self._shrunk(state)]
            if not due or self.stopped:
                break
            for state in due:
                self.climb(state)
                self._take(state.outputs, *state.output_range())
            self.propagate()
        if any(state.coupled for state in self.states):
            for rung in ("lp", "milp"):
                if rung in self.effort.rungs and not self.stopped:
                    self.sweep(rung)
                    self.propagate()
        for state in self.states:
            box = self._box(state)
            state.implied = crown(state.block.network, state.domain(box), state.within(state.implied, box))
            state.tight = state.within(state.tight, box)

    def propagate(self) -> None:
        """Ranges of columns through rows and networks, forward and back, until little changes."""
        around = self.around
        for _ in range(PASSES):
            before = self.upper - self.lower
            ends = contract(around.A, around.row_lower, around.row_upper, self.lower, self.upper)
            self._take(np.arange(self.lower.size), *ends)
            for state in self.states:
                self._through(state)
            with np.errstate(invalid="ignore"):
                narrowed = before - (self.upper - self.lower) > PROGRESS * before
            if not (narrowed | (np.isinf(before) & np.isfinite(self.upper - self.lower))).any():
                break

    def _through(self, state: State) -> None:
        network, box = state.block.network, self._box(state)
        low, high = self.lower[state.outputs], self.upper[state.outputs]
        known = state.within(state.tight, box)
        reach = state.output_range()
        if self.swept or state.limited or (low > reach[0]).any() or (high < reach[1]).any():
            state.tight = propagate_back(network, known, low, high)
        else:
            state.tight = interval(network, state.domain(box), known)
        self._take(state.inputs, state.tight.box.lower, state.tight.box.upper)
        self._take(state.outputs, *state.output_range())

    def _take(self, columns: Ints, low: Floats, high: Floats) -> None:
        """Narrow the ranges of some columns; one that stands there twice gets both."""
        np.maximum.at(self.lower, columns, low)
        np.minimum.at(self.upper, columns, high)
        whole = self.around.integer
        self.lower[whole] = np.maximum(self.lower[whole], np.ceil(self.lower[whole] - WHOLE))
        self.upper[whole] = np.minimum(self.upper[whole], np.floor(self.upper[whole] + WHOLE))
        crossed = np.flatnonzero(self.lower > self.upper)
        if crossed.size:
            name, at = self.around.variables[crossed[0]].name, crossed[0]
            raise InfeasibleError(f"{name} would have to be at least {self.lower[at]} and at most {self.upper[at]}")

    def _box(self, state: State) -> Box:
        return Box(self.lower[state.inputs], self.upper[state.inputs])

    def _shrunk(self, state: State) -> bool:
        if state.climbed is None:
            return True
        return bool((self._box(state).width < (1.0 - SHRUNK) * state.climbed).any())

    def climb(self, state: State) -> None:
        """The ladder over one network's box and rows; a second time from the tight bounds where they know more."""
        box, network = self._box(state), state.block.network
        domain, effort = state.domain(box), self.effort
        if state.coupled and effort.rung in ("lp", "milp"):
            effort = replace(effort, rung="split")  # the LPs and MILPs over the whole model see more
        state.implied = self._ladder(state, effort, domain, state.within(state.implied, box))
        start = state.within(state.tight, box)
        slack = [PROGRESS * width for width in state.implied.width()]
        knows = any(
            (start.lower[k] > state.implied.lower[k] + slack[k]).any()
            or (start.upper[k] < state.implied.upper[k] - slack[k]).any()
            for k in range(len(network.layers))
        )
        both = [given(state.implied, k).meet(given(start, k)) for k in range(len(network.layers))]
        for k, z in enumerate(both):
            check_not_empty(z.lower, z.upper, f"{state.block.name}: layer {k}, neuron")
        state.tight = collect(both, network, box, state.implied.polytope)
        if knows:
            state.tight = self._ladder(state, effort, domain, state.tight)
        state.climbed = box.width

    def _ladder(self, state: State, effort: Effort, domain: Box | Polytope, bounds: Bounds) -> Bounds:
        found = tighten_bounds(
            *(state.block.network, domain, effort),
            bounds=bounds,
            time_limit=self._seconds_left(),
            executor=self.executor,
            progress=self.progress,
        )
        self.notes += [f"{state.block.name}: {note}" for note in found.notes]
        self.stopped |= any(note.startswith("stopped") for note in found.notes)
        return replace(found, notes=())

    def _seconds_left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    def sweep(self, rung: str) -> None:
        """Every input of every network, then layer by layer every neuron, by one solve for each side."""
        self.swept = True
        stages = [(state, k) for state in self.states for k in range(-1, len(state.block.network.layers))]
        with tqdm(total=len(stages), disable=not self.progress, unit="layer", leave=False) as bar:
            for state, k in stages:
                bar.set_postfix_str(
                    f"{state.block.name}, {rung}, " + ("inputs" if k < 0 else f"layer {k}"), refresh=False
                )
                if not self.stopped:
                    self._stage(state, k, rung)
                bar.update()

    def _stage(self, state: State, k: int, rung: str) -> None:
        network = state.block.network
        model, embedded = self.assemble()
        model = replace(model if rung == "milp" else model.relax(), networks=())
        at = embedded[self.states.index(state)]
        if k < 0:
            columns = np.unique(state.inputs)
            neurons = columns = columns[self.upper[columns] > self.lower[columns]]
        else:
            z, last = given(state.tight, k), k == len(network.layers) - 1
            present = next(group for group in at.encodings[k].columns if group.name == "z").neuron
            chosen = np.isin(present, self.effort.select(rung, k, z, network.layers[k].relu, last=last))
            neurons, columns = present[chosen], at.groups[k]["z"][chosen]
        low, high, seconds = self._solve(state, rung, model, columns, k)
        if k < 0:
            self._take(columns, low, high)
            ranges = [given(state.tight, i) for i in range(len(network.layers))]
        else:
            n = network.layers[k].n_out
            lower, upper, spent = np.full(n, -np.inf), np.full(n, np.inf), np.zeros(n)
            lower[neurons], upper[neurons], spent[neurons] = low, high, seconds
            ranges = [given(state.tight, i) for i in range(len(network.layers))]
            ranges[k] = ranges[k].meet(Range.by(rung, lower, upper, spent))
            check_not_empty(ranges[k].lower, ranges[k].upper, f"{state.block.name}: layer {k}, neuron")
        box = self._box(state)
        known = state.within(collect(ranges, network, box), box)
        state.tight = crown(network, state.domain(box), known)  # so that later layers' big-M constants follow
        self._take(state.outputs, *state.output_range())

    def _solve(
        self, state: State, rung: str, model: MatrixModel, columns: Ints, k: int
    ) -> tuple[Floats, Floats, Floats]:
        """The ranges of some columns, in tasks; what is lost or not reached keeps its range."""
        size = self.effort.chunk_rows or COLUMNS[rung]
        parts = np.split(np.arange(columns.size), range(size, columns.size, size))
        tasks = [
            ColumnTask(model, columns[part], self.effort.gap, self.effort.seconds_per_solve, self.deadline)
            for part in parts
        ]
        low, high, seconds = model.lower[columns].copy(), model.upper[columns].copy(), np.zeros(columns.size)
        for part, outcome in zip(parts, self._outcomes(tasks), strict=False):
            if isinstance(outcome, str):
                self._note(f"{state.block.name}: lost {part.size} bounds of stage {k} of the rung {rung!r} ({outcome})")
                continue
            low[part], high[part], seconds[part] = outcome.lower, outcome.upper, outcome.seconds
            if not outcome.finished:
                self.stopped = True
                self._note(f"stopped in the rung {rung!r}; the bounds are valid, not as tight as asked")
                break
        return low, high, seconds

    def _outcomes(self, tasks: list[ColumnTask]) -> Any:
        work, todo = cast(Any, column_ranges), cast(Any, tasks)
        try:
            yield from outcomes(work, todo, self.executor)
        except ExecutorGone as error:
            self.executor = None
            self._note(f"the executor takes no more tasks ({error}); the rest of the run works here")
            yield from outcomes(work, todo, None)

    def _note(self, sentence: str) -> None:
        self.notes.append(sentence)
        logger.warning(sentence)

    def assemble(self) -> tuple[MatrixModel, list[EmbeddedNetwork]]:
        """Surroundings and networks as one model, with the bounds as they are now.

        Rows with a column that has no finite range are left out, so that multipliers prove something.
        """
        around = self.around
        bounded = np.isfinite(self.lower) & np.isfinite(self.upper)
        A = sparse.csr_array(around.A)
        free = np.bincount(
            np.repeat(np.arange(A.shape[0]), np.diff(A.indptr)), weights=~bounded[A.indices], minlength=A.shape[0]
        )
        kept = free == 0.0
        builder = ModelBuilder()
        columns = builder.add_columns(self.lower, self.upper, around.integer)
        builder.add_rows(sparse.csr_array(A[kept]), columns, around.row_lower[kept], around.row_upper[kept])
        embedded, relus = [], formulation(self.effort.formulation)
        for state in self.states:
            block = state.block
            encodings = encode_network(block.network, state.tight, relus)
            at = builder.add_network(block.network, encodings, state.inputs)
            builder.add_rows(*links(state.outputs, at.outputs))
            embedded.append(at)
        return builder.model(), embedded
