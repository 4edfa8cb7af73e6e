"""One encoding as Pyomo components: its columns as variables, its rows as constraints, its logic as Pyomo says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo

from .curves import equation
from .encoding import ZERO, Columns, Encoding
from .pyomo_logic import write_logic, write_switches
from .rows import index_set, write_rows


def write_layer(
    block: Any, encoding: Encoding, carry: Sequence[Any], outputs: Sequence[Any] | None = None
) -> list[Any]:
    """Write one encoding as Pyomo components of `block`; return the variables that carry the layer's outputs.

    `carry`: the layer's inputs as variables; `outputs`: variables to use for h instead of making them.
    """
    column_of = {c: j for j, c in enumerate(encoding.output.tolist()) if c >= 0}
    switches = write_switches(block, encoding)
    variables = list(carry)
    for group in encoding.columns:
        first = len(variables)
        taken = {} if outputs is None else {i: outputs[column_of[first + i]] for i in _carried(group, first, column_of)}
        taken |= {c - first: switch for c, switch in switches.items() if first <= c < first + group.neuron.size}
        variables += _write_columns(block, group, taken)
    dead = np.flatnonzero(encoding.output == ZERO).tolist()
    carried = {j: variables[c] for c, j in column_of.items()} | _write_zeros(block, dead, outputs)
    block.h = {j: carried[j] for j in sorted(carried)}
    for rows in encoding.rows:
        write_rows(block, rows, variables)
    write_logic(block, encoding, variables)
    for bent in encoding.curves:
        made = pyo.Constraint(index_set(bent.neuron.tolist()))
        block.add_component(bent.name, made)
        for j, z, h, code, form in zip(bent.neuron, bent.argument, bent.value, bent.code, bent.form, strict=True):
            made[int(j)] = equation(code, variables[z], variables[h], form)
    if encoding.carry is not None:
        return [variables[c] for c in encoding.carry.tolist()]
    return list(block.h.values())


def _carried(group: Columns, first: int, column_of: Mapping[int, int]) -> list[int]:
    return [i for i in range(group.neuron.size) if first + i in column_of]


def _write_columns(block: Any, group: Columns, taken: Mapping[int, Any]) -> list[Any]:
    """One group of columns as a variable; `taken[i]` is used for column i where it is given.

    Post-activations of unstable neurons are the variable `relu`, because `h` refers to those and to z together.
    """
    index, dimen = group.index, 1 if group.key is None else 2
    ends = {j: (low, high) for j, low, high in zip(index, group.lower.tolist(), group.upper.tolist(), strict=True)}
    own = [j for i, j in enumerate(index) if i not in taken]
    made = pyo.Var(index_set(own, dimen), domain=pyo.Binary if group.integer else pyo.Reals, bounds=ends)
    name = "relu" if group.name == "h" else group.name
    if own or not taken:
        block.add_component(f"{name}_own" if taken else name, made)
    if not taken:
        return list(made.values())
    variables = [taken[i] if i in taken else made[j] for i, j in enumerate(index)]
    setattr(block, name, dict(zip(index, variables, strict=True)))
    if group.name == "h":  # the formulation needs 0 <= h; a variable of the user's need not say so itself
        block.relu_range = pyo.Constraint(index_set([index[i] for i in taken], dimen))
        for i, variable in taken.items():
            block.relu_range[index[i]] = (ends[index[i]][0], variable, ends[index[i]][1])
    return variables


def _write_zeros(block: Any, dead: list[int], outputs: Sequence[Any] | None) -> dict[int, Any]:
    """h[j] = 0 for neurons that are 0 everywhere: a fixed variable, or a constraint on the given output."""
    if outputs is None:
        block.zero = pyo.Var(index_set(dead), bounds=(0.0, 0.0), initialize=0.0)
        block.zero.fix(0.0)
        return dict(block.zero.items())
    block.zero_output = pyo.Constraint(index_set(dead))
    for j in dead:
        block.zero_output[j] = (outputs[j], 0.0)
    return {j: outputs[j] for j in dead}
