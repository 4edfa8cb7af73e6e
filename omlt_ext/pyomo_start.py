"""Points of a compiled model from its networks: a feasible one to start from, and a solution held against them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .bridge import CompiledModel
from .domain import Floats
from .encoding import ZERO
from .errors import SolverError
from .milp import MatrixModel
from .solvers import HighsSolver

logger = logging.getLogger("omlt_ext")

START_SECONDS = 10.0
START_TOLERANCE = 1e-6  # how far a start may violate a row: HiGHS's own feasibility tolerance for integers


@dataclass(frozen=True)
class CheckedPoint:
    """A point of the model, its objective, and its largest difference from a network (`EmbeddedNetwork.error`)."""

    x: Floats
    value: float
    error: float


def seconds_left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.perf_counter())


def _share(deadline: float | None) -> float:
    """Seconds that one step of the search for a start may take."""
    left = seconds_left(deadline)
    return START_SECONDS if left is None else min(START_SECONDS, 0.2 * left)


def find_start(compiled: CompiledModel, deadline: float | None = None) -> Floats | None:
    """A feasible point: the model with every network held to its pattern at a candidate input, solved by HiGHS.

    Candidates: the variables' current values, the LP relaxation's point, the middle of the box. None where none of
    these patterns admits a point. With all binaries of the networks fixed only the user's own stay to be decided.
    Where the current values are a feasible point themselves, the start is never worse than they are.
    """
    matrix = compiled.matrix
    columns, values = compiled.values()
    given = _given(matrix, columns, values)
    if not matrix.networks:
        return _better(matrix, given, _complete(matrix, columns, values, deadline)) if columns.size else None
    for candidate in _candidates(matrix, columns, values, deadline):
        direct = _forward(matrix, candidate)
        if direct is not None:
            return _better(matrix, given, direct)
        point = _better(matrix, given, _complete(matrix, *pattern_columns(matrix, candidate), deadline))
        if point is not None:
            return point
    return None


def _forward(matrix: MatrixModel, candidate: Floats) -> Floats | None:
    """The forward pass itself, where the networks' columns are all there are and it is feasible."""
    point = np.full(matrix.n_columns, np.nan)
    for network in matrix.networks:
        low, high = matrix.lower[network.inputs], matrix.upper[network.inputs]
        columns, values = network.point(np.clip(candidate[network.inputs], low, high))
        point[columns] = values
        present = network.outputs != ZERO
        point[network.outputs[present]] = network.network(point[network.inputs])[present]
    return point if not np.isnan(point).any() and matrix.violation(point) <= START_TOLERANCE else None


def _attempt(matrix: MatrixModel, options: Mapping[str, object] | None = None, **keywords: Any) -> Floats | None:
    """The point of a solve that may help and need not: None where HiGHS finds none or fails."""
    try:
        return HighsSolver(matrix, options).solve(**keywords).x
    except SolverError as error:
        logger.info(f"a solve beside the main one failed: {error}")
        return None


def _given(matrix: MatrixModel, columns: np.ndarray[Any, Any], values: Floats) -> Floats | None:
    """The point that the variables' values are, None where some have none or where it is not feasible."""
    if columns.size < matrix.n_columns:
        return None
    point = np.empty(matrix.n_columns)
    point[columns] = values
    return point if matrix.violation(point) <= START_TOLERANCE else None


def _better(matrix: MatrixModel, one: Floats | None, other: Floats | None) -> Floats | None:
    if one is None or other is None:
        return other if one is None else one
    sign = -1.0 if matrix.maximize else 1.0
    return min(one, other, key=lambda x: sign * matrix.value(x))


def _candidates(
    matrix: MatrixModel, columns: np.ndarray[Any, Any], values: Floats, deadline: float | None
) -> Iterator[Floats]:
    low, high = np.maximum(matrix.lower, -1e6), np.minimum(matrix.upper, 1e6)
    middle = 0.5 * (low + high)
    inputs = np.concatenate([network.inputs for network in matrix.networks])
    if np.isin(inputs, columns).all():
        current = middle.copy()
        current[columns] = values
        yield current
    relaxed = _attempt(matrix.relax(), time_limit=_share(deadline))
    if relaxed is not None:
        yield relaxed
    yield middle


def pattern_columns(matrix: MatrixModel, x: Floats) -> tuple[np.ndarray[Any, Any], Floats]:
    """(columns, values) of the networks' binaries in their own patterns at the inputs in x."""
    columns, values = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for network in matrix.networks:
        low, high = matrix.lower[network.inputs], matrix.upper[network.inputs]
        at, what = network.point(np.clip(x[network.inputs], low, high))
        whole = matrix.integer[at] & ~np.isin(at, network.inputs)
        columns.append(at[whole])
        values.append(what[whole])
    return np.concatenate(columns), np.concatenate(values)


def _complete(
    matrix: MatrixModel, columns: np.ndarray[Any, Any], values: Floats, deadline: float | None
) -> Floats | None:
    """The best feasible point with the integer ones among `columns` fixed, None where there is none in time."""
    whole = matrix.integer[columns]
    fixed = matrix.fix(columns[whole], np.round(values[whole]))
    x = _attempt(fixed, time_limit=_share(deadline), gap=1e-2)
    return x if x is not None and matrix.violation(x) <= 10 * START_TOLERANCE * max(1.0, np.abs(x).max()) else None


def check_point(matrix: MatrixModel, x: Floats, tolerance: float) -> CheckedPoint:
    """Hold x against the networks; where it differs by more than `tolerance`, settle it by an LP on the pattern.

    That LP has every integer column fixed: the networks' binaries to the pattern at x, the others to their rounding.
    """
    point = CheckedPoint(x, matrix.value(x), _error(matrix, x))
    if point.error <= tolerance:
        return point
    whole = np.flatnonzero(matrix.integer)
    rounded = x.copy()
    rounded[whole] = np.round(x[whole])
    columns, values = pattern_columns(matrix, x)
    rounded[columns] = values
    settled = _attempt(matrix.fix(whole, rounded[whole]).relax(), {"primal_feasibility_tolerance": 1e-9})
    if settled is None:
        return point
    error = _error(matrix, settled)
    return CheckedPoint(settled, matrix.value(settled), error) if error < point.error else point


def _error(matrix: MatrixModel, x: Floats) -> float:
    """The largest difference from a network; relaxations are meant to differ."""
    return max((network.error(x) for network in matrix.networks if network.exact), default=0.0)
