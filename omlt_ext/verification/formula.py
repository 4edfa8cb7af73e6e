"""Boolean formulas of linear comparisons, and their disjunctive normal form.

A formula is a `Bound` (x_j <= v or x_j >= v), a `Row` (a x + b y <= c) or a `Junction`, an and or an or of formulas.
The normal form keeps what all cases have in common once: a case holds what it adds to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn, TypeAlias

from ..errors import ReadError

LIMIT = 200_000  # cases after which a formula is refused: each becomes a search of its own
WORK = 10  # cases that are looked at for each one that may be kept


class Bound(NamedTuple):
    """x_j <= value where `upper`, else x_j >= value."""

    j: int
    value: float
    upper: bool


class Row(NamedTuple):
    """sum a_j x_j + sum b_j y_j <= side, or < side where strict; x and y are pairs (index, coefficient)."""

    x: tuple[tuple[int, float], ...]
    y: tuple[tuple[int, float], ...]
    side: float
    strict: bool


class Junction(NamedTuple):
    """All of `parts` where `both`, else at least one of them; none at all is true where `both`, else false."""

    both: bool
    parts: tuple[Formula, ...]


Formula: TypeAlias = "Bound | Row | Junction"


@dataclass
class Case:
    """A conjunction: bounds of inputs by index, and rows."""

    lower: dict[int, float] = field(default_factory=dict)
    upper: dict[int, float] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()

    def empty_within(self, base: Case) -> bool:
        """Whether the bounds of this case contradict each other or those of `base`."""
        for lower, upper in ((self.lower, self.upper), (self.lower, base.upper), (base.lower, self.upper)):
            few, many = (lower, upper) if len(lower) <= len(upper) else (upper, lower)
            if any(j in many and lower[j] > upper[j] for j in few):
                return True
        return False


def conjunction(parts: Iterable[Formula]) -> Formula:
    """The and of `parts`, flattened."""
    flat: list[Formula] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Junction) and part.both else (part,))
    return flat[0] if len(flat) == 1 else Junction(True, tuple(flat))


def disjunction(parts: Iterable[Formula]) -> Formula:
    """The or of `parts`, flattened."""
    flat: list[Formula] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Junction) and not part.both else (part,))
    return flat[0] if len(flat) == 1 else Junction(False, tuple(flat))


def normal_form(formula: Formula) -> tuple[Case, list[Case]]:
    """(base, cases): the formula holds where `base` holds together with at least one of `cases`.

    Cases whose bounds contradict each other are left out. Raises `ReadError` where there are more than `LIMIT`.

    >>> either = disjunction([Bound(0, 1.0, True), Bound(0, 2.0, False)])
    >>> base, cases = normal_form(conjunction([Bound(0, 1.5, False), either]))
    >>> base.lower, cases
    ({0: 1.5}, [Case(lower={0: 2.0}, upper={}, rows=())])
    """
    base, choices = _parted(formula)
    if base.empty_within(base):
        return base, []
    return base, _product(choices, base)


def _parted(formula: Formula) -> tuple[Case, list[Junction]]:
    """What a formula says without a choice, and its choices."""
    case, rows, choices = Case(), [], []
    for part in formula.parts if isinstance(formula, Junction) and formula.both else (formula,):
        if isinstance(part, Bound):
            side, known = (case.upper, min) if part.upper else (case.lower, max)
            side[part.j] = known(side.get(part.j, part.value), part.value)
        elif isinstance(part, Row):
            rows.append(part)
        else:
            choices.append(part)
    case.rows = tuple(rows)
    return case, choices


def _product(choices: list[Junction], base: Case) -> list[Case]:
    """One case for each way to choose a part of every choice."""
    cases = [Case()]
    for choice in choices:
        options = [case for part in choice.parts for case in _cases(part, base)]
        if len(cases) * len(options) > WORK * LIMIT:
            _refuse()
        merged = []
        for case in cases:
            for option in options:
                both = _both(case, option)
                if not both.empty_within(base):
                    merged.append(both)
            if len(merged) > LIMIT:
                _refuse()
        cases = merged
    return cases


def _refuse() -> NoReturn:
    raise ReadError(f"the disjunctions multiply to more than {LIMIT} cases; split the property")


def _cases(formula: Formula, base: Case) -> list[Case]:
    own, choices = _parted(formula)
    if own.empty_within(own) or own.empty_within(base):
        return []
    if not choices:
        return [own]
    merged = (_both(own, case) for case in _product(choices, base))
    return [case for case in merged if not case.empty_within(base)]


def _both(a: Case, b: Case) -> Case:
    """The conjunction of two cases; bounds that only one of them has are shared with it."""
    lower = _joined(a.lower, b.lower, max)
    upper = _joined(a.upper, b.upper, min)
    return Case(lower, upper, a.rows + b.rows)


def _joined(a: dict[int, float], b: dict[int, float], tighter: Callable[[float, float], float]) -> dict[int, float]:
    if not a or not b:
        return a or b
    joined = dict(a)
    for j, value in b.items():
        joined[j] = tighter(joined.get(j, value), value)
    return joined
