"""A `MatrixModel` as a free MPS file: sections ROWS to BOUNDS for every solver, SOS and INDICATORS where it has logic.

Column j is `x<j>`, row i is `r<i>`, the row of indicator i is `i<i>` (`i<i>_` for its lower side), pair i is `s<i>`.
Every number is written with all the digits that it takes to read it back; only the lower end of a row with two ends
goes through a subtraction, which may cost its last digit. Rows without an end are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from scipy import sparse

from ..domain import Floats
from ..errors import ModelError
from ..milp import MatrixModel


def write_mps(model: MatrixModel, path: str | PathLike[str]) -> None:
    """Write a model as free MPS; Gurobi, SCIP and CPLEX read its pairs and indicators, HiGHS reads models without.

    Raises `ModelError` where a coefficient is not finite, or an end is NaN.

    >>> import pathlib, tempfile
    >>> model = MatrixModel(c=np.array([1.0, 0.0]), offset=0.5, maximize=True, A=sparse.csr_array([[1.0, 0.1]]),
    ...     row_lower=np.array([-np.inf]), row_upper=np.array([2.5]), lower=np.array([-1.0, 0.0]),
    ...     upper=np.array([np.inf, 1.0]), integer=np.array([False, True]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_mps(model, pathlib.Path(folder) / "model.mps")
    ...     print((pathlib.Path(folder) / "model.mps").read_text())
    NAME omlt_ext
    OBJSENSE
        MAX
    ROWS
     N obj
     L r0
    COLUMNS
     x0 obj 1.0
     x0 r0 1.0
     MARKER 'MARKER' 'INTORG'
     x1 r0 0.1
     MARKER 'MARKER' 'INTEND'
    RHS
     rhs obj -0.5
     rhs r0 2.5
    BOUNDS
     LO bnd x0 -1.0
     BV bnd x1
    ENDATA
    """
    _check(model)
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f"{line}\n" for line in _lines(model))


def join_sos_sections(path: str | PathLike[str]) -> None:
    """Make one SOS section of those in an MPS file: Pyomo writes one for each set, and solvers refuse a second one.

    Other files stay as they are.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "model.mps"
    ...     _ = file.write_text("SOS\\n S1 a\\n    x 1\\nSOS\\n S1 b\\n    y 1\\nENDATA\\n")
    ...     join_sos_sections(file)
    ...     print(file.read_text().split())
    ['SOS', 'S1', 'a', 'x', '1', 'S1', 'b', 'y', '1', 'ENDATA']
    """
    with open(path, encoding="utf-8", newline="") as file:
        lines = file.readlines()
    heads = [i for i, line in enumerate(lines) if line.split() == ["SOS"] and not line[0].isspace()]
    more = set(heads[1:])
    if more:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.writelines(line for i, line in enumerate(lines) if i not in more)


def _check(model: MatrixModel) -> None:
    logic = model.logic
    numbers = {"c": model.c, "A": model.A.data, "offset": np.array([model.offset])}
    ends = {"lower": model.lower, "upper": model.upper, "row_lower": model.row_lower, "row_upper": model.row_upper}
    if logic:
        numbers["logic.A"] = logic.A.data
        ends |= {"logic.lower": logic.lower, "logic.upper": logic.upper}
    for name, values in (numbers | ends).items():
        bad = np.isnan(values) | (np.isinf(values) & (name in numbers))
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise ModelError(f"entry {at} of the model's {name} is {values[at]}; a file cannot hold it")


def _lines(model: MatrixModel) -> Iterator[str]:
    rows = _Rows(model)
    yield "NAME omlt_ext"
    yield from ("OBJSENSE", "    MAX") if model.maximize else ()
    yield from ("ROWS", " N obj")
    yield from (f" {sense} {name}" for sense, name in zip(rows.senses, rows.names, strict=True))
    yield from _columns(model, rows)
    yield "RHS"
    if model.offset:
        yield f" rhs obj {-model.offset!r}"
    yield from (f" rhs {name} {side!r}" for name, side in zip(rows.names, rows.sides.tolist(), strict=True) if side)
    ranges = [f" rng {name} {width!r}" for name, width in rows.ranges]
    yield from ["RANGES", *ranges] if ranges else []
    yield "BOUNDS"
    yield from _bounds(model)
    if model.logic and model.logic.n_pairs:
        yield "SOS"
        for i, (a, b) in enumerate(zip(model.logic.first.tolist(), model.logic.second.tolist(), strict=True)):
            yield from (f" S1 s{i}", f"    x{a} 1", f"    x{b} 2")
    if rows.switches:
        yield "INDICATORS"
        yield from (f" IF {name} x{binary} {value}" for name, binary, value in rows.switches)
    yield "ENDATA"


class _Rows:
    """The rows of the file: names, senses, right-hand sides, ranges, one matrix, and whose indicators some are."""

    def __init__(self, model: MatrixModel) -> None:
        low, high = model.row_lower, model.row_upper
        at = np.flatnonzero(np.isfinite(low) | np.isfinite(high))
        low, high = low[at], high[at]
        self.names = [f"r{i}" for i in at.tolist()]
        self.senses = np.where(low == high, "E", np.where(np.isfinite(high), "L", "G")).tolist()
        self.sides: Floats = np.where(np.isfinite(high), high, low)
        both = np.flatnonzero(np.isfinite(low) & np.isfinite(high) & (low != high)).tolist()
        self.ranges = [(self.names[i], float(high[i] - low[i])) for i in both]
        self.switches: list[tuple[str, int, int]] = []
        self.matrix: Any = model.A[at]
        if model.logic and model.logic.n_indicators:
            self._add_indicators(model.logic)

    def _add_indicators(self, logic: Any) -> None:
        """A row for each end; an equation is one row."""
        even = logic.lower == logic.upper
        sides = (("E", even, logic.lower, ""), ("L", ~even & np.isfinite(logic.upper), logic.upper, ""))
        for sense, chosen, values, mark in (*sides, ("G", ~even & np.isfinite(logic.lower), logic.lower, "_")):
            at = np.flatnonzero(chosen)
            names = [f"i{i}{mark}" for i in at.tolist()]
            self.names += names
            self.senses += [sense] * at.size
            self.sides = np.concatenate([self.sides, values[at]])
            self.matrix = sparse.vstack([self.matrix, logic.A[at]], format="csr")
            self.switches += zip(names, logic.binary[at].tolist(), logic.value[at].tolist(), strict=True)


def _columns(model: MatrixModel, rows: _Rows) -> Iterator[str]:
    yield "COLUMNS"
    A = sparse.csc_array(rows.matrix)
    ends, entries, data, costs = A.indptr.tolist(), A.indices.tolist(), A.data.tolist(), model.c.tolist()
    whole = False
    for j, integer in enumerate(model.integer.tolist()):
        if integer != whole:
            yield f" MARKER 'MARKER' '{'INTORG' if integer else 'INTEND'}'"
            whole = integer
        if costs[j] or ends[j] == ends[j + 1]:
            yield f" x{j} obj {costs[j]!r}"
        yield from (f" x{j} {rows.names[entries[k]]} {data[k]!r}" for k in range(ends[j], ends[j + 1]))
    if whole:
        yield " MARKER 'MARKER' 'INTEND'"


def _bounds(model: MatrixModel) -> Iterator[str]:
    """Both ends of every column, said even where readers would take the same by themselves."""
    kinds = zip(model.lower.tolist(), model.upper.tolist(), model.integer.tolist(), strict=True)
    for j, (low, high, integer) in enumerate(kinds):
        if integer and (low, high) == (0.0, 1.0):
            yield f" BV bnd x{j}"
        elif low == high:
            yield f" FX bnd x{j} {low!r}"
        elif low == -np.inf and high == np.inf:
            yield f" FR bnd x{j}"
        else:
            yield f" MI bnd x{j}" if low == -np.inf else f" LO bnd x{j} {low!r}"
            if high < np.inf:
                yield f" UP bnd x{j} {high!r}"
            elif integer:
                yield f" PL bnd x{j}"
