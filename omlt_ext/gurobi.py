"""A network in a native gurobipy model, with matrix variables and without Pyomo. Needs the extra `gurobi`.

The columns and rows are those of `omlt_ext.encoding`, layer by layer, as everywhere else in this package. Formulations
with cuts ("ideal_cuts") give them in two ways: `add_cuts()` before a solve, `model.optimize(nn.callback)` during it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bounds import Bounds
from .domain import Box, Floats, Ints, numbers
from .encoding import ZERO, Formulation
from .errors import MissingDependencyError, ModelError, ShapeError, SolverError
from .gurobi_cuts import NetworkCuts, RootCuts
from .gurobi_inputs import free_name, input_boxes, input_variables, own_range, subscript
from .milp import EmbeddedNetwork, MatrixModel, network_model
from .network import Bools, Network
from .plugins import formulation as find_formulation
from .readers import load_network
from .solvers.gurobi import GRB, add_logic, add_rows, gurobipy
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

    `bounds` are those of the pre-activations over the box of this copy's inputs; `held` says at which lower and upper
    ends of the box a constraint holds the input.
    """

    inputs: Any
    outputs: Any
    layer: tuple[LayerVariables, ...]
    bounds: Bounds
    matrix: MatrixModel
    variables: list[Any]  # of every column of `matrix`
    held: tuple[Bools, Bools]

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
        self._cuts = NetworkCuts(model, [(copy.matrix, copy.variables) for copy in self.copies])

    def __repr__(self) -> str:
        state = "" if self._added is not None else ", removed"
        return (
            f"GurobiNetwork({self.network!r}, formulation {self.formulation.name!r}, inputs {self.inputs.shape}{state})"
        )

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
        """Start the next solve from what the network gives at x, of the shape of `inputs`.

        Raises `ModelError` for what are no finite numbers, `ShapeError` for another shape.
        """
        self._check_present()
        points = numbers(x, "the point", ModelError)
        if points.shape != self.inputs.shape:
            raise ShapeError(f"the point has shape {points.shape}; the inputs have {self.inputs.shape}")
        if not np.isfinite(points).all():
            at = subscript(tuple(np.argwhere(~np.isfinite(points))[0].tolist()))
            raise ModelError(f"coordinate {at} of the point is not finite")
        for copy, point in zip(self.copies, np.atleast_2d(points), strict=True):
            for column, value in zip(*(part.tolist() for part in copy.embedded.point(point)), strict=True):
                copy.variables[column].Start = value

    def add_cuts(self, *, rounds: int | None = None, time_limit: float | None = None) -> RootCuts:
        """Add the cuts that the LP relaxation of the whole model, with its objective, violates; return what was done.

        At most `rounds` rounds (None: what the formulation says) and `time_limit` seconds; Ctrl-C ends the rounds as
        well. Cuts that are slack in the end are left out. They hold at every point of the network, whatever the
        objective; a second call looks for more, and `remove()` removes them too.

        Raises `ModelError` for a formulation without cuts and a model with several objectives, `OptionError` for bad
        limits, `SolverError` where Gurobi refuses the relaxation.

        >>> import gurobipy
        >>> from omlt_ext import Layer, Network
        >>> network = Network([Layer([[1.0, 1.0]], [-0.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
        >>> model = gurobipy.Model(env=gurobipy.Env(params={"OutputFlag": 0}))
        >>> x = model.addMVar(2, ub=1.0)
        >>> nn = add_network(model, network, x, formulation="ideal_cuts")
        >>> budget = model.addConstr(x[0] + 4 * x[1] <= 2)
        >>> model.setObjective(nn.outputs.sum() - 0.8 * x[0], gurobipy.GRB.MAXIMIZE)
        >>> done = nn.add_cuts()
        >>> round(done.before, 4), round(done.after, 4), done.cuts, done.status
        (0.375, 0.28, 1, 'converged')
        """
        self._check_cuts()
        return self._cuts.add(rounds, time_limit)

    @property
    def callback(self) -> Callable[[Any, int], None]:
        """A new callback for one solve, `model.optimize(nn.callback)`: it gives the nodes the cuts that they violate.

        Sets the parameter PreCrush of the model, without which Gurobi refuses such cuts. A callback of yours calls it:

            cut = nn.callback
            model.optimize(lambda model, where: (cut(model, where), mine(model, where)))

        Raises `ModelError` for a formulation without cuts.
        """
        self._check_cuts()
        self.model.Params.PreCrush = 1
        return self._cuts.callback()

    def stale_inputs(self) -> list[Any]:
        """Inputs, i or (row, i) in a batch, that may now leave the box: bounds were widened (and the model updated)."""
        self._check_present()
        found = np.zeros((len(self.copies), self.network.n_inputs), dtype=bool)
        for copy, outside in zip(self.copies, found, strict=True):
            lower, upper = own_range(copy.inputs.tolist())
            box = copy.bounds.box
            outside[:] = (lower < box.lower) & ~copy.held[0] | (upper > box.upper) & ~copy.held[1]
        return (
            np.flatnonzero(found[0]).tolist()
            if self.inputs.ndim == 1
            else list(map(tuple, np.argwhere(found).tolist()))
        )

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
        if not all(copy.embedded.exact for copy in self.copies):
            lines.append("  a relaxation: other points than the network's own are feasible")
        if getattr(self.formulation, "separates", False):
            lines.append(f"  {self._cuts.summary()}")
        stale = self.stale_inputs()
        if stale:
            lines.append(
                f"  inputs {stale} have wider bounds than the network was added for: remove() it, add it again"
            )
        print("\n".join(lines), file=file or sys.stdout)

    def remove(self) -> None:
        """Remove all variables and constraints that were added; the inputs stay. A second call raises `ModelError`."""
        added = self._check_present()
        for part in (added.logic, self._cuts.rows, added.rows, added.variables):
            self.model.remove(part)
        self.model.update()
        self._added = None

    def _check_present(self) -> _Added:
        if self._added is None:
            raise ModelError("this network was removed from the model; add_network adds another")
        return self._added

    def _check_cuts(self) -> None:
        self._check_present()
        if not getattr(self.formulation, "separates", False):
            raise ModelError(
                f"the formulation {self.formulation.name!r} has no cuts; remove() the network and add it again with "
                "formulation='ideal_cuts'"
            )


def add_network(
    model: Any,
    network: object,
    x: Any,
    *,
    formulation: str | Formulation = "bigm",
    bounds: Bounds | str | Effort | None = None,
    input_bounds: object = None,
    name: str | None = None,
) -> GurobiNetwork:
    """Add y = f(x) to a gurobipy model, for the inputs x that stand in it.

    `network`: a `Network`, or anything that `load_network` reads. `x`: an `MVar`, or `Var`s in a list, an array or a
    mapping (by the numbers or names of the inputs where those are its keys), (n_in,), or (batch, n_in) for one copy of
    the network a row. The box of the inputs is where the variables' bounds and `input_bounds` meet, as in `ReLUBlock`:
    where it is narrower than a variable's bounds, constraints say so; that of a semi-continuous variable has 0 in it.
    Rows with the same box share one encoding. `bounds`: `Bounds` to use, or an effort for `tighten_bounds` (default
    "crown"). `formulation`: by name or object; "auto" is the advice for Gurobi. `name` goes before the names of the
    variables; without one it is "nn", or the first of "nn_1", "nn_2", ... that no variable's name begins with.

    The model is updated before and after. Raises `MissingDependencyError` without gurobipy, `ShapeError` for a wrong
    number of inputs, `ModelError` for inputs that are no variables of this model, `BoundsError` where an input has no
    finite bounds.

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
    if isinstance(formulation, str) and hasattr(method, "for_solver"):
        method = method.for_solver("gurobi")
    model.update()
    inputs = input_variables(model, x, net)
    boxes = input_boxes(inputs, net, input_bounds)
    known, effort = (bounds, "crown") if isinstance(bounds, Bounds) else (None, bounds or "crown")
    made: dict[bytes, tuple[Bounds, MatrixModel]] = {}
    for box in boxes:
        key = box.lower.tobytes() + box.upper.tobytes()
        if key not in made:
            found = tighten_bounds(net, box, effort=effort, bounds=known)
            made[key] = found, network_model(net, found, method)
    rows = [inputs] if inputs.ndim == 1 else list(inputs)
    added, prefix = _Added(model), name or free_name(model)
    for i, (row, box) in enumerate(zip(rows, boxes, strict=True)):
        label = f"{prefix}[{i}]." if inputs.ndim == 2 else f"{prefix}."
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
                names = [f"{label}layer[{k}].{group.name}[{subscript(index)}]" for index in group.index]
                binary = group.integer and bool((group.lower >= 0.0).all() and (group.upper <= 1.0).all())
                kind = GRB.BINARY if binary else GRB.INTEGER if group.integer else GRB.CONTINUOUS
                own = self._add_variables(group.lower, group.upper, kind, names)
                for column, variable in zip(columns[group.name].tolist(), own.tolist(), strict=True):
                    variables[column] = variable
                groups[group.name], neuron[group.name] = own, group.neuron
            layers.append(LayerVariables(groups, neuron))
        held = self._enforce(inputs, bounds.box)
        self.rows += add_rows(self.model, matrix.A, variables, matrix.row_lower, matrix.row_upper)
        if matrix.logic:
            self.logic += add_logic(self.model, variables, matrix.logic)
        columns_out = embedded.outputs.tolist()
        outputs = [self._zero(f"{label}output[{j}]") if c == ZERO else variables[c] for j, c in enumerate(columns_out)]
        x, y = (gurobipy.MVar.fromlist(part) for part in (inputs.tolist(), outputs))
        self.copies.append(NetworkCopy(x, y, tuple(layers), bounds, matrix, variables, held))

    def _add_variables(self, lower: Floats, upper: Floats, kind: str, names: list[str]) -> Any:
        own = self.model.addMVar(len(names), lb=lower, ub=upper, vtype=kind, name=names)
        self.variables += own.tolist()
        return own

    def _zero(self, name: str) -> Any:
        return self._add_variables(np.zeros(1), np.zeros(1), GRB.CONTINUOUS, [name]).tolist()[0]

    def _enforce(self, inputs: NDArray[np.object_], box: Box) -> tuple[Bools, Bools]:
        """Hold the inputs to the box where their own bounds do not; return at which lower and upper ends."""
        lower, upper = own_range(inputs)
        held = box.lower > lower, box.upper < upper
        for i in np.flatnonzero(held[0]).tolist():
            self.rows.append(self.model.addConstr(inputs[i] >= float(box.lower[i])))
        for i in np.flatnonzero(held[1]).tolist():
            self.rows.append(self.model.addConstr(inputs[i] <= float(box.upper[i])))
        return held
