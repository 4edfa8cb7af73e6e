"""The HiGHS seam: arrays in; status, value, dual bound and point out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from omlt_ext.errors import SolverError
from omlt_ext.milp import MatrixModel
from omlt_ext.solvers import BASIC, HighsSolver


def knapsack(n: int = 30, seed: int = 0) -> MatrixModel:
    rng = np.random.default_rng(seed)
    weight, gain = rng.integers(10, 100, (3, n)).astype(float), rng.integers(10, 100, n).astype(float)
    return MatrixModel(
        c=gain,
        offset=5.0,
        maximize=True,
        A=sparse.csr_array(weight),
        row_lower=np.full(3, -np.inf),
        row_upper=0.3 * weight.sum(axis=1),
        lower=np.zeros(n),
        upper=np.ones(n),
        integer=np.ones(n, dtype=bool),
    )


def test_optimal_point_value_and_bound() -> None:
    model = knapsack()
    result = HighsSolver(model).solve(gap=0.0)
    assert result.status == "optimal"
    assert result.x is not None
    assert model.violation(result.x) < 1e-6
    assert result.value == pytest.approx(model.value(result.x))
    assert result.bound == pytest.approx(result.value)


def test_relaxation_bounds_the_optimum_from_above() -> None:
    model = knapsack()
    assert HighsSolver(model.relax()).solve().value >= HighsSolver(model).solve().value


def test_a_stopped_solve_gives_the_dual_bound() -> None:
    model = knapsack(200, seed=1)
    best = HighsSolver(model).solve(gap=0.0)
    stopped = HighsSolver(model, {"mip_max_leaves": 2, "mip_heuristic_effort": 0.0}).solve(gap=0.0)
    assert stopped.status == "limit"
    assert stopped.bound is not None
    assert stopped.bound >= best.value - 1e-6
    assert stopped.value is None or stopped.value < stopped.bound


def test_time_limit_zero_claims_nothing() -> None:
    result = HighsSolver(knapsack(200, seed=1)).solve(time_limit=0.0)
    assert result.status == "time_limit"
    assert result.value is None or result.bound is None or result.bound >= result.value


def test_start_is_taken() -> None:
    model = knapsack(200, seed=1)
    best = HighsSolver(model).solve(gap=0.0)
    solver = HighsSolver(model, {"mip_max_nodes": 0, "mip_heuristic_effort": 0.0, "presolve": "off"})
    solver.start_from(np.arange(200), np.round(best.x))
    assert solver.solve().value == pytest.approx(best.value)


def test_a_start_is_not_the_optimum_where_presolve_leaves_no_objective() -> None:
    """max 0.2 x_0 is 0; HiGHS 1.15 takes any start for the optimum, since presolve fixes x_0 and not the rest."""
    A = np.zeros((8, 9))
    A[[0, 0, 1, 1, 2, 2, 3, 3, 3], [2, 3, 2, 5, 3, 6, 3, 6, 7]] = -0.14, 1, 0.3, 1, -1, 1, -1, 1, 0.2
    A[[4, 4, 5, 5, 5, 6, 6, 7, 7, 7], [6, 7, 4, 5, 8, 0, 1, 0, 1, 8]] = 1, -0.1, 2, -0.76, 1, -1.2, 1, 0.2, -1, 0.3
    inf = np.inf
    model = MatrixModel(
        c=0.2 * (np.arange(9) == 0),
        offset=0.0,
        maximize=True,
        A=sparse.csr_array(A),
        lower=np.array([-2, -3, 0, -0.24, 0, 0.6, 0, 0, -2]),
        upper=np.array([0, inf, 2, 0.1, 1, 1.34, 0.1, 1, 0]),
        row_lower=np.array([-0.24, 1.34, 0, -inf, -inf, -0.7, -inf, -inf]),
        row_upper=np.array([-0.24, 1.34, inf, 0.24, 0, -0.7, 3.4, 2]),
        integer=np.arange(9) == 7,
    )
    start = HighsSolver(model.fix(np.array([0]), np.array([-1.0]))).solve().x
    assert start is not None
    solver = HighsSolver(model)
    solver.start_from(np.arange(9), start)
    result = solver.solve()
    assert result.status == "optimal"
    assert result.value == pytest.approx(0.0, abs=1e-6)
    assert result.bound == pytest.approx(0.0, abs=1e-6)


def test_changed_objective_and_bounds_on_a_living_model() -> None:
    model = knapsack()
    solver = HighsSolver(model)
    solver.solve()
    solver.set_objective(-model.c, maximize=True)
    assert solver.solve().value == pytest.approx(0.0)
    solver.set_bounds(np.array([0, 1]), 1.0, 1.0)
    solver.set_objective(model.c, maximize=False)
    assert solver.solve().value == pytest.approx(float(model.c[0] + model.c[1]))
    solver.set_bounds(np.array([0]), 2.0, 1.0)
    assert solver.solve().status == "infeasible"


@pytest.mark.parametrize("side", ["columns", "rows"])
def test_crossed_bounds_are_infeasible(side: str) -> None:
    model = knapsack()
    crossed = {"columns": {"lower": model.upper + 1}, "rows": {"row_lower": model.row_upper + 1}}[side]
    from dataclasses import replace

    assert HighsSolver(replace(model, **crossed)).solve().status == "infeasible"


def test_unbounded() -> None:
    from dataclasses import replace

    model = replace(knapsack().relax(), upper=np.full(30, np.inf), row_upper=np.full(3, np.inf))
    assert HighsSolver(model).solve().status in {"unbounded", "infeasible_or_unbounded"}


def test_no_columns_and_no_rows() -> None:
    empty = MatrixModel(
        np.zeros(0), 3.0, False, sparse.csr_array((0, 0)), *(np.zeros(0),) * 4, integer=np.zeros(0, dtype=bool)
    )
    assert HighsSolver(empty).solve().status == "optimal"


@pytest.mark.parametrize("options", [{"colour": "red"}, {"mip_rel_gap": "wide"}])
def test_unknown_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SolverError, match="HiGHS refuses the option"):
        HighsSolver(knapsack(), options)


INTERRUPTED = """
import numpy as np
from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.formulations import BigM
from omlt_ext.milp import network_model
from omlt_ext.solvers import BASIC, HighsSolver
rng = np.random.default_rng(0)
sizes = (30, 60, 60, 1)
layers = [Layer(rng.normal(size=(b, a)), rng.normal(size=b), relu=b > 1) for a, b in zip(sizes, sizes[1:])]
network = Network(layers)
model = network_model(network, tighten_bounds(network, (0, 1)), BigM(), objective=[1.0])
solver = HighsSolver(model)
solver.start_from(*model.networks[0].point(np.full(30, 0.5)))
print("started", flush=True)
result = solver.solve()
print(result.status, result.value, result.bound, result.value <= result.bound)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_interrupt_keeps_the_best_so_far(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "started"
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        status, value, bound, ordered = process.stdout.read().split()
        assert process.wait(timeout=60) == 0
    assert status == "interrupted"
    assert float(value) <= float(bound)
    assert ordered == "True"


def test_the_time_limit_of_each_solve_is_its_own() -> None:
    """On a living model, whatever was spent before."""
    solver = HighsSolver(knapsack(400, seed=2), {"mip_heuristic_effort": 0.0, "mip_rel_gap": 0.0, "mip_abs_gap": 0.0})
    for _ in range(3):
        result = solver.solve(time_limit=0.3)
        assert result.status == "time_limit"
        assert 0.2 <= result.seconds < 0.55


def test_watch_ends_the_solve_and_does_not_end_the_next_one() -> None:
    solver = HighsSolver(knapsack(200, seed=1))
    bounds: list[float] = []

    def enough(x: object, bound: float) -> bool:
        bounds.append(bound)
        return bool(np.isfinite(bound))

    first = solver.solve(gap=0.0, watch=enough)
    assert first.status == "stopped"
    assert first.bound is not None
    again = solver.solve(gap=0.0, watch=lambda x, bound: False)
    assert again.status == "optimal"
    assert again.value is not None
    assert first.bound >= again.value - 1e-6


def test_absolute_gap() -> None:
    result = HighsSolver(knapsack(200, seed=1)).solve(gap=0.0, absolute_gap=50.0)
    assert result.status == "optimal"
    assert 0.0 <= result.bound - result.value <= 50.0


def test_multipliers_prove_the_optimum_and_a_basis_starts_the_next_solve() -> None:
    model = knapsack().relax()
    solver = HighsSolver(model, {"presolve": "off"})
    result = solver.solve()
    reduced, rows = solver.reduced_costs(), solver.row_multipliers()
    np.testing.assert_allclose(model.c - model.A.T @ rows, reduced, atol=1e-9)
    assert rows @ model.row_upper + np.maximum(reduced, 0.0).sum() + model.offset == pytest.approx(result.value)
    columns, sides = solver.basis()
    assert np.count_nonzero(columns == BASIC) + np.count_nonzero(sides == BASIC) == model.n_rows
    fresh = HighsSolver(model, {"presolve": "off", "simplex_iteration_limit": 0})
    fresh.start_basis(columns, sides)
    assert fresh.solve().value == pytest.approx(result.value)


def test_a_basis_that_cannot_be_one_is_left_out() -> None:
    model = knapsack().relax()
    solver = HighsSolver(model, {"presolve": "off"})
    solver.start_basis(np.full(30, BASIC, dtype=np.int8), np.full(3, BASIC, dtype=np.int8))
    assert solver.solve().value == pytest.approx(HighsSolver(model).solve().value)


def test_another_model_takes_the_place() -> None:
    small, large = knapsack(10, seed=3), knapsack(40, seed=4)
    solver = HighsSolver(small)
    for model in (small, large, small.relax(), large):
        solver.replace(model)
        assert solver.solve(gap=0.0).value == pytest.approx(HighsSolver(model).solve(gap=0.0).value)
