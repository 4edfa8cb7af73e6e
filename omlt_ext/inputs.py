"""How a block meets the model around it: its inputs and outputs as variables, and the box they live in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor
from pyomo.core.base.indexed_component import IndexedComponent

from .bounds import Bounds
from .domain import Box, Floats, as_box, check_interval
from .errors import BoundsError, ModelError, ShapeError
from .mixed import AnyNetwork, output_range
from .network import Bools

UNBOUNDED = 1e20  # what solvers take for infinite


@dataclass(frozen=True, eq=False)
class Request:
    """What the user asked of a block. `inputs` and `outputs` stand in tuples, so that Pyomo leaves them be.

    `new_bounds`: `input_bounds` were given to `rebuild` and replace the bounds of inputs that the block made itself.
    """

    network: AnyNetwork
    inputs: tuple[object]
    outputs: tuple[object]
    input_bounds: object
    bounds: Bounds | None
    effort: str
    new_bounds: bool = False

    def input_members(self, name: str) -> list[Any]:
        return members(self.inputs[0], self.network.input_slices, self.network.n_inputs, f"{name}: inputs")


def members(given: object, slices: Mapping[str, slice], count: int, what: str) -> list[Any]:
    """The variables, expressions or numbers in `given`, flat and in order; `ShapeError` unless there are `count`."""
    if isinstance(given, Mapping) and not isinstance(given, IndexedComponent) and set(given) == set(slices):
        flat: list[Any] = [None] * count
        for name, part in slices.items():
            flat[part] = members(given[name], {}, part.stop - part.start, f"{what} {name!r}")
        return flat
    if isinstance(given, IndexedComponent) and given.is_indexed():
        flat = list(given.values())
    elif isinstance(given, Mapping):
        if set(given) != set(range(count)):
            names = f"0 to {count - 1}" + (f", or {', '.join(map(repr, slices))}" if slices else "")
            raise ShapeError(f"{what}: the keys {list(given)[:5]} are not those of the network ({names})")
        flat = [given[i] for i in range(count)]
    elif hasattr(given, "is_expression_type") or isinstance(given, int | float | np.number):
        flat = [given]
    elif isinstance(given, Iterable):
        flat = list(np.asarray(given, dtype=object).ravel()) if isinstance(given, np.ndarray) else list(given)
    else:
        raise ModelError(f"{what}: {type(given).__name__} is neither a Pyomo variable nor a list of them")
    if len(flat) != count:
        raise ShapeError(f"{what}: {len(flat)} given, the network has {count}")
    for i, member in enumerate(flat):
        if not (hasattr(member, "is_expression_type") or isinstance(member, int | float | np.number)):
            raise ModelError(f"{what} {i}: {member!r} is no variable, expression or number")
    return [float(m) if isinstance(m, int | float | np.number) else m for m in flat]


def is_variable(member: object) -> bool:
    return bool(hasattr(member, "is_variable_type") and member.is_variable_type())


def member_bounds(member: Any) -> tuple[float, float]:
    """Bounds of a variable (whatever it is fixed at), an expression or a number; infinite where there are none."""
    if isinstance(member, float):
        return member, member
    if is_variable(member):
        low, high = member.bounds
    else:
        low, high = ExpressionBoundsVisitor(use_fixed_var_values_as_bounds=False).walk_expression(member)
    return (-np.inf if low is None else float(low)), (np.inf if high is None else float(high))


def wanted_box(block: Any, request: Request) -> tuple[Floats, Floats]:
    """Lower and upper ends of the inputs as the model has them now; infinite where an end is missing.

    Where variables' bounds and `input_bounds` meet, then the network's own box for ends that are still missing.
    Inputs that the block made itself have the bounds that their variables have.
    """
    network, n = request.network, request.network.n_inputs
    own = request.inputs[0] is None and hasattr(block, "inputs")
    if own:
        given: list[Any] = list(block.inputs.values())
    elif request.inputs[0] is None:
        given = []
    else:
        given = request.input_members(block.name)
    lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
    if given:
        lower, upper = (np.array(ends) for ends in zip(*map(member_bounds, given), strict=True))
    if own:
        return lower, upper
    wanted_low, wanted_high = given_box(request.input_bounds, n)
    lower, upper = np.maximum(lower, wanted_low), np.minimum(upper, wanted_high)
    if network.input_box is not None:
        lower = np.where(np.isfinite(lower), lower, network.input_box.lower)
        upper = np.where(np.isfinite(upper), upper, network.input_box.upper)
    return lower, upper


def resolve_box(block: Any, request: Request) -> Box:
    """The box of the block's inputs; `BoundsError` naming the first input without finite ends."""
    if request.inputs[0] is None and request.new_bounds and hasattr(block, "inputs"):
        lower, upper = given_box(request.input_bounds, request.network.n_inputs)
    else:
        lower, upper = wanted_box(block, request)
    given = [] if request.inputs[0] is None else request.input_members(block.name)
    bad = ~((np.abs(lower) < UNBOUNDED) & (np.abs(upper) < UNBOUNDED))  # NaN is bad as well
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        name = f" ({given[i].name})" if given and is_variable(given[i]) else ""
        others = f", like {int(bad.sum()) - 1} others," if bad.sum() > 1 else ""
        fixed = " (what it is fixed at does not count)" if name and given[i].fixed else ""
        raise BoundsError(
            f"{block.name}: input {i}{name}{others} has bounds [{lower[i]}, {upper[i]}]{fixed}; a network needs a "
            f"finite box. Give the variable finite bounds, or pass input_bounds=(lower, upper)"
        )
    check_interval(lower, upper, f"{block.name}: input")
    return Box(lower, upper)


def given_box(input_bounds: object, n: int) -> tuple[Floats, Floats]:
    """Lower and upper ends of a `Box`, a pair or a dict {i: (lower, upper)}; infinite where nothing is given."""
    if input_bounds is None:
        return np.full(n, -np.inf), np.full(n, np.inf)
    if not isinstance(input_bounds, Mapping):
        box = as_box(input_bounds, n)  # type: ignore[arg-type]
        return box.lower, box.upper
    lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
    for i, pair in input_bounds.items():
        if not isinstance(i, int | np.integer) or not 0 <= i < n:
            raise BoundsError(f"input_bounds: {i!r} is no input; they are numbered 0 to {n - 1}")
        low, high = pair if isinstance(pair, tuple | list) and len(pair) == 2 else (pair, pair)
        box = as_box((-UNBOUNDED if low is None else low, UNBOUNDED if high is None else high), 1)
        lower[i], upper[i] = box.lower[0], box.upper[0]
    return lower, upper


def attach_inputs(block: Any, request: Request, box: Box) -> list[Any]:
    """Make `block.inputs` where it is not there yet, and enforce the box; return the input variables."""
    ends = list(zip(box.lower.tolist(), box.upper.tolist(), strict=True))
    if request.inputs[0] is None:
        if not hasattr(block, "inputs"):
            block.inputs = pyo.Var(range(box.n))
        _set_bounds(block.inputs, ends)
    else:
        if not hasattr(block, "inputs"):
            block.inputs = dict(enumerate(_link(block, "input", request.input_members(block.name))))
        if block.component("input_value") is not None:
            _set_bounds(block.input_value, ends)
    enforce_box(block, box)
    return list(block.inputs.values())


def enforce_box(block: Any, box: Box) -> None:
    """Hold the inputs to the box by the constraint `input_box`, wherever their variables' own bounds do not."""
    if block.component("input_box") is not None:
        block.del_component("input_box")
    ends = list(zip(box.lower.tolist(), box.upper.tolist(), strict=True))
    outside = [i for i, variable in block.inputs.items() if not _within(member_bounds(variable), ends[i])]
    if outside:
        block.input_box = pyo.Constraint(outside)
        for i in outside:
            block.input_box[i] = (ends[i][0], block.inputs[i], ends[i][1])


def held_inputs(block: Any) -> Bools:
    """Which inputs the constraint `input_box` holds, (n,)."""
    held = np.zeros(len(block.inputs), dtype=bool)
    if block.component("input_box") is not None:
        held[[i for i, row in block.input_box.items() if row.active]] = True
    return held


def attach_outputs(block: Any, request: Request, bounds: Bounds) -> list[Any]:
    """Make `block.outputs` where it is not there yet; return the output variables.

    Outputs that the block made itself carry the network's bounds; ends that the user has changed stay the user's.
    """
    n = request.network.n_outputs
    if request.outputs[0] is not None:
        if not hasattr(block, "outputs"):
            given = members(request.outputs[0], request.network.output_slices, n, f"{block.name}: outputs")
            block.outputs = dict(enumerate(_link(block, "output", given)))
        return list(block.outputs.values())
    lower, upper = output_range(request.network, bounds.lower[-1], bounds.upper[-1])
    ends = list(zip(lower.tolist(), upper.tolist(), strict=True))
    if not hasattr(block, "outputs"):
        block.outputs = pyo.Var(range(n))
        block._output_ends = [(None, None)] * n
    for j, variable in block.outputs.items():
        old, new = block._output_ends[j], ends[j]
        ours = variable.lb == old[0], variable.ub == old[1]
        if ours[0]:
            variable.setlb(new[0])
        if ours[1]:
            variable.setub(new[1])
        block._output_ends[j] = (new[0] if ours[0] else old[0], new[1] if ours[1] else old[1])
    return list(block.outputs.values())


def _link(block: Any, kind: str, given: list[Any]) -> list[Any]:
    """Variables as they are; every expression or number as an own variable with the constraint that it equals it."""
    others = [i for i, member in enumerate(given) if not is_variable(member)]
    if not others:
        return given
    made = pyo.Var(others)
    linked = pyo.Constraint(others)
    block.add_component(f"{kind}_value", made)
    block.add_component(f"{kind}_link", linked)
    for i in others:
        linked[i] = made[i] - given[i] == 0.0
    flat = list(given)
    for i in others:
        flat[i] = made[i]
    return flat


def _set_bounds(variables: Any, ends: list[tuple[float, float]]) -> None:
    for i, variable in variables.items():
        variable.setlb(ends[i][0])
        variable.setub(ends[i][1])


def _within(inner: tuple[float, float], outer: tuple[float, float]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
