"""TransformationFactory("omlt_ext.add_cuts"): the cuts of the formulations in a Pyomo model, for any solver."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo

from .bridge import CompiledModel, compile_model, relu_blocks, row_masks
from .cut_rounds import CutRounds, add_cuts
from .encoding import Rows
from .errors import ModelError
from .pyomo_door import ModelTransformation
from .rows import write_rows
from .separation import Cuts, Separation, check_limits
from .surroundings import check_surroundings


def separation_of(compiled: CompiledModel) -> Separation:
    """The separators of a compiled model's networks; those left out whose rows do not all stand as they were written.

    Nor are there any where a disjunction or a set says what rows do not: it may have been taken out.
    """
    separation = Separation(compiled.matrix)
    if not separation:
        return separation
    complete = [
        not any(encoding.has_logic for encoding in network.encodings)
        and all(mask.all() for masks in row_masks(block) for mask in masks.values())
        for network, block in zip(compiled.matrix.networks, compiled.blocks, strict=True)
    ]
    return Separation(compiled.matrix, complete)


@pyo.TransformationFactory.register(
    "omlt_ext.add_cuts",
    doc="add cuts to every ReLUBlock whose formulation has them, where the LP relaxation needs them",
)
class AddCuts(ModelTransformation):
    """`TransformationFactory("omlt_ext.add_cuts").apply_to(model)`; `create_using` makes a copy.

    Solves the LP relaxation of the model by HiGHS, adds the cuts that it violates, and again, at most `rounds` times
    (default: what the formulation says) and `time_limit` seconds; Ctrl-C ends the rounds as well. Cuts that are not
    slack in the end become the constraints `layer[k].cuts[j, i]`, for neuron j, of the blocks; those of an earlier run
    are replaced. They hold at every point of the network, whatever the objective, as long as the block stands as it is;
    `rebuild()` and "omlt_ext.tighten_bounds" write the layers anew, without cuts. `progress` draws a bar. An unknown
    keyword raises `TypeError`.

    After it, `report` (`CutRounds`) has the LP's value before and after, the cuts, rounds and seconds. The solver
    "omlt_ext.highs" does all this by itself, without writing the cuts down.

    Raises `ModelError` for a model that is not linear, has no objective, or no block with cuts: formulations that have
    them are "ideal_cuts" and its kind.

    >>> from omlt_ext import Layer, Network, ReLUBlock
    >>> network = Network([Layer([[1.0, 1.0]], [-0.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
    >>> model = pyo.ConcreteModel()
    >>> model.x = pyo.Var(range(2), bounds=(0, 1))
    >>> model.nn = ReLUBlock(network, inputs=model.x, formulation="ideal_cuts")
    >>> model.gain = pyo.Objective(expr=model.nn.outputs[0] - 0.8 * model.x[0], sense=pyo.maximize)
    >>> model.budget = pyo.Constraint(expr=model.x[0] + 4 * model.x[1] <= 2)
    >>> transformation = pyo.TransformationFactory("omlt_ext.add_cuts")
    >>> transformation.apply_to(model)
    >>> report = transformation.report
    >>> round(report.before, 4), round(report.after, 4), len(model.nn.layer[0].cuts)
    (0.375, 0.28, 1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.report: CutRounds | None = None

    def _apply_to(
        self, model: Any, *, rounds: int | None = None, time_limit: float | None = None, progress: bool = False
    ) -> None:
        check_limits(rounds, time_limit)
        earlier = [layer.component("cuts") for block in relu_blocks(model) for layer in block.layer.values()]
        earlier = [constraint for constraint in earlier if constraint is not None]
        active = [constraint for constraint in earlier if constraint.active]
        for constraint in active:
            constraint.deactivate()
        try:
            compiled = compile_model(model)
            check_surroundings(compiled.blocks, model)
            separation = separation_of(compiled)
            if not separation:
                raise ModelError(
                    f"{model.name}: no ReLUBlock in it has a formulation with cuts and stands as it was written; "
                    "call rebuild(formulation='ideal_cuts') on those that should"
                )
            if compiled.objective is None:
                raise ModelError(f"{model.name}: there is no active objective, which says where cuts are needed")
        except ModelError:
            for constraint in active:
                constraint.activate()
            raise
        report = add_cuts(
            compiled.matrix, rounds=rounds, time_limit=time_limit, separation=separation, progress=progress
        )
        for constraint in earlier:
            constraint.parent_block().del_component(constraint)
        _write(compiled, report.cuts)
        self.report = report


def _write(compiled: CompiledModel, cuts: Cuts) -> None:
    """Cuts as constraints of their layers, over the variables of the whole model."""
    for i, block in enumerate(compiled.blocks):
        for k, layer in block.layer.items():
            own = cuts.take((cuts.network == i) & (cuts.layer == k))
            if own.size:
                rows = Rows("cuts", own.neuron, own.A, own.lower, own.upper, _count(own.neuron))
                write_rows(layer, rows, compiled.variables)


def _count(neuron: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How many times each entry has come before.

    >>> _count(np.array([2, 0, 2, 2, 0]))
    array([0, 0, 1, 2, 1])
    """
    order = np.argsort(neuron, kind="stable")
    sorted_ = neuron[order]
    first = np.searchsorted(sorted_, sorted_)
    count = np.empty_like(neuron)
    count[order] = np.arange(neuron.size) - first
    return count
