"""A network in a native gurobipy model, with matrix variables and without Pyomo. Needs the extra `gurobi`.

The columns and rows are those of `omlt_ext.encoding`, layer by layer, as everywhere else in this package.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bounds import Bounds
from .domain import Box, Floats, Ints, check_interval
from .encoding import ZERO, Formulation
from .errors import BoundsError, MissingDependencyError, ModelError, ShapeError, SolverError
from .inputs import UNBOUNDED, given_box
from .milp import EmbeddedNetwork, MatrixModel, network_model
from .network import Network
from .plugins import formulation as find_formulation
from .readers import load_network
from .solvers.gurobi import GRB, add_logic, gurobipy
from .tightening import tighten_bounds
from .tightening.effort import Effort


@dataclass(frozen=True, eq=False)
class LayerVariables:
    """The variables of one layer by group: `z`, `h` (post-activations of unstable ReLUs), `sigma`, and so on.

    Each group is an `MVar`; `neuron[group]` (the same length) says whose each variable is. The h of active and linear
    neurons is their z; inactive ones have neither.
    """

    groups: Mapping[str, Any]
    neuron: Mapping[str, Ints]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.groups:
            raise AttributeError(f"this layer has no variables {name!r}, but {', '.join(self.groups)}")
        return self.groups[name]


@dataclass(frozen=True, eq=False)
class NetworkCopy:
    """One y = f(x) in the model: `inputs` (n_in,) and `outputs` (n_out,), `MVar`s, and the variables of each layer.

    `bounds` are those of the pre-activations over the box of this copy's inputs.
    """

    inputs: Any
    outputs: Any
    layer: tuple[LayerVariables, ...]
    bounds: Bounds
    matrix: MatrixModel
    variables: list[Any]  # of every column of `matrix`

    @property
    def embedded(self) -> EmbeddedNetwork:
        return self.matrix.networks[0]


class GurobiNetwork:
    """What `add_network` has added to a gurobipy model.

    `inputs` and `outputs` are `MVar`s, (n_in,) and (n_out,), or (batch, n_in) and (batch, n_out); `copies` is one
    `NetworkCopy` for each row. `layer[k]` has the variables of layer k where there is one copy, under the names `z`,
    `h`, `sigma`.
    """

    def __init__(
        self, model: Any, network: Network, formulation: Formulation, inputs: Any, outputs: Any, added: _Added
    ) -> None:
        self.model, self.network, self.formulation = model, network, formulation
        self.inputs, self.outputs = inputs, outputs
        self.copies = tuple(added.copies)
        self._added: _Added | None = added

    @property
    def layer(self) -> tuple[LayerVariables, ...]:
        """The variables of each layer; `ModelError` where there are several copies."""
        if len(self.copies) != 1:
            raise ModelError(f"there are {len(self.copies)} copies of the network: take copies[i].layer")
        return self.copies[0].layer

    def get_error(self) -> float:
        """max_j |y_j - f_j(x)| / (1 + |f(x)|_inf) at the solution, the largest of all copies.

        Raises `SolverError` where the model has no solution.
        """
        self._check_present()
        try:
            x, y = (np.asarray(part.X, dtype=np.float64) for part in (self.inputs, self.outputs))
        except (gurobipy.GurobiError, AttributeError):
            raise SolverError("the model has no solution to compare with the network; optimize() it first") from None
        rows = zip(np.atleast_2d(x), np.atleast_2d(y), strict=True)
        return max(self.network.error(one, other) for one, other in rows)

    def set_start(self, x: ArrayLike) -> None:
        """Start the next solve from what the network gives at x, of the shape of `inputs`."""
        self._check_present()
        points = np.asarray(x, dtype=np.float64)
        if points.shape != self.inputs.shape:
            raise ShapeError(f"the point has shape {points.shape}; the inputs have {self.inputs.shape}")
        for copy, point in zip(self.copies, np.atleast_2d(points), strict=True):
            for column, value in zip(*(part.tolist() for part in copy.embedded.point(point)), strict=True):
                copy.variables[column].Start = value

    def print_stats(self, file: TextIO | None = None) -> None:
        """Print what was added to the model, and the state of the neurons of each copy with a box of its own."""
        added = self._check_present()
        matrices = [copy.matrix for copy in self.copies]
        columns, integers = len(added.variables), sum(int(matrix.integer.sum()) for matrix in matrices)
        logic = sum(matrix.logic.n_pairs + matrix.logic.n_indicators for matrix in matrices if matrix.logic)
        nonzeros = sum(int(matrix.A.nnz) for matrix in matrices)
        copies = "" if len(self.copies) == 1 else f"{len(self.copies)} copies of "
        lines = [
            f"{copies}{self.network!r}, formulation {self.formulation.name!r}",
            f"  {columns} variables ({integers} binary), {len(added.rows)} constraints, {nonzeros} nonzeros"
            + (f", {logic} SOS1 sets and indicators" if logic else ""),
        ]
        different = {id(copy.bounds): copy.bounds for copy in self.copies}
        lines += [bounds.summary() for bounds in different.values()]
        print("\n".join(lines), file=file or sys.stdout)

    def remove(self) -> None:
        """Remove all variables and constraints that were added; the inputs stay. A second call raises `ModelError`."""
        added = self._check_present()
        for part in (added.logic, added.rows, added.variables):
            self.model.remove(part)
        self.model.update()
        self._added = None

    def _check_present(self) -> _Added:
        if self._added is None:
            raise ModelError("this network was removed from the model; add_network adds another")
        return self._added


def add_network(
    model: Any,
    network: object,
    x: Any,
    *,
    formulation: str | Formulation = "bigm",
    bounds: Bounds | str | Effort | None = None,
    input_bounds: object = None,
    name: str = "",
) -> GurobiNetwork:
    """Add y = f(x) to a gurobipy model, for the inputs x that stand in it.

    `network`: a `Network`, or anything that `load_network` reads. `x`: an `MVar` or a list of `Var`s, (n_in,), or
    (batch, n_in) for one copy of the network a row. The box of the inputs is where the variables' bounds (after
    `model.update()`) and `input_bounds` meet, as in `ReLUBlock`: where it is narrower than a variable's bounds,
    constraints say so. Rows with the same box share one encoding. `bounds`: `Bounds` to use, or an effort for
    `tighten_bounds` (default "crown"). `formulation`: by name or object. `name` goes before the names of the variables.

    Raises `MissingDependencyError` without gurobipy, `ShapeError` for a wrong number of inputs, `BoundsError` where an
    input has no finite bounds.

    >>> import gurobipy
    >>> from omlt_ext import Layer, Network
    >>> network = Network([Layer([[1.0, -1.0]], [0.0], relu=True), Layer([[2.0]], [1.0], relu=False)])
    >>> model = gurobipy.Model(env=gurobipy.Env(params={"OutputFlag": 0}))
    >>> x = model.addMVar(2, ub=1.0)
    >>> nn = add_network(model, network, x, name="nn")
    >>> model.setObjective(nn.outputs.sum(), gurobipy.GRB.MAXIMIZE)
    >>> model.optimize()
    >>> nn.outputs.X, nn.get_error(), nn.layer[0].sigma.VarName
    (array([3.]), 0.0, array(['nn.layer[0].sigma[0]'], dtype=...))
    """
    if gurobipy is None:
        raise MissingDependencyError("add_network needs gurobipy; install it with: pip install 'omlt-ext[gurobi]'")
    if not isinstance(model, gurobipy.Model):
        raise ModelError(f"expected a gurobipy.Model, not {type(model).__name__}")
    net, method = load_network(network), find_formulation(formulation)
    model.update()
    inputs = _inputs(x, net.n_inputs)
    boxes = _boxes(inputs, net, input_bounds)
    known, effort = (bounds, "crown") if isinstance(bounds, Bounds) else (None, bounds or "crown")
    made: dict[bytes, tuple[Bounds, MatrixModel]] = {}
    for box in boxes:
        key = box.lower.tobytes() + box.upper.tobytes()
        if key not in made:
            found = tighten_bounds(net, box, effort=effort, bounds=known)
            made[key] = found, network_model(net, found, method)
    rows = [inputs] if inputs.ndim == 1 else list(inputs)
    added = _Added(model)
    for i, (row, box) in enumerate(zip(rows, boxes, strict=True)):
        label = (f"{name}[{i}]." if name else f"[{i}].") if inputs.ndim == 2 else (f"{name}." if name else "")
        added.copy(row, *made[box.lower.tobytes() + box.upper.tobytes()], label)
    model.update()
    outputs = [copy.outputs.tolist() for copy in added.copies]
    stacked = gurobipy.MVar.fromlist(outputs if inputs.ndim == 2 else outputs[0])
    return GurobiNetwork(model, net, method, gurobipy.MVar.fromlist(inputs.tolist()), stacked, added)


class _Added:
    """What is added to a model, in the order in which it comes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.variables: list[Any] = []
        self.rows: list[Any] = []
        self.logic: list[Any] = []
        self.copies: list[NetworkCopy] = []

    def copy(self, inputs: NDArray[np.object_], bounds: Bounds, matrix: MatrixModel, label: str) -> None:
        """Add one copy of the network on these inputs."""
        embedded = matrix.networks[0]
        variables: list[Any] = [None] * matrix.n_columns
        for i, column in enumerate(embedded.inputs.tolist()):
            variables[column] = inputs[i]
        layers = []
        for k, (encoding, columns) in enumerate(zip(embedded.encodings, embedded.groups, strict=True)):
            groups, neuron = {}, {}
            for group in encoding.columns:
                names = [f"{label}layer[{k}].{group.name}[{_subscript(index)}]" for index in group.index]
                binary = group.integer and bool((group.lower >= 0.0).all() and (group.upper <= 1.0).all())
                kind = GRB.BINARY if binary else GRB.INTEGER if group.integer else GRB.CONTINUOUS
                own = self._add_variables(group.lower, group.upper, kind, names)
                for column, variable in zip(columns[group.name].tolist(), own.tolist(), strict=True):
                    variables[column] = variable
                groups[group.name], neuron[group.name] = own, group.neuron
            layers.append(LayerVariables(groups, neuron))
        self._enforce(inputs, bounds.box)
        self._add_rows(matrix, variables)
        if matrix.logic:
            self.logic += add_logic(self.model, variables, matrix.logic)
        columns_out = embedded.outputs.tolist()
        outputs = [self._zero(f"{label}output[{j}]") if c == ZERO else variables[c] for j, c in enumerate(columns_out)]
        x, y = (gurobipy.MVar.fromlist(part) for part in (inputs.tolist(), outputs))
        self.copies.append(NetworkCopy(x, y, tuple(layers), bounds, matrix, variables))

    def _add_variables(self, lower: Floats, upper: Floats, kind: str, names: list[str]) -> Any:
        own = self.model.addMVar(len(names), lb=lower, ub=upper, vtype=kind, name=names)
        self.variables += own.tolist()
        return own

    def _zero(self, name: str) -> Any:
        return self._add_variables(np.zeros(1), np.zeros(1), GRB.CONTINUOUS, [name]).tolist()[0]

    def _enforce(self, inputs: NDArray[np.object_], box: Box) -> None:
        """Hold the inputs to the box where their own bounds do not."""
        for variable, low, high in zip(inputs.tolist(), box.lower.tolist(), box.upper.tolist(), strict=True):
            self.rows += [self.model.addConstr(variable >= low)] if low > variable.LB else []
            self.rows += [self.model.addConstr(variable <= high)] if high < variable.UB else []

    def _add_rows(self, matrix: MatrixModel, variables: list[Any]) -> None:
        """Every finite side of every row; an equation once."""
        low, high = matrix.row_lower, matrix.row_upper
        even = low == high
        sides = {
            "=": (even, high),
            "<": (~even & np.isfinite(high), high),
            ">": (~even & np.isfinite(low), low),
        }
        for sense, (chosen, side) in sides.items():
            if chosen.any():
                self.rows += self.model.addMConstr(matrix.A[chosen], variables, sense, side[chosen]).tolist()


def _inputs(x: Any, n: int) -> NDArray[np.object_]:
    """The input variables, (n,) or (batch, n)."""
    if isinstance(x, gurobipy.MVar):
        x = x.tolist()
    variables = np.array([x] if isinstance(x, gurobipy.Var) else x, dtype=object)
    if variables.ndim not in (1, 2) or variables.shape[-1] != n or variables.size == 0:
        raise ShapeError(f"the inputs have shape {variables.shape}; the network takes ({n},) or (batch, {n})")
    for at, variable in np.ndenumerate(variables):
        if not isinstance(variable, gurobipy.Var):
            raise ModelError(f"input {_subscript(at)} is of type {type(variable).__name__}, not a gurobipy Var")
    return variables


def _boxes(inputs: NDArray[np.object_], network: Network, input_bounds: object) -> list[Box]:
    """The box of each row of inputs; `BoundsError` naming the first input without finite ends."""
    low, high = given_box(input_bounds, network.n_inputs)
    boxes = []
    for row in np.atleast_2d(inputs):
        ends = np.array([(variable.LB, variable.UB) for variable in row], dtype=np.float64)
        lower, upper = np.maximum(ends[:, 0], low), np.minimum(ends[:, 1], high)
        if network.input_box is not None:
            lower = np.where(lower > -UNBOUNDED, lower, network.input_box.lower)
            upper = np.where(upper < UNBOUNDED, upper, network.input_box.upper)
        bad = ~((np.abs(lower) < UNBOUNDED) & (np.abs(upper) < UNBOUNDED))
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise BoundsError(
                f"input {i} ({row[i].VarName}) has bounds [{lower[i]}, {upper[i]}]; a network needs a finite box. Give "
                f"the variable finite bounds and call model.update(), or pass input_bounds=(lower, upper)"
            )
        check_interval(lower, upper, lambda i, row=row: f"input {i} ({row[i].VarName})")
        boxes.append(Box(lower, upper))
    return boxes


def _subscript(index: Any) -> str:
    return ",".join(map(str, index)) if isinstance(index, tuple) else str(index)
