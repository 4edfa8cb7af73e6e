"""Logic as Pyomo components: SOS1 sets, complementarity conditions, and disjunctions for indicators.

Rows that hold where sigma_j = 1 stand in the disjunct `on[j]`, those for sigma_j = 0 in `off[j]`, and `either[j]` says
that one of the two holds; sigma_j is the binary of `on[j]`. So "gdp.bigm", "gdp.hull" and logic-based solvers apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr import LinearExpression
from pyomo.gdp import Disjunct, Disjunction

from .encoding import Encoding
from .errors import FormulationError
from .rows import index_set


def untransformed(block: Any) -> Any:
    """The first active disjunction or complementarity condition in the layers of a ReLUBlock, None without one."""
    from pyomo.mpec import Complementarity  # rarely asked for

    kinds = (Disjunction, Complementarity)
    for layer in block.layer.values():
        for data in layer.component_data_objects(kinds, active=True, descend_into=True):
            return data
    return None


def write_switches(block: Any, encoding: Encoding) -> dict[int, Any]:
    """Add the disjuncts of the encoding's indicators to `block`; return the variable of each binary column in them.

    Raises `FormulationError` where a neuron has more than one such column.
    """
    owner = {
        c: j
        for part in encoding.indicators
        for c, j in zip(part.binary.tolist(), part.rows.neuron.tolist(), strict=True)
    }
    if not owner:
        return {}
    neurons = sorted(owner.values())
    if len(set(neurons)) < len(neurons):
        raise FormulationError(
            f"a neuron of {block.name} has several binaries with indicators; a disjunction takes one"
        )
    at = index_set(neurons)
    block.off, block.on = Disjunct(at), Disjunct(at)
    block.either = Disjunction(at)
    for j in neurons:
        block.either[j] = [block.off[j], block.on[j]]
    return {c: block.on[j].binary_indicator_var for c, j in owner.items()}


def write_logic(block: Any, encoding: Encoding, variables: Sequence[Any]) -> None:
    """Add the encoding's pairs, and the rows of its indicators to their disjuncts; `variables[c]` is local column c."""
    for pairs in encoding.pairs:
        members = {
            j: (variables[a], variables[b])
            for j, a, b in zip(pairs.neuron.tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True)
        }
        if members:
            _PAIRS[pairs.kind](block, pairs.name, members)
    for part in encoding.indicators:
        rows, matrix = part.rows, part.rows.matrix
        for i, j in enumerate(rows.neuron.tolist()):
            disjunct = block.on[j] if part.value else block.off[j]
            at = slice(matrix.indptr[i], matrix.indptr[i + 1])
            terms = [variables[c] for c in matrix.indices[at].tolist()]
            body = LinearExpression(linear_coefs=matrix.data[at].tolist(), linear_vars=terms)
            low, high = float(rows.lower[i]), float(rows.upper[i])
            expr = (
                body == low
                if low == high
                else (None if low == -np.inf else low, body, None if high == np.inf else high)
            )
            disjunct.add_component(rows.name, pyo.Constraint(expr=expr))


def _sos1(block: Any, name: str, members: dict[int, tuple[Any, Any]]) -> None:
    sets = pyo.SOSConstraint(list(members), sos=1, rule=_skip)
    block.add_component(name, sets)
    for j, pair in members.items():
        sets.add(j, list(pair), [1.0, 2.0])


def _skip(*_: Any) -> Any:
    """A rule has to be there, and one that is made on the way could not be pickled."""
    return pyo.SOSConstraint.Skip


def _complements(block: Any, name: str, members: dict[int, tuple[Any, Any]]) -> None:
    from pyomo.mpec import Complementarity, complements  # rarely asked for

    conditions = Complementarity(list(members))
    block.add_component(name, conditions)
    for j, (one, other) in members.items():
        conditions[j] = complements(one >= 0, other >= 0)


_PAIRS = {"sos1": _sos1, "complements": _complements}
