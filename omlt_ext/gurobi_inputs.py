"""What a network finds in a gurobipy model: its input variables, the box they live in, and a name that is free."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .domain import Box, Floats, check_interval
from .errors import BoundsError, ModelError, ShapeError
from .inputs import UNBOUNDED, given_box
from .network import Network
from .solvers.gurobi import GRB, gurobipy


def input_variables(model: Any, x: object, network: Network) -> NDArray[np.object_]:
    """The input variables, (n_in,) or (batch, n_in), each of them one of the (updated) model's own.

    `x` is a `Var`, an `MVar`, or lists, arrays, iterators and mappings of them; a mapping with the keys 0 .. n_in - 1
    or the names of the network's inputs is read by key, any other in its own order.
    """
    n, nested = network.n_inputs, _nested(x, network)
    try:
        variables = np.atleast_1d(np.array(nested, dtype=object))
    except ValueError:  # lists that NumPy cannot stack
        raise ShapeError(f"the inputs are ragged; the network takes ({n},) or (batch, {n})") from None
    known = model.getVars()
    for at, variable in np.ndenumerate(variables):
        if isinstance(variable, list):
            raise ShapeError(f"the inputs are ragged; the network takes ({n},) or (batch, {n})")
        if isinstance(variable, type):
            raise ModelError(
                f"input {subscript(at)} is of type {variable.__name__}, not a gurobipy Var; for an expression or "
                "a number, add a variable with finite bounds and the constraint that it equals it"
            )
        if not (0 <= variable.index < len(known) and known[variable.index].sameAs(variable)):
            raise ModelError(f"input {subscript(at)} is no variable of this model, but of another, or it was removed")
    if variables.ndim not in (1, 2) or variables.shape[-1] != n or variables.size == 0:
        raise ShapeError(f"the inputs have shape {variables.shape}; the network takes ({n},) or (batch, {n})")
    return variables


def own_range(variables: Iterable[Any]) -> tuple[Floats, Floats]:
    """The least and the largest value that the variables can take; semi-continuous and semi-integer ones take 0."""
    ends = np.array([(variable.LB, variable.UB) for variable in variables], dtype=np.float64).T
    semi = np.array([variable.VType in (GRB.SEMICONT, GRB.SEMIINT) for variable in variables])
    return np.where(semi, np.minimum(ends[0], 0.0), ends[0]), np.where(semi, np.maximum(ends[1], 0.0), ends[1])


def input_boxes(inputs: NDArray[np.object_], network: Network, input_bounds: object) -> list[Box]:
    """The box of each row of inputs; `BoundsError` naming the first input without finite ends."""
    low, high = given_box(input_bounds, network.n_inputs)
    boxes = []
    for row in np.atleast_2d(inputs):
        own = own_range(row)
        lower, upper = np.maximum(own[0], low), np.minimum(own[1], high)
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


def subscript(index: Any) -> str:
    """What stands between the brackets of a name."""
    return ",".join(map(str, index)) if isinstance(index, tuple) else str(index)


def free_name(model: Any) -> str:
    """ "nn", or the first of "nn_1", "nn_2", ... that no variable's name begins with."""
    taken = {re.split(r"[.\[]", name, maxsplit=1)[0] for name in model.getAttr("VarName", model.getVars())}
    return next(name for name in itertools.chain(["nn"], (f"nn_{i}" for i in itertools.count(1))) if name not in taken)


def _nested(x: Any, network: Network) -> Any:
    """Lists of the variables in x, to any depth; what is no variable stands as its type.

    An `MVar` of one element is one variable, or the row of a batch where the network has one input.
    """
    if isinstance(x, gurobipy.MVar):
        return x.tolist() if x.size != 1 or network.n_inputs == 1 else x.reshape(-1).tolist()[0]
    if isinstance(x, Mapping):
        x = _in_order(x, network)
    elif hasattr(x, "to_numpy"):  # of pandas: a frame iterates over its columns' names
        x = x.to_numpy()
    try:
        parts = None if isinstance(x, str | bytes) or not isinstance(x, Iterable) else list(x)
    except TypeError:  # an array without axes
        parts = None
    if parts is None:
        return x if isinstance(x, gurobipy.Var) else type(x)
    return [_nested(part, network) for part in parts]


def _in_order(x: Mapping[Any, Any], network: Network) -> list[Any]:
    """The values of a mapping, by the names or numbers of the network's inputs where those are its keys."""
    if set(x) == set(network.input_slices):
        flat: list[Any] = [None] * network.n_inputs
        for name, part in network.input_slices.items():
            own = np.atleast_1d(np.array(_nested(x[name], network), dtype=object)).ravel().tolist()
            if len(own) != part.stop - part.start:
                raise ShapeError(f"inputs {name!r}: {len(own)} given, the network has {part.stop - part.start}")
            flat[part] = own
        return flat
    if set(x) == set(range(network.n_inputs)):
        return [x[i] for i in range(network.n_inputs)]
    return list(x.values())
