"""A whole Pyomo model with ReLUBlocks as one `MatrixModel`, and its points back.

The rows of a ReLUBlock come from its encodings as arrays; everything else in the model goes through Pyomo's own
standard-form compiler. Bounds, fixing, domains and deactivated rows are read from the model as it is now, in the
blocks too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.errors import InfeasibleConstraintException, PyomoException
from pyomo.core.base.block import BlockData
from pyomo.gdp import Disjunct, Disjunction
from pyomo.mpec import Complementarity
from scipy import sparse

from .block import ReLUBlock
from .domain import Floats, Ints
from .errors import ModelError
from .milp import MatrixModel, ModelBuilder
from .mixed import MixedNetwork, describe, piecewise_linear
from .network import Bools
from .rows import RowData


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """`matrix` and, column by column, the Pyomo `variables` it was made from; `blocks` are its ReLUBlocks.

    `objective` is the Pyomo objective, None where the model has none. `contradiction` names a constraint without
    variables that cannot hold, None where there is none. The first `rows_around` rows are those of the model around the
    networks, or rewritten in it; the others stand as they were encoded.
    """

    matrix: MatrixModel
    variables: list[Any]
    blocks: list[ReLUBlock]
    objective: Any
    contradiction: str | None
    rows_around: int

    @property
    def loosened(self) -> bool:
        """Whether a network's columns or rows are not all there as they were encoded, so that it binds nobody."""
        matrix, rows = self.matrix, 0
        for network in matrix.networks:
            for encoding, groups in zip(network.encodings, network.groups, strict=True):
                rows += sum(group.neuron.size for group in encoding.rows)
                if any(group.integer and not matrix.integer[groups[group.name]].all() for group in encoding.columns):
                    return True
        return matrix.n_rows - self.rows_around < rows

    def load(self, x: Floats) -> None:
        """Write the point x (n_columns,) into the variables; whole ones are rounded, fixed ones left alone."""
        values = np.where(self.matrix.integer, np.round(x), x).tolist()
        for variable, value in zip(self.variables, values, strict=True):
            if not variable.fixed:
                variable.set_value(value, skip_validation=True)
                variable.stale = False

    def values(self) -> tuple[Ints, Floats]:
        """(columns, values) of the variables that have a value now."""
        pairs = [(i, v.value) for i, v in enumerate(self.variables) if v.value is not None]
        columns, values = zip(*pairs, strict=True) if pairs else ((), ())
        return np.array(columns, dtype=np.int64), np.array(values, dtype=np.float64)


def compile_model(model: Any, *, logic: bool = True) -> CompiledModel:
    """The model as arrays.

    `logic=False` leaves out the logic of the blocks' own layers (SOS sets, disjunctions, complementarity conditions),
    which a forward pass of the network satisfies by itself.

    Raises `ModelError` for nonlinear parts, for active components that are no linear constraints (SOS sets,
    disjunctions: transform them first), for more than one objective, and for ReLUBlocks whose inputs may now leave
    the box they were built for.
    """
    if not isinstance(model, BlockData):
        raise ModelError(f"expected a Pyomo model or block, not {type(model).__name__}")
    blocks = relu_blocks(model)
    for block in blocks:
        for variable in _block_variables(block):
            if variable.fixed and variable.value is None:
                raise ModelError(f"{variable.name} is fixed but has no value; fix it at a number or unfix it")
        stale = block.stale_inputs()
        if stale:
            raise ModelError(
                f"{block.name}: the bounds of input {stale[0]} are wider than when the block was built, or it is fixed "
                f"outside them, so that the activation bounds no longer hold; call {block.name}.rebuild()"
            )
        if logic:
            _check_logic(block)
    objectives = list(model.component_data_objects(pyo.Objective, active=True, descend_into=True))
    if len(objectives) > 1:
        names = ", ".join(objective.name for objective in objectives)
        raise ModelError(f"the model has {len(objectives)} active objectives ({names}); deactivate all but one")
    from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler  # it imports scipy.stats: half a second

    masks = [row_masks(block) for block in blocks]
    contradiction, standard = None, None
    with _without_rows(blocks), _without_logic([] if logic else blocks):
        try:
            standard = LinearStandardFormCompiler().write(model, mixed_form=True, set_sense=None)
        except InfeasibleConstraintException as error:
            contradiction = str(error)
        except (PyomoException, ValueError) as error:
            raise ModelError(f"the model is not linear: {error}") from error
        except (TypeError, AttributeError) as error:
            raise ModelError(
                f"Pyomo cannot compile the model ({error}); does something in it use variables of a ReLUBlock's layers "
                f"from before a rebuild(), or a variable that is fixed without a value?"
            ) from error
    variables: list[Any] = [] if standard is None else list(standard.columns)
    column_of = {id(variable): i for i, variable in enumerate(variables)}
    for block in blocks:
        for variable in _block_variables(block):
            if id(variable) not in column_of:
                column_of[id(variable)] = len(variables)
                variables.append(variable)
    builder = ModelBuilder()
    lower, upper, integer = _domains(variables)
    for block in blocks:
        _encoded_outputs(block, column_of, lower, upper)
    builder.add_columns(lower, upper, integer)
    if standard is not None:
        _add_standard_rows(builder, standard)
    for block, mask in zip(blocks, masks, strict=True):
        _add_block(builder, block, column_of, mask)
    c, offset, maximize = np.zeros(builder.n_columns), 0.0, False
    if objectives and standard is not None:
        costs = standard.c.toarray()[0]
        c[: costs.size], offset = costs, _number(standard.c_offset[0], objectives[0].name)
        maximize = objectives[0].sense == pyo.maximize
    objective = objectives[0] if objectives else None
    matrix = builder.model(c, offset, maximize=maximize)
    rows_around = 0 if standard is None else len(standard.rows)
    return CompiledModel(matrix, variables, blocks, objective, contradiction, rows_around)


def _check_logic(block: ReLUBlock) -> None:
    """Raise `ModelError` where the block holds logic that rows do not say."""
    for layer in block.layer.values():
        for kind, remedy in _REMEDIES.items():
            for part in layer.component_data_objects(kind, active=True, descend_into=True):
                raise ModelError(
                    f"{part.name} is a {kind.__name__}, which HiGHS does not know: {remedy}, or call "
                    f"{block.name}.rebuild(formulation='bigm')"
                )


_REMEDIES = {
    pyo.SOSConstraint: "use another solver",
    Disjunction: "apply the transformation 'gdp.bigm' or 'gdp.hull' to the model first",
    Complementarity: "apply the transformations 'mpec.simple_disjunction' and 'gdp.bigm' to the model first",
}


@contextmanager
def _without_logic(blocks: list[ReLUBlock]) -> Iterator[None]:
    """Hide the logic of the blocks' layers from Pyomo's compiler for a while."""
    kinds = (*_REMEDIES, Disjunct)
    hidden = [
        part
        for block in blocks
        for layer in block.layer.values()
        for part in layer.component_data_objects(kinds, active=True, descend_into=True)
    ]
    try:
        for part in hidden:
            part._active = False  # deactivate() would fix the variable of a disjunct
        yield
    finally:
        for part in hidden:
            part._active = True


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, PyomoException):
        raise ModelError(f"{name}: its constant part has no value; is a variable in it fixed without one?") from None


def relu_blocks(model: Any) -> list[ReLUBlock]:
    """The active ReLUBlocks of a model, itself included; `ModelError` where one has smooth neurons."""
    below = model.component_data_objects(pyo.Block, active=True, descend_into=True)
    blocks = [block for block in [model, *below] if isinstance(block, ReLUBlock)]
    for block in blocks:
        if isinstance(block.network, MixedNetwork):
            raise ModelError(
                f"{block.name}: {describe(block.network)}, which makes the model nonlinear; solve it with a solver of "
                "nonlinear models, such as 'scip_direct', 'gurobi_direct_minlp' or any that reads NL files"
            )
    return blocks


def own_rows(block: ReLUBlock) -> Iterator[tuple[int, str, Any, list[Any]]]:
    """(layer, group, its indexed constraint, its indices) of every group of rows."""
    for k, encoding in enumerate(block._encodings):
        for rows in encoding.rows:
            yield k, rows.name, block.layer[k].component(rows.name), rows.index


def row_masks(block: ReLUBlock) -> list[dict[str, Bools]]:
    """Which rows of the block stand as they were encoded, by layer and group: active ones that nobody has rewritten."""
    masks: list[dict[str, Bools]] = [{} for _ in block._encodings]
    for k, name, constraint, index in own_rows(block):
        if constraint is None:  # a transformation has moved it, or the user has deleted it
            masks[k][name] = np.zeros(len(index), dtype=bool)
            continue
        whole = constraint.active and block.layer[k].active and block.layer.active
        masks[k][name] = np.array([j in constraint and whole and _untouched(constraint[j]) for j in index], dtype=bool)
    return masks


def _untouched(row: Any) -> bool:
    return isinstance(row, RowData) and bool(row.active)


@contextmanager
def _without_rows(blocks: list[ReLUBlock]) -> Iterator[None]:
    """Hide the blocks' own rows from Pyomo's compiler for a while."""
    hidden = [
        row
        for block in blocks
        for _, _, constraint, _ in own_rows(block)
        for row in (constraint.values() if constraint is not None else ())
        if _untouched(row)
    ]
    try:
        for row in hidden:
            row.deactivate()
        yield
    finally:
        for row in hidden:
            row._active = True  # activate() would also activate a container that the user has deactivated


def _block_variables(block: ReLUBlock) -> Iterator[Any]:
    yield from block.inputs.values()
    yield from block.outputs.values()
    for k, encoding in enumerate(block._encodings):
        for group in encoding.columns:
            yield from _group(block, k, group.name).values()


def _group(block: ReLUBlock, k: int, name: str) -> Any:
    """The variables of a group of columns, by neuron."""
    name = "relu" if name == "h" else name
    if not hasattr(block.layer[k], name):
        raise ModelError(f"{block.name}.layer[{k}].{name} is gone; was it deleted or renamed by a transformation?")
    return getattr(block.layer[k], name)


def _domains(variables: list[Any]) -> tuple[Floats, Floats, Bools]:
    """Lower and upper ends and integrality of every variable; a fixed one has its value as both ends."""
    lower, upper = np.full(len(variables), -np.inf), np.full(len(variables), np.inf)
    integer = np.zeros(len(variables), dtype=bool)
    for i, variable in enumerate(variables):
        low, high = (variable.value, variable.value) if variable.fixed else variable.bounds
        lower[i] = -np.inf if low is None else low
        upper[i] = np.inf if high is None else high
        if not variable.is_continuous():
            if not variable.is_integer():
                raise ModelError(
                    f"{variable.name}: its domain {variable.domain} is neither continuous nor whole numbers"
                )
            integer[i] = True
    return lower, upper, integer


def _encoded_outputs(block: ReLUBlock, column_of: dict[int, int], lower: Floats, upper: Floats) -> None:
    """Give outputs that the block made, with ends that nobody has changed, the ends that the encoding has for them."""
    if block._request.outputs[0] is not None:
        return
    encoding = block._encodings[-1]
    low, high = (np.concatenate([getattr(g, end) for g in encoding.columns]) for end in ("lower", "upper"))
    for j, column in enumerate((encoding.output - encoding.n_in).tolist()):
        variable, ends = block.outputs[j], block._output_ends[j]
        if column < 0 or variable.fixed:
            continue
        at = column_of[id(variable)]
        if variable.lb == ends[0]:
            lower[at] = min(lower[at], low[column])
        if variable.ub == ends[1]:
            upper[at] = max(upper[at], high[column])


def _add_standard_rows(builder: ModelBuilder, standard: Any) -> None:
    rows = sparse.csr_array(standard.A)
    kind = np.array([row.bound_type for row in standard.rows], dtype=int)
    rhs = np.asarray(standard.rhs, dtype=np.float64)
    lower, upper = np.where(kind == 1, -np.inf, rhs), np.where(kind == -1, np.inf, rhs)
    builder.add_rows(rows, np.arange(rows.shape[1]), lower, upper)


def _add_block(
    builder: ModelBuilder, block: ReLUBlock, column_of: dict[int, int], masks: list[dict[str, Bools]]
) -> None:
    def columns(variables: Any) -> Ints:
        return np.array([column_of[id(variable)] for variable in variables], dtype=np.int64)

    groups = [
        {group.name: columns(_group(block, k, group.name).values()) for group in encoding.columns}
        for k, encoding in enumerate(block._encodings)
    ]
    builder.add_network(
        piecewise_linear(block.network),
        block._encodings,
        columns(block.inputs.values()),
        groups=groups,
        outputs=columns(block.outputs.values()),
        keep_row=masks,
        logic=False,  # what stands for it in the model, a disjunction transformed into rows, comes through Pyomo
    )
