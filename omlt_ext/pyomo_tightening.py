"""TransformationFactory("omlt_ext.tighten_bounds"): the bounds of every ReLUBlock, by the model around it as well."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Executor
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from .bounds import Bounds
from .encoding import encode_network
from .errors import FormulationError, InfeasibleError, ModelError, OptionError
from .pyomo_door import ModelTransformation
from .surroundings import Surroundings, read_surroundings
from .tightening import Effort
from .whole_model import State, WholeModel

logger = logging.getLogger("omlt_ext")

FEASIBLE = 1e-6  # relative: what solvers take for feasible; a model is infeasible where this does not help either


@pyo.TransformationFactory.register(
    "omlt_ext.tighten_bounds", doc="tighten the activation bounds of every ReLUBlock, using the model around it"
)
class TightenBounds(ModelTransformation):
    """`TransformationFactory("omlt_ext.tighten_bounds").apply_to(model, effort="dual")`; `create_using` makes a copy.

    Tightens the bounds of every active ReLUBlock in the model by the linear constraints around it, the bounds of inputs
    and outputs, and the other networks: ranges go forward and back through all of them; the ladder of `tighten_bounds`
    runs over each network's inputs with the constraints on those; for the efforts "lp" and "milp" the whole model is
    minimised and maximised for each input and each neuron. The blocks are then written anew: bounds, big-M constants
    and constraints `input_box` become tighter, binaries of neurons with a decided sign go away. Variables outside the
    blocks keep their bounds. No feasible point is lost, whatever the objective; points stay feasible or infeasible.

    Keywords: `effort`, a name or an `Effort` as in `tighten_bounds`; `time_limit` in seconds; `executor`, any of
    `concurrent.futures`; `progress` draws bars; `rounds`, how often each network is bounded at most, since what one
    gains narrows the others. An unknown keyword raises `TypeError`.

    Left out, which makes bounds wider but never wrong: nonlinear constraints (the log names them), disjunctions, SOS
    sets, and the values of fixed variables, which count with their bounds, since they may be unfixed later. Blocks
    inside disjuncts are left alone.

    The new bounds hold while the constraints and bounds around a block stand. After loosening or deactivating one, call
    the block's `rebuild()`, which forgets them, or apply the transformation again, which begins from the model as it is
    then. After it, `report` is a table with a row for each block, and `notes` lists what a limit or a lost worker cost.

    Raises `ModelError` where there is no active ReLUBlock, where no point satisfies the linear constraints and the
    networks (which is proved, or for "milp" what HiGHS says twice), and where the model has constraints on what lies in
    a block's `layer`, which is made anew; the model is then as it was.

    >>> from omlt_ext import Layer, Network, ReLUBlock
    >>> network = Network([Layer([[1.0, 1.0]], [-1.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
    >>> model = pyo.ConcreteModel()
    >>> model.x = pyo.Var(range(2), bounds=(0, 1))
    >>> model.nn = ReLUBlock(network, inputs=model.x)
    >>> model.budget = pyo.Constraint(expr=model.x[0] + model.x[1] <= 1)
    >>> tighten = pyo.TransformationFactory("omlt_ext.tighten_bounds")
    >>> tighten.apply_to(model)
    >>> tighten.report[["block", "relus", "unstable_before", "unstable_after"]]
      block  relus  unstable_before  unstable_after
    0    nn      1                1               0
    """

    def __init__(self) -> None:
        super().__init__()
        self.report: pd.DataFrame | None = None
        self.notes: tuple[str, ...] = ()

    def _apply_to(
        self,
        model: Any,
        *,
        effort: str | Effort = "dual",
        time_limit: float | None = None,
        executor: Executor | None = None,
        progress: bool = False,
        rounds: int = 3,
    ) -> None:
        begin = time.time()
        chosen = Effort.of(effort).within(time_limit)
        if chosen.solver != "highs":
            raise OptionError(f"solver is {chosen.solver!r}; whole models are tightened with 'highs'")
        if isinstance(rounds, bool) or not isinstance(rounds, Integral) or rounds < 1:
            raise OptionError(f"rounds is {rounds!r}; it must be a whole number of at least 1")
        around = self._read(model)
        deadline = None if chosen.seconds is None else begin + chosen.seconds
        keywords = {"deadline": deadline, "executor": executor, "progress": progress}
        whole = _tightened(model, around, chosen, int(rounds), keywords)
        before = [block.activation_bounds for block in around.blocks]
        prepared = [_encoded(state) for state in whole.states]  # whatever may fail has happened before the first write
        for state, encodings, limits in zip(whole.states, prepared, around.limits, strict=True):
            state.block.adopt(state.tight, encodings, limits, around)
        self.notes = tuple(whole.notes)
        self.report = _report(whole.states, before)
        for row in self.report.itertuples():
            logger.info(
                f"{row.block}: {row.unstable_before} of {row.relus} ReLUs unstable before, {row.unstable_after} after; "
                f"mean width {row.width_before:.4g} before, {row.width_after:.4g} after"
            )

    def _read(self, model: Any) -> Surroundings:
        try:
            around = read_surroundings(model)
        except InfeasibleError as error:
            raise ModelError(f"{model.name}: the model is infeasible: {error}") from None
        if around.left_out:
            names = ", ".join(around.left_out[:3]) + (" and others" if len(around.left_out) > 3 else "")
            logger.info(f"{len(around.left_out)} constraints that are not linear are left out: {names}")
        return around


def _tightened(model: Any, around: Surroundings, effort: Effort, rounds: int, keywords: dict[str, Any]) -> WholeModel:
    """The tightened model; with a solver's tolerance where in exact arithmetic it has no point."""
    for tolerance in (0.0, FEASIBLE):
        try:
            whole = WholeModel(around.loosened(tolerance) if tolerance else around, effort, **keywords)
            whole.run(rounds)
            return whole
        except InfeasibleError as error:
            reason = error
    raise ModelError(f"{model.name}: no point satisfies the networks and the constraints around them: {reason}")


def _encoded(state: State) -> Any:
    """The block's encodings; `FormulationError` where its formulation does not hold the neurons that must be held."""
    block, held = state.block, state.held()
    encodings = encode_network(block.network, state.tight, block.formulation, held)
    for k, (mask, encoding) in enumerate(zip(held, encodings, strict=True)):
        if mask.any() and not any(rows.name == "range" for rows in encoding.rows):
            raise FormulationError(
                f"{block.name}: the formulation {block.formulation.name!r} ignores LayerBounds.held in layer {k}; "
                f"build its encoding from omlt_ext.draft.Draft"
            )
    return encodings


def _report(states: list[State], before: list[Bounds]) -> pd.DataFrame:
    """One row for each block."""
    rows = []
    for state, old in zip(states, before, strict=True):
        new = state.tight
        rows.append(
            {
                "block": state.block.name,
                "relus": state.block.network.n_relus,
                "unstable_before": old.n_unstable,
                "unstable_after": new.n_unstable,
                "width_before": float(np.mean(np.concatenate(old.width()))),
                "width_after": float(np.mean(np.concatenate(new.width()))),
                "input_width_before": float(old.box.width.mean()),
                "input_width_after": float(new.box.width.mean()),
            }
        )
    return pd.DataFrame(rows)
