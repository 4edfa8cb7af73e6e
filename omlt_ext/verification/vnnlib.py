"""VNN-LIB 1.0: the text form of properties that verification tools and their competition use.

A file declares reals X_0 ... X_n-1 and Y_0 ... Y_m-1, the flat inputs and outputs of a network in row-major order, and
asserts formulas that a counterexample satisfies:

    (declare-const X_0 Real)        (declare-const Y_0 Real)
    (assert (<= X_0 0.5))           (assert (or (and (>= X_0 0) (<= Y_0 1)) (>= Y_0 (+ (* 2 X_0) 3))))

and, or; <=, >=, =, <, >; +, -, and * and / with a number: linear constraints, over inputs and outputs together as well.
Strict comparisons are none of the standard's, but are taken at their word: a search proves the closed constraint,
which is more, and a counterexample satisfies the strict one. Every input needs a lower and an upper bound in each case.
A decimal number is read as the nearest double.
"""

from __future__ import annotations

import gzip
import re
import zlib
from fractions import Fraction
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..errors import ReadError
from .formula import Bound, Formula, Junction, Row, conjunction, disjunction, normal_form
from .linear import CONSTANT, Linear, Variable, compare, constant, plus, times
from .property import Property
from .vnnlib_cases import property_of

DEPTH = 100  # nested parentheses
COMPARISONS = ("<=", ">=", "<", ">", "=")
IGNORED = ("set-logic", "set-info", "set-option", "check-sat", "get-model", "get-value", "get-info", "echo", "exit")
VERSION_2 = ("vnnlib-version", "declare-network", "declare-input", "declare-output", "declare-hidden")

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
NAME = re.compile(r"([XY])_(0|[1-9]\d*)", re.ASCII)
# one token: a comparison of two words, which most lines hold, as a whole; "(", ")", a word; the end; anything else
TOKEN = re.compile(
    r'(?:\s|;[^\n]*)*(?:\(\s*(<=|>=)\s+([^\s()";|]+)\s+([^\s()";|]+)\s*\)()|(\()|(\))|([^\s()";|]+|"[^"]*"|\|[^|]*\|)|\Z|(.))'
)


def read_vnnlib(path: str | PathLike[str]) -> Property:
    """The property of a VNN-LIB 1.0 file, plain or compressed by gzip.

    Raises `ReadError` with the line and the token where the file cannot be read as such: missing, truncated, names
    that are not declared, functions that are not linear, inputs without bounds.

    >>> import tempfile
    >>> text = "(declare-const X_0 Real) (declare-const Y_0 Real) (assert (>= X_0 0)) (assert (<= X_0 1))"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "large.vnnlib.gz")
    ...     _ = path.write_bytes(gzip.compress((text + "(assert (>= Y_0 5))").encode()))
    ...     read_vnnlib(path)
    <Property of 1 input and 1 output, 1 disjunct>
    """
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ReadError(f"{path} cannot be read: {error}") from None
    return parse_vnnlib(data.decode("utf-8-sig", errors="replace"), str(path))


def parse_vnnlib(text: str, name: str = "the property") -> Property:
    """The property that VNN-LIB 1.0 `text` states; `name` stands in the messages of errors.

    >>> parse_vnnlib("(declare-const X_0 Real) (assert (<= X_0 (sin 1)))")
    Traceback (most recent call last):
    ...
    omlt_ext.errors.ReadError: the property, line 1: 'sin' is no function of linear properties; ...
    """
    parser = _Parser(text, name)
    parser.run()
    counts = [parser.count("X", "inputs"), parser.count("Y", "outputs")]
    try:
        base, cases = normal_form(conjunction(parser.assertions))
        if cases and not any(row.y for case in (base, *cases) for row in case.rows):
            raise ReadError(
                "of its assertions none says anything of an output, so that any input would do; is it truncated?"
            )
        return property_of(base, cases, counts[0], counts[1])
    except ReadError as error:
        raise ReadError(f"{name}: {error}") from None


class _Frame(NamedTuple):
    """An open parenthesis: where it stands, and what has been read behind it."""

    at: int
    items: list[Any]


class _Parser:
    """Reads tokens once; what stands in parentheses is reduced to its meaning when they close."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.words: dict[str, Variable] = {}
        self.assertions: list[Formula] = []

    def run(self) -> None:
        stack: list[_Frame] = []
        for token in TOKEN.finditer(self.text):
            kind = token.lastindex
            if kind == 4:
                if not stack:
                    self.refuse(token.start(1), token[1], "stands outside of any (assert ...)")
                stack[-1].items.append(self.simple(token))
            elif kind == 5:
                if len(stack) == DEPTH:
                    self.refuse(token.start(5), "(", f"is nested more than {DEPTH} deep")
                stack.append(_Frame(token.start(5), []))
            elif kind == 6:
                if not stack:
                    self.refuse(token.start(6), ")", "closes nothing")
                self.close(stack)
            elif kind == 7:
                if not stack:
                    self.refuse(token.start(7), token[7], "stands outside of any command")
                stack[-1].items.append(token[7])
            elif kind == 8:
                self.refuse(token.start(8), token[8], "begins something that does not end")
        if stack:
            self.refuse(stack[0].at, "(", "is never closed; the file is truncated")

    def close(self, stack: list[_Frame]) -> None:
        frame = stack.pop()
        head = frame.items[0] if frame.items else ""
        if not stack:
            self.command(frame, head)
        elif stack[0].items and stack[0].items[0] in IGNORED:
            stack[-1].items.append("")
        elif not frame.items and stack[0].items and stack[0].items[0] == "declare-fun":
            stack[-1].items.append(())
        else:
            stack[-1].items.append(self.meaning(frame, head))

    def command(self, frame: _Frame, head: Any) -> None:
        at, items = frame
        if head == "assert":
            if len(items) != 2 or not isinstance(items[1], Bound | Row | Junction):
                self.refuse(at, "assert", "takes one formula")
            self.assertions.append(items[1])
        elif head in ("declare-const", "declare-fun"):
            self.declare(at, head, items[1:])
        elif head in VERSION_2:
            self.refuse(at, head, "belongs to VNN-LIB 2.0; convert the property to version 1.0")
        elif head not in IGNORED:
            known = "declare-const, assert"
            self.refuse(at, head if isinstance(head, str) else "(", f"is no command of VNN-LIB 1.0; those are {known}")

    def declare(self, at: int, head: str, items: list[Any]) -> None:
        if head == "declare-fun" and len(items) == 3 and items[1] == ():
            del items[1]
        name = items[0] if items and isinstance(items[0], str) else ""
        match = NAME.fullmatch(name)
        if match is None or len(match[2]) > 9:
            self.refuse(at, name or head, "is no name of an input X_i or of an output Y_i, counted from 0")
        if len(items) != 2 or items[1] != "Real":
            self.refuse(at, name, "must be declared as (declare-const NAME Real)")
        if name in self.words:
            self.refuse(at, name, "is declared twice")
        self.words[name] = match[1], int(match[2])

    def count(self, kind: str, what: str) -> int:
        """How many inputs or outputs are declared: all from 0 on, without a gap."""
        indices = {j for name, j in self.words.values() if name == kind}
        if not indices:
            raise ReadError(f"{self.name} declares no {what}; it needs (declare-const {kind}_0 Real), or is truncated")
        missing = next((j for j in range(len(indices)) if j not in indices), None)
        if missing is not None:
            raise ReadError(f"{self.name} declares {kind}_{max(indices)}, but not {kind}_{missing}")
        return len(indices)

    def simple(self, token: re.Match[str]) -> Formula:
        """A comparison of two words; one of an input with a number takes no arithmetic."""
        operator, left, right = token[1], token[2], token[3]
        variable = self.words.get(left)
        if variable is not None and variable[0] == "X" and NUMBER.fullmatch(right):
            return Bound(variable[1], self.number(right, token.start(3)), operator == "<=")
        at = token.start(1)
        return self.compared(at, operator, [self.linear(at, left), self.linear(at, right)])

    def meaning(self, frame: _Frame, head: Any) -> Formula | Linear:
        at, items = frame
        if not isinstance(head, str) or not head:
            self.refuse(at, "(", "must be followed by a function")
        if head in ("and", "or"):
            for item in items[1:]:
                if not isinstance(item, Bound | Row | Junction):
                    self.refuse(at, head, "takes formulas only")
            return (conjunction if head == "and" else disjunction)(items[1:])
        known = (*COMPARISONS, "+", "-", "*", "/")
        if head not in known:
            names = "+, -, *, /, <=, >=, <, >, =, and, or"
            self.refuse(at, head, f"is no function of linear properties; those are {names}")
        terms = [self.linear(at, item) for item in items[1:]]
        if head in COMPARISONS:
            return self.compared(at, head, terms)
        return self.arithmetic(at, head, terms)

    def compared(self, at: int, operator: str, terms: list[Linear]) -> Formula:
        if len(terms) < 2:
            self.refuse(at, operator, "takes two terms")
        try:
            return conjunction([compare(a, operator, b) for a, b in pairwise(terms)])
        except OverflowError:
            self.refuse(at, operator, "compares numbers that no double holds")

    def arithmetic(self, at: int, operator: str, terms: list[Linear]) -> Linear:
        if not terms or (operator == "/" and len(terms) != 2):
            self.refuse(at, operator, "lacks its terms")
        if operator in "+-":
            negative = operator == "-"
            signs = [-1] if negative and len(terms) == 1 else [1, *[-1 if negative else 1] * (len(terms) - 1)]
            return plus(terms, signs)
        values = [constant(term) for term in terms]
        if operator == "/":
            if not values[1]:
                self.refuse(at, operator, "must divide by a number other than 0")
            return times(terms[0], 1 / values[1])
        product: Linear = {CONSTANT: Fraction(1)}
        for term, value in zip(terms, values, strict=True):
            known = constant(product)
            if value is None and known is None:
                self.refuse(at, operator, "multiplies variables; only linear constraints are read")
            product = times(term, known) if known is not None else times(product, value or Fraction(0))
        return product

    def linear(self, at: int, item: Any) -> Linear:
        if isinstance(item, dict):
            return item
        if not isinstance(item, str):
            self.refuse(at, "(", "takes numbers and names, not formulas")
        variable = self.words.get(item)
        if variable is not None:
            return {variable: Fraction(1)}
        if NUMBER.fullmatch(item):
            value = Fraction(self.number(item, at))
            return {CONSTANT: value} if value else {}
        return self.refuse(at, item, "is neither declared before nor a number")

    def number(self, word: str, at: int) -> float:
        value = float(word)
        if abs(value) == float("inf"):
            self.refuse(at, word, "is beyond the numbers that a double holds")
        return value

    def refuse(self, at: int, token: str, why: str) -> NoReturn:
        line = self.text.count("\n", 0, at) + 1
        raise ReadError(f"{self.name}, line {line}: {token[:40]!r} {why}")
