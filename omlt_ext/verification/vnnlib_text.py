"""Properties and counterexamples written as VNN-LIB 1.0."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from ..domain import Box, Floats, Polytope
from ..errors import OptionError
from .property import Disjunct, Property


def write_vnnlib(property: Property) -> str:
    """The text of `property`; `read_vnnlib` gives the same arrays back. Raises `OptionError` for an l1 ball.

    >>> print(write_vnnlib(Property([Disjunct(([0.0], [1.0]), Gy=[[1.0, -1.0]], g=[0.0])])))
    (declare-const X_0 Real)
    (declare-const Y_0 Real)
    (declare-const Y_1 Real)
    (assert (>= X_0 0.0))
    (assert (<= X_0 1.0))
    (assert (<= Y_0 Y_1))
    """
    if property.ball is not None:
        raise OptionError("an l1 ball has too many facets for VNN-LIB 1.0; write an l-infinity ball, or its box")
    sizes = (("X", property.n_inputs), ("Y", property.n_outputs))
    lines = [f"(declare-const {name}_{j} Real)" for name, n in sizes for j in range(n)]
    disjuncts = property.disjuncts
    shared = bool(disjuncts) and all(_same(part.box, disjuncts[0].box) for part in disjuncts)
    common = list(_box(disjuncts[0].box)) if shared else []
    cases = [[*([] if shared else _box(part.box)), *_rows(part)] for part in disjuncts]
    if len(cases) == 1:
        common += cases[0]
    lines += [f"(assert {formula})" for formula in common]
    if len(cases) != 1:
        lines += ["(assert (or", *(f"    (and {' '.join(case)})" for case in cases), "))"]
    return "\n".join(lines)


def write_point(x: Floats, y: Floats) -> str:
    """x (n_in,) and y (n_out,) as competitions ask for a counterexample, one variable a line.

    >>> print(write_point(np.array([0.5, -1.0]), np.array([2.0])))
    ((X_0 0.5)
    (X_1 -1.0)
    (Y_0 2.0))
    """
    pairs = [f"({name}_{j} {float(v)!r})" for name, part in (("X", x), ("Y", y)) for j, v in enumerate(part)]
    return "(" + "\n".join(pairs) + ")"


def _same(a: Box, b: Box) -> bool:
    return a is b or (np.array_equal(a.lower, b.lower) and np.array_equal(a.upper, b.upper))


def _box(box: Box) -> Iterator[str]:
    ends = zip(box.lower.tolist(), box.upper.tolist(), strict=True)
    for j, (low, high) in enumerate(ends):
        yield f"(>= X_{j} {low!r})"
        yield f"(<= X_{j} {high!r})"


def _rows(disjunct: Disjunct) -> Iterator[str]:
    domain, none = disjunct.domain, np.zeros((0, 0))
    inner = zip(domain.A, domain.b, strict=True) if isinstance(domain, Polytope) else ()
    for row, side in inner:
        yield _row(row, none, side, strict=False)
    for Gx, Gy, side, strict in zip(disjunct.Gx, disjunct.Gy, disjunct.g, disjunct.strict, strict=True):
        yield _row(Gx, Gy, side, strict=bool(strict))


def _row(Gx: Floats, Gy: Floats, side: float, *, strict: bool) -> str:
    less, more = ("<", ">") if strict else ("<=", ">=")
    named = chain((("X", j, Gx) for j in np.flatnonzero(Gx)), (("Y", j, Gy) for j in np.flatnonzero(Gy)))
    terms = [(f"{name}_{j}", float(part[j])) for name, j, part in named]
    right = float(side)
    if [value for _, value in terms] == [1.0]:
        return f"({less} {terms[0][0]} {right!r})"
    if [value for _, value in terms] == [-1.0]:
        return f"({more} {terms[0][0]} {-right!r})"
    if sorted(value for _, value in terms) == [-1.0, 1.0] and right == 0:
        names = [name for name, _ in sorted(terms, key=lambda term: -term[1])]
        return f"({less} {names[0]} {names[1]})"
    parts = " ".join(f"(* {value!r} {name})" for name, value in terms) or "0.0"
    return f"({less} (+ {parts}) {right!r})"
