"""What the model around its ReLUBlocks says, as arrays: a linear relaxation of everything but the networks.

Columns are the variables of the linear constraints around the blocks and the blocks' inputs and outputs; rows are those
constraints. Nonlinear constraints, disjunctions, SOS sets and objectives are left out: what holds without them holds
with them. A fixed variable has its bounds as its range (and the value, where that lies outside), since it may be
unfixed or fixed elsewhere later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.errors import PyomoException
from pyomo.core.base.block import BlockData
from pyomo.core.expr.visitor import identify_variables
from pyomo.gdp import Disjunct
from pyomo.mpec import Complementarity
from pyomo.repn import generate_standard_repn
from scipy import sparse

from .block import Limits, ReLUBlock
from .bridge import own_rows, relu_blocks, row_masks
from .domain import Floats, Ints
from .errors import InfeasibleError, ModelError
from .inputs import UNBOUNDED, member_bounds
from .network import Bools

# Constraints that we write in a layer besides its encoding's rows; cuts go with the layer.
WRITTEN_BESIDE = ("relu_range", "zero_output", "cuts")


@dataclass(frozen=True, eq=False)
class Surroundings:
    """row_lower <= A x <= row_upper and lower <= x <= upper around the blocks.

    Row i is the constraint `constraints[i]`. `inputs[b]` and `outputs[b]` are the columns of block b; `limits[b]` the
    ranges that the model asks of its pre-activations; `left_out` names the constraints that are not linear.
    """

    blocks: list[ReLUBlock]
    variables: list[Any]
    constraints: list[Any]
    A: Any  # scipy.sparse.csr_array (rows, columns)
    row_lower: Floats
    row_upper: Floats
    lower: Floats
    upper: Floats
    integer: Bools
    inputs: list[Ints]
    outputs: list[Ints]
    limits: list[Limits]
    left_out: list[str]

    def loosened(self, tolerance: float) -> Surroundings:
        """The same with every end of a row, a column or a limit moved outward by tolerance max(1, |end|)."""
        rows = _loosened(self.row_lower, self.row_upper, tolerance)
        columns = _loosened(self.lower, self.upper, tolerance)
        limits = [tuple(_loosened(*pair, tolerance) for pair in limit) for limit in self.limits]
        return replace(self, row_lower=rows[0], row_upper=rows[1], lower=columns[0], upper=columns[1], limits=limits)

    def loosened_in(self, model: Any) -> str | None:
        """What of this `model`, as it is now, no longer asks; None where all still stands.

        Rows and ranges may be tighter than they were, and others may have come.
        """
        for block in self.blocks:
            if not _stands(block, model):
                return f"the block {block.name} is deactivated or gone"
        reader = _Reader()
        for i, constraint in enumerate(self.constraints):
            if not _stands(constraint, model):
                return f"the constraint {constraint.name} is deactivated or gone"
            reader.add(constraint)
            if len(reader.rows) != i + 1:
                return f"the constraint {constraint.name} is no longer linear"
            columns, values = reader.rows[i]
            now = {
                id(reader.variables[c]): v for c, v in zip(columns.tolist(), values.tolist(), strict=True) if v != 0.0
            }
            row = slice(*self.A.indptr[i : i + 2])
            entries = zip(self.A.indices[row].tolist(), self.A.data[row].tolist(), strict=True)
            low, high = reader.ends[i]
            same = now == {id(self.variables[c]): v for c, v in entries}
            if not same or low < self.row_lower[i] or high > self.row_upper[i]:
                return f"the constraint {constraint.name} is another or looser"
        lower, upper, integer = _ranges(self.variables)
        wider = (lower < self.lower) | (upper > self.upper) | (self.integer & ~integer)
        for variable in (self.variables[c] for c in np.flatnonzero(wider)[:1].tolist()):
            return f"the range of {variable.name} is wider"
        return None


def check_surroundings(blocks: Sequence[ReLUBlock], model: Any) -> None:
    """Raise `ModelError` where the blocks' bounds rely on something in the model that is no longer there."""
    for around in {id(block._around): block._around for block in blocks if block._around is not None}.values():
        loosened = around.loosened_in(model)
        if loosened is not None:
            names = ", ".join(block.name for block in around.blocks)
            raise ModelError(
                f"{loosened} since the model was tightened, so that the bounds of {names} may not hold any more; "
                "call rebuild() on each of them, and tighten again if you like"
            )


def _stands(component: Any, model: Any) -> bool:
    """Whether a constraint or block is part of `model` and active there."""
    while component is not None and component is not model:
        if not component.active:
            return False
        component = component.parent_block()
    return component is model


def _loosened(lower: Floats, upper: Floats, tolerance: float) -> tuple[Floats, Floats]:
    return (
        lower - tolerance * np.where(np.isfinite(lower), np.maximum(1.0, np.abs(lower)), 0.0),
        upper + tolerance * np.where(np.isfinite(upper), np.maximum(1.0, np.abs(upper)), 0.0),
    )


def read_surroundings(model: Any) -> Surroundings:
    """The linear part of a Pyomo model around its active ReLUBlocks.

    Raises `ModelError` for anything but a model, where there is no block, where a block's inputs may leave the box that
    it was built for, and where the model uses what lies in a block's `layer`, which tightening writes anew.
    """
    if not isinstance(model, BlockData):
        raise ModelError(f"expected a Pyomo model or block, not {type(model).__name__}")
    blocks = relu_blocks(model)
    if not blocks:
        raise ModelError(f"{model.name}: there is no active ReLUBlock in it, so there is nothing to tighten")
    for block in blocks:
        _check_block(block)
    inside = {id(data): block for block in blocks for layer in block.layer.values() for data in _parts(layer)}
    _check_uses(model, inside)
    reader = _Reader()
    for constraint in model.component_data_objects(pyo.Constraint, active=True, descend_into=True):
        place = constraint.parent_block()
        if id(place) not in inside and not (isinstance(place, ReLUBlock) and _is_input_box(constraint, place)):
            reader.add(constraint)
    columns = [[reader.columns(part.values()) for part in (block.inputs, block.outputs)] for block in blocks]
    limits = [_limits(block) for block in blocks]
    return reader.surroundings(blocks, [pair[0] for pair in columns], [pair[1] for pair in columns], limits)


def _parts(layer: Any) -> list[Any]:
    """A layer, and the disjuncts and conditions in it."""
    kinds = (pyo.Block, Disjunct, Complementarity)
    return [layer, *layer.component_data_objects(kinds, active=None, descend_into=kinds)]


def _is_input_box(constraint: Any, block: ReLUBlock) -> bool:
    return constraint.parent_component() is block.component("input_box")


def _check_block(block: ReLUBlock) -> None:
    """Raise `ModelError` unless the block stands as it was written, for the box that its inputs have now."""
    stale = block.stale_inputs()
    if stale:
        raise ModelError(
            f"{block.name}: the bounds of input {stale[0]} are wider than when the block was built, or it is fixed "
            f"outside them; call {block.name}.rebuild() first"
        )
    whole = all(mask.all() for groups in row_masks(block) for mask in groups.values())
    if not (block.layer.active and whole):
        raise ModelError(
            f"{block.name}: rows of its layers are deactivated, rewritten or gone, so that it is no longer the "
            f"network; call {block.name}.rebuild() first"
        )
    written = {id(component) for _, _, component, _ in own_rows(block)}
    for data in block.layer.values():
        for component in data.component_objects(pyo.Constraint, descend_into=True):
            if id(component) not in written and component.local_name not in WRITTEN_BESIDE:
                raise ModelError(
                    f"{component.name} lies in a layer of {block.name}, which tightening writes anew; "
                    f"tighten first and write it after that, or write it outside the block, on inputs and outputs"
                )


def _check_uses(model: Any, inside: dict[int, ReLUBlock]) -> None:
    """Raise `ModelError` where anything outside the layers uses a variable of one."""
    kinds = (pyo.Constraint, pyo.Objective, pyo.Expression, pyo.SOSConstraint)
    users = list(model.component_data_objects(kinds, active=None, descend_into=(pyo.Block, Disjunct)))
    uses = [
        (f"{kind} of {block.name}", list(part.values()))
        for block in {id(block): block for block in inside.values()}.values()
        for kind, part in (("an input", block.inputs), ("an output", block.outputs))
    ]
    uses += [(data.name, _variables(data)) for data in users if id(data.parent_block()) not in inside]
    for name, variables in uses:
        for variable in variables:
            block = inside.get(id(variable.parent_block()))
            if block is not None:
                raise ModelError(
                    f"{name} uses {variable.name}, but tightening writes the layers of {block.name} anew; "
                    f"use its outputs, or tighten first and write this after that"
                )


def _variables(data: Any) -> list[Any]:
    if data.ctype is pyo.SOSConstraint:
        return list(data.get_variables())
    body = data.body if data.ctype is pyo.Constraint else data.expr
    return [] if body is None else list(identify_variables(body, include_fixed=True))


def _limits(block: ReLUBlock) -> Limits:
    """The ranges that bounds of a user's on z, h and sigma ask of the pre-activations, with those known before."""
    found = []
    for k, encoding in enumerate(block._encodings):
        inside = {id(part) for part in _parts(block.layer[k])}
        lower, upper = np.full(block.network.layers[k].n_out, -np.inf), np.full(block.network.layers[k].n_out, np.inf)
        for group in encoding.columns:
            variables = getattr(block.layer[k], "relu" if group.name == "h" else group.name)
            ends = zip(group.neuron.tolist(), group.index, group.lower.tolist(), group.upper.tolist(), strict=True)
            for j, index, low, high in ends:
                variable = variables[index]
                if id(variable.parent_block()) not in inside:
                    continue  # an output: a variable of the model around
                low, high = _limit(block, variable, group.name, low, high, integer=group.integer)
                lower[j], upper[j] = max(lower[j], low), min(upper[j], high)
        found.append((lower, upper))
    if block._limits is None:
        return tuple(found)
    pairs = zip(found, block._limits, strict=True)
    return tuple((np.maximum(new[0], old[0]), np.minimum(new[1], old[1])) for new, old in pairs)


def _limit(
    block: ReLUBlock, variable: Any, group: str, low: float, high: float, *, integer: bool
) -> tuple[float, float]:
    """The range of z that the variable's own bounds ask for, where they are narrower than those it was written with."""
    if variable.fixed or variable.is_continuous() == integer:
        what = "is fixed" if variable.fixed else "has another domain than it was written with"
        raise ModelError(
            f"{variable.name} {what}, but tightening writes the layers of {block.name} anew; undo that first"
        )
    asked_low = -np.inf if variable.lb is None or variable.lb <= low else float(variable.lb)
    asked_high = np.inf if variable.ub is None or variable.ub >= high else float(variable.ub)
    if asked_low == -np.inf and asked_high == np.inf:
        return asked_low, asked_high
    if max(asked_low, low) > min(asked_high, high):
        raise InfeasibleError(
            f"{variable.name} has the bounds [{variable.lb}, {variable.ub}], but lies in [{low}, {high}]"
        )
    if group == "z":
        return asked_low, asked_high
    if group == "h":
        return (asked_low if asked_low > 0.0 else -np.inf), asked_high
    if group == "sigma":
        return (0.0 if asked_low > 0.0 else -np.inf), (0.0 if asked_high < 1.0 else np.inf)
    raise ModelError(
        f"the bounds of {variable.name} were changed, but tightening writes the layers of {block.name} anew; "
        f"call {block.name}.rebuild() first"
    )


class _Reader:
    """Collects linear rows, and the columns that they need."""

    def __init__(self) -> None:
        self.variables: list[Any] = []
        self.column_of: dict[int, int] = {}
        self.rows: list[tuple[Ints, Floats]] = []
        self.constraints: list[Any] = []
        self.ends: list[tuple[float, float]] = []
        self.left_out: list[str] = []

    def columns(self, variables: Any) -> Ints:
        """The columns of some variables, new ones where they have none yet."""
        found = []
        for variable in variables:
            if id(variable) not in self.column_of:
                self.column_of[id(variable)] = len(self.variables)
                self.variables.append(variable)
            found.append(self.column_of[id(variable)])
        return np.array(found, dtype=np.int64)

    def add(self, constraint: Any) -> None:
        """One constraint, if it is linear in its variables, fixed ones included."""
        try:
            with _unfixed(identify_variables(constraint.body, include_fixed=True)):
                repn = generate_standard_repn(constraint.body, compute_values=True, quadratic=False)
                coefficients = np.array(repn.linear_coefs, dtype=np.float64)
                constant = float(repn.constant)
            low, high = constraint.lb, constraint.ub
        except (PyomoException, ValueError, TypeError, ArithmeticError, AttributeError):
            self.left_out.append(constraint.name)  # a parameter without a value, a function that is not defined, ...
            return
        if not (repn.is_linear() and np.isfinite(coefficients).all() and np.isfinite(constant)):
            self.left_out.append(constraint.name)
            return
        self.rows.append((self.columns(repn.linear_vars), coefficients))
        self.constraints.append(constraint)
        sides = (-np.inf if low is None else low - constant, np.inf if high is None else high - constant)
        if constant != 0.0:  # the subtraction may have rounded
            sides = (float(np.nextafter(sides[0], -np.inf)), float(np.nextafter(sides[1], np.inf)))
        self.ends.append(sides)

    def surroundings(
        self, blocks: list[ReLUBlock], inputs: list[Ints], outputs: list[Ints], limits: list[Limits]
    ) -> Surroundings:
        lower, upper, integer = _ranges(self.variables)
        for block, columns in zip(blocks, outputs, strict=True):
            if block._request.outputs[0] is not None:
                continue
            for column, variable, ends in zip(
                columns.tolist(), block.outputs.values(), block._output_ends, strict=True
            ):  # what a block has written there itself says nothing about the model
                lower[column] = -np.inf if variable.lb == ends[0] else lower[column]
                upper[column] = np.inf if variable.ub == ends[1] else upper[column]
        n, counts = len(self.variables), [columns.size for columns, _ in self.rows]
        indices = np.concatenate([np.empty(0, dtype=np.int64), *(columns for columns, _ in self.rows)])
        data = np.concatenate([np.empty(0), *(values for _, values in self.rows)])
        A = sparse.csr_array((data, indices, np.cumsum([0, *counts])), shape=(len(counts), n))
        A.eliminate_zeros()
        row_lower, row_upper = np.array(self.ends, dtype=np.float64).reshape(-1, 2).T
        ends = (row_lower, row_upper, lower, upper)
        return Surroundings(
            blocks, self.variables, self.constraints, A, *ends, integer, inputs, outputs, limits, self.left_out
        )


@contextmanager
def _unfixed(variables: Iterator[Any]) -> Iterator[None]:
    """Let fixed variables count as variables for a while."""
    fixed = [variable for variable in variables if variable.fixed]
    try:
        for variable in fixed:
            variable.fixed = False
        yield
    finally:
        for variable in fixed:
            variable.fixed = True


def _ranges(variables: list[Any]) -> tuple[Floats, Floats, Bools]:
    """Lower and upper ends and integrality of every variable, fixed or not."""
    lower, upper = np.full(len(variables), -np.inf), np.full(len(variables), np.inf)
    integer = np.zeros(len(variables), dtype=bool)
    for i, variable in enumerate(variables):
        try:
            lower[i], upper[i] = member_bounds(variable)
        except ValueError as error:  # a parameter without a value
            raise ModelError(f"the bounds of {variable.name} have no value: {error}") from None
        if variable.fixed and variable.value is not None:
            lower[i], upper[i] = min(lower[i], variable.value), max(upper[i], variable.value)
        integer[i] = variable.is_integer() and not (variable.fixed and variable.value != round(variable.value or 0))
    return np.where(lower > -UNBOUNDED, lower, -np.inf), np.where(upper < UNBOUNDED, upper, np.inf), integer
