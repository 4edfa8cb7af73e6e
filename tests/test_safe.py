"""Safe bounds: exact rationals, any multipliers, the optimum from an optimal basis, infinite sides and columns."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Box, Network, tighten_bounds
from omlt_ext.formulations import BigM
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.obbt import ColumnTask, column_ranges, proves_empty
from omlt_ext.solvers import HighsSolver
from omlt_ext.solvers.safe import safe_lower

INF = np.inf


def lp(A: object, row_lower: object, row_upper: object, lower: object, upper: object) -> MatrixModel:
    matrix = sparse.csr_array(np.atleast_2d(np.asarray(A, dtype=float)))
    n = matrix.shape[1]
    ends = [np.asarray(end, dtype=float) for end in (row_lower, row_upper, lower, upper)]
    return MatrixModel(np.zeros(n), 0.0, False, matrix, *ends, np.zeros(n, dtype=bool))


def exact(model: MatrixModel, c: np.ndarray, y: np.ndarray) -> Fraction | None:
    """The bound in rational arithmetic, None where it is minus infinity."""
    A = model.A.toarray()
    total = Fraction(0)
    y = [
        yi if np.isfinite(low if yi > 0 else high) else 0.0
        for yi, low, high in zip(y, model.row_lower, model.row_upper, strict=True)
    ]
    for yi, low, high in zip(y, model.row_lower, model.row_upper, strict=True):
        total += Fraction(yi) * Fraction(low if yi > 0 else high) if yi else 0
    for j in range(model.n_columns):
        r = Fraction(c[j]) - sum(Fraction(yi) * Fraction(a) for yi, a in zip(y, A[:, j], strict=True))
        end = model.lower[j] if r > 0 else model.upper[j]
        if r and not np.isfinite(end):
            return None
        total += r * Fraction(end) if r else 0
    return total


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.integers(0, 8), exponent=st.sampled_from([-200, -20, 0, 20, 150]))
def test_any_multipliers_in_rational_arithmetic(seed: int, spread: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    m, n = 4, 6
    A = rng.normal(size=(m, n)) * 10.0 ** rng.integers(-spread, spread + 1, (m, n)) * (rng.random((m, n)) < 0.6)
    lower = rng.normal(size=n) * 10.0**exponent
    upper = lower + np.abs(rng.normal(size=n)) * 10.0**exponent
    row_lower = rng.normal(size=m) * 10.0**exponent
    row_upper = row_lower + np.abs(rng.normal(size=m)) * 10.0**exponent
    row_lower[rng.random(m) < 0.3], row_upper[rng.random(m) < 0.3] = -INF, INF
    lower[rng.random(n) < 0.1], upper[rng.random(n) < 0.1] = -INF, INF
    model = lp(A, row_lower, row_upper, lower, upper)
    C, Y = rng.normal(size=(3, n)), rng.normal(size=(3, m))
    Y[2] = 0.0
    C[2] = 0.0
    C[2, 0] = 1.0
    found = safe_lower(model, C, Y)
    for value, c, y in zip(found, C, Y, strict=True):
        truth = exact(model, c, y)
        if truth is None:
            assert value == -INF
        elif np.isfinite(value):
            assert Fraction(value) <= truth
            size = sum(
                abs(Fraction(t)) for t in (np.abs(y) @ np.abs(A), 10.0**exponent * 1e3) for t in np.atleast_1d(t)
            )
            assert truth - Fraction(value) <= size * Fraction(10.0**exponent) * Fraction(1, 10**6) + size / 10**6
        if truth is not None and np.isfinite([lower, upper]).all():
            assert np.isfinite(value)


def test_an_optimal_basis_gives_the_optimum(make_network: Callable[..., Network]) -> None:
    network = make_network((4, 10, 8, 3), 1)
    model = network_model(network, tighten_bounds(network, Box.full(4, -1, 1), "crown"), BigM()).relax()
    solver = HighsSolver(model)
    rng = np.random.default_rng(0)
    for _ in range(5):
        c = np.zeros(model.n_columns)
        c[model.networks[0].outputs] = rng.normal(size=3)
        solver.set_objective(c, maximize=False)
        result = solver.solve()
        assert result.value is not None
        bound = safe_lower(model, c, solver.row_multipliers())[0]
        assert bound == pytest.approx(result.value, rel=1e-7, abs=1e-7)
        noisy = solver.row_multipliers() + 1e-3 * rng.normal(size=model.n_rows)
        assert safe_lower(model, c, noisy)[0] <= bound + 1e-9


def test_multipliers_of_a_scaled_model_are_in_its_own_units() -> None:
    """Columns and rows up to 1e6, which HiGHS gets in other units."""
    A = [[1.0, -1e6, 0.0], [0.0, 2.0, -1.0]]
    model = lp(A, [0.0, 0.5], [0.0, 0.5], [0.0, 0.0, 0.0], [3e6, 2.0, 5.0])  # x = 1e6 y, 2 y - w = 1/2
    solver = HighsSolver(model)
    c = np.array([1.0, 0.0, 0.0])
    solver.set_objective(c, maximize=False)
    result = solver.solve()
    assert result.value == pytest.approx(0.25e6)
    assert solver.row_multipliers() == pytest.approx([1.0, 0.5e6])
    assert safe_lower(model, c, solver.row_multipliers())[0] == pytest.approx(0.25e6, rel=1e-9)


def test_sides_and_columns_without_an_end() -> None:
    model = lp([[1.0, 1.0]], [-INF], [1.0], [0.0, -INF], [INF, INF])
    assert safe_lower(model, [1.0, 0.0], [5.0])[0] == 0.0  # the row has no lower side: the multiplier counts as 0
    assert safe_lower(model, [1.0, 0.0], [-1.0])[0] == -INF  # x_1 is free and would have the coefficient 1
    assert safe_lower(model, [-1.0, -1.0], [-1.0])[0] == -INF  # r = 0, but only if nothing was rounded
    assert safe_lower(lp([[1.0, 0.0]], [0.5], [INF], [0.0, -INF], [1.0, INF]), [1.0, 0.0], [1.0])[0] == pytest.approx(
        0.5
    )
    assert safe_lower(model, [-1.0, 0.0], [np.nan])[0] == -INF
    assert safe_lower(model, [1.0, 0.0], [np.inf])[0] == 0.0


def test_zero_stays_zero() -> None:
    model = lp([[1.0, -1.0]], [0.0], [INF], [0.0, 0.0], [1.0, 1.0])
    assert safe_lower(model, [1.0, 0.0], [0.0])[0] == 0.0
    assert -1e-14 < safe_lower(model, [1.0, -1.0], [1.0])[0] <= 0.0


def test_column_ranges_of_an_lp_and_of_a_milp() -> None:
    model = lp([[2.0, 2.0]], [-INF], [3.0], [0.0, 0.0], [1.0, 1.0])  # x_0 + x_1 <= 3/2
    both = lp([[2.0, 2.0], [1.0, -1.0]], [-INF, 0.0], [3.0, 0.0], [0.0, 0.0], [1.0, 1.0])  # and x_0 = x_1
    loose, tight = (column_ranges(ColumnTask(m, np.arange(2), 1e-3)) for m in (model, both))
    assert loose.upper == pytest.approx([1.0, 1.0])
    assert tight.upper == pytest.approx([0.75, 0.75])
    assert (tight.upper >= 0.75).all()
    whole = MatrixModel(**{**both.__dict__, "integer": np.array([True, True])})
    milp = column_ranges(ColumnTask(whole, np.arange(2), 1e-3))
    assert milp.upper == pytest.approx([0.0, 0.0], abs=1e-5)
    assert milp.finished
    late = column_ranges(ColumnTask(both, np.arange(2), 1e-3, deadline=0.0))
    assert not late.finished
    assert late.upper.tolist() == [1.0, 1.0]


def test_empty_models_are_proved_empty() -> None:
    assert proves_empty(lp([[1.0, 1.0], [1.0, 1.0]], [1.5, -INF], [INF, 1.4], [0.0, 0.0], [1.0, 1.0]))
    assert not proves_empty(lp([[1.0, 1.0], [1.0, 1.0]], [1.5, -INF], [INF, 1.6], [0.0, 0.0], [1.0, 1.0]))
    assert not proves_empty(lp(np.zeros((0, 2)), [], [], [0.0, 0.0], [1.0, 1.0]))
