"""Linear expressions of a property's text, in exact arithmetic, and comparisons of them as formulas.

An expression maps variables to coefficients: ("X", j) and ("Y", j), and CONSTANT to what is added. Numbers are the
nearest doubles of what is written; sums and products of them are exact, and rounded once, in the finished row.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import inf, nextafter
from typing import TypeAlias

from .formula import Bound, Formula, Junction, Row, conjunction

Variable: TypeAlias = "tuple[str, int]"
Linear: TypeAlias = "dict[Variable, Fraction]"

CONSTANT: Variable = ("", 0)
TRUE, FALSE = Junction(True, ()), Junction(False, ())


def plus(terms: Sequence[Linear], signs: Sequence[int]) -> Linear:
    """The sum of the terms with their signs."""
    total: Linear = {}
    for term, sign in zip(terms, signs, strict=True):
        for variable, value in term.items():
            total[variable] = total.get(variable, Fraction(0)) + sign * value
    return {variable: value for variable, value in total.items() if value}


def constant(term: Linear) -> Fraction | None:
    """The value of a term without variables, None for others."""
    return None if term.keys() - {CONSTANT} else term.get(CONSTANT, Fraction(0))


def times(term: Linear, factor: Fraction) -> Linear:
    """The term, each coefficient multiplied by `factor`."""
    return {variable: value * factor for variable, value in term.items()} if factor else {}


def compare(left: Linear, operator: str, right: Linear) -> Formula:
    """left <= right, and likewise >=, <, > and =, as a formula. Raises `OverflowError` for numbers beyond doubles.

    A comparison of one input with a number is a bound. Where the bound is strict, or is not a double, the bound is
    the closed or wider one, and a row says the rest.

    >>> x, half = {("X", 0): Fraction(1)}, {CONSTANT: Fraction(1, 2)}
    >>> compare(half, "<=", x)
    Bound(j=0, value=0.5, upper=False)
    >>> compare(x, "<", half)
    Junction(both=True, parts=(Bound(j=0, value=0.5, upper=True), Row(x=((0, 1.0),), y=(), side=0.5, strict=True)))
    """
    if operator == "=":
        return conjunction([compare(left, "<=", right), compare(right, "<=", left)])
    if operator in (">=", ">"):
        left, right = right, left
    form, strict = plus([left, right], [1, -1]), operator in ("<", ">")
    side = -form.pop(CONSTANT, Fraction(0))
    if not form:
        return TRUE if side > 0 or (side == 0 and not strict) else FALSE
    pairs = [(name, j, float(value)) for (name, j), value in sorted(form.items())]
    inputs, outputs = (tuple((j, value) for kind, j, value in pairs if kind == name) for name in "XY")
    row = Row(inputs, outputs, float(side), strict)
    if outputs or len(inputs) > 1:
        return row
    (((_, j), factor),) = form.items()
    limit, upper = side / factor, factor > 0
    value = float(limit)
    exact = Fraction(value) == limit
    if not exact and (Fraction(value) < limit) == upper:
        value = nextafter(value, inf if upper else -inf)
    bound = Bound(j, value, upper)
    return bound if exact and not strict else conjunction([bound, row])
