"""Rows of an encoding as Pyomo constraints that make their expression when it is asked for.

A dense layer of 512 by 784 weights is 400,000 terms; as Pyomo expressions they cost about a microsecond and 170 bytes
each. A `RowData` holds a pointer to the arrays instead and makes the expression anew at each access, so that building
a block costs time for its neurons, not for its weights. Pyomo's own `TemplateConstraintData` works this way too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyomo.environ as pyo
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.expr import EqualityExpression, InequalityExpression, LinearExpression, RangedExpression

from .encoding import Rows


@dataclass(frozen=True, eq=False)
class RowSource:
    """A group of rows over Pyomo variables: `variables[c]` stands for local column c."""

    rows: Rows
    variables: Sequence[Any]

    def body(self, i: int) -> Any:
        """The linear expression of row i."""
        matrix = self.rows.matrix
        part = slice(matrix.indptr[i], matrix.indptr[i + 1])
        terms = [self.variables[c] for c in matrix.indices[part].tolist()]
        return LinearExpression(linear_coefs=matrix.data[part].tolist(), linear_vars=terms)

    def ends(self, i: int) -> tuple[float | None, float | None]:
        """Lower and upper end of row i, None where it is infinite."""
        lower, upper = float(self.rows.lower[i]), float(self.rows.upper[i])
        return (None if lower == -float("inf") else lower), (None if upper == float("inf") else upper)


class RowData(ConstraintData):
    """One row as a constraint. Setting another expression turns it into an ordinary `ConstraintData`."""

    __slots__ = ()

    def __init__(self, source: RowSource, i: int, component: Any, index: int) -> None:
        super().__init__(None, component)
        self._index = index  # type: ignore[misc]
        self._expr = (source, i)  # type: ignore[misc]

    @property
    def expr(self) -> Any:
        lower, body, upper = self.to_bounded_expression()
        if lower == upper:
            return EqualityExpression((body, upper))
        if lower is None:
            return InequalityExpression((body, upper), strict=False)
        if upper is None:
            return InequalityExpression((lower, body), strict=False)
        return RangedExpression((lower, body, upper), strict=(False, False))

    def set_value(self, expr: Any) -> None:
        self.__class__ = ConstraintData
        self.set_value(expr)

    def to_bounded_expression(self, evaluate_bounds: bool = False) -> tuple[float | None, Any, float | None]:
        source, i = self._expr
        lower, upper = source.ends(i)
        return lower, source.body(i), upper

    @property
    def body(self) -> Any:
        source, i = self._expr
        return source.body(i)

    @property
    def lower(self) -> float | None:
        return self.lb

    @property
    def upper(self) -> float | None:
        return self.ub

    @property
    def lb(self) -> float | None:
        source, i = self._expr
        return source.ends(i)[0]

    @property
    def ub(self) -> float | None:
        source, i = self._expr
        return source.ends(i)[1]

    @property
    def equality(self) -> bool:
        return self.lb == self.ub


def write_rows(block: Any, rows: Rows, variables: Sequence[Any]) -> None:
    """Add a group of rows to `block` as the indexed constraint `block.<name>[neuron]`."""
    neurons = rows.neuron.tolist()
    constraint = pyo.Constraint(neurons)
    block.add_component(rows.name, constraint)
    source = RowSource(rows, variables)
    constraint._data = {j: RowData(source, i, constraint, j) for i, j in enumerate(neurons)}
