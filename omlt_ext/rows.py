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
    """One row as a constraint. Setting another expression turns it into an ordinary `ConstraintData`.

    Writers get an expression made for the moment. Who asks for `expr` or `body` gets the same object each time, since
    some of Pyomo's algorithms (fbbt) know expressions by their identity.
    """

    __slots__ = ()

    def __init__(self, source: RowSource, i: int, component: Any, index: Any) -> None:
        super().__init__(None, component)
        self._index = index  # type: ignore[misc]
        self._expr = (source, i, None)  # type: ignore[misc]

    @property
    def expr(self) -> Any:
        source, i, expression = self._expr
        if expression is None:
            lower, upper = source.ends(i)
            expression = _relation(lower, source.body(i), upper)
            self._expr = (source, i, expression)  # type: ignore[misc]
        return expression

    def set_value(self, expr: Any) -> None:
        self.__class__ = ConstraintData
        self.set_value(expr)

    def to_bounded_expression(self, evaluate_bounds: bool = False) -> tuple[float | None, Any, float | None]:
        source, i, expression = self._expr
        lower, upper = source.ends(i)
        return lower, source.body(i) if expression is None else _body(expression), upper

    @property
    def body(self) -> Any:
        return _body(self.expr)

    @property
    def lower(self) -> float | None:
        return self.lb

    @property
    def upper(self) -> float | None:
        return self.ub

    @property
    def lb(self) -> float | None:
        source, i, _ = self._expr
        return source.ends(i)[0]

    @property
    def ub(self) -> float | None:
        source, i, _ = self._expr
        return source.ends(i)[1]

    @property
    def equality(self) -> bool:
        return self.lb == self.ub


def _relation(lower: float | None, body: Any, upper: float | None) -> Any:
    if lower == upper:
        return EqualityExpression((body, upper))
    if lower is None:
        return InequalityExpression((body, upper), strict=False)
    if upper is None:
        return InequalityExpression((lower, body), strict=False)
    return RangedExpression((lower, body, upper), strict=(False, False))


def _body(expression: Any) -> Any:
    return next(part for part in expression.args if hasattr(part, "is_expression_type"))


def index_set(index: list[Any], dimen: int = 1) -> Any:
    """An index set that knows its dimension also where it is empty: transformations ask for it."""
    return pyo.Set(initialize=index, dimen=dimen)


def write_rows(block: Any, rows: Rows, variables: Sequence[Any]) -> None:
    """Add a group of rows to `block` as the indexed constraint `block.<name>[neuron]`, or `[neuron, key]`."""
    index = rows.index
    constraint = pyo.Constraint(index_set(index, 1 if rows.key is None else 2))
    block.add_component(rows.name, constraint)
    source = RowSource(rows, variables)
    constraint._data = {j: RowData(source, i, constraint, j) for i, j in enumerate(index)}
