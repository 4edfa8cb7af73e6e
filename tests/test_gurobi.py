"""Gurobi behind the seam says what HiGHS says; models small enough for the licence that comes with gurobipy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from omlt_ext import Box, Network, tighten_bounds
from omlt_ext.errors import LicenceError, OptionError, SolverError
from omlt_ext.formulations import BigM
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.solvers import BASIC, HighsSolver, open_solver
from omlt_ext.tightening.effort import Effort

pytest.importorskip("gurobipy")
from omlt_ext.solvers.gurobi import GurobiSolver

MakeNetwork = Callable[..., Network]


@pytest.fixture(scope="module")
def model(make_network: MakeNetwork) -> MatrixModel:
    network = make_network((4, 12, 10, 2), 0, scale=0.6)
    bounds = tighten_bounds(network, Box.full(4, -1, 1), "crown")
    return network_model(network, bounds, BigM(), objective=[1.0, -0.5])


def with_ranges() -> MatrixModel:
    """Rows of all kinds: two-sided, equal, one-sided either way; a free column."""
    return MatrixModel(
        c=np.array([1.0, -2.0, 0.5]),
        offset=3.0,
        maximize=False,
        A=sparse.csr_array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, 1.0, 1.0]]),
        row_lower=np.array([-1.0, 0.5, -np.inf, -4.0]),
        row_upper=np.array([2.0, 0.5, 3.0, np.inf]),
        lower=np.array([-5.0, -np.inf, -1.0]),
        upper=np.array([5.0, 8.0, np.inf]),
        integer=np.zeros(3, dtype=bool),
    )


def test_the_same_optimum_and_bound(model: MatrixModel) -> None:
    ours, theirs = (solver(model).solve(gap=0.0) for solver in (HighsSolver, GurobiSolver))
    assert ours.status == theirs.status == "optimal"
    assert theirs.value == pytest.approx(ours.value, abs=1e-5)
    assert theirs.bound == pytest.approx(ours.bound, abs=1e-5)
    assert model.violation(theirs.x) < 1e-5
    assert model.value(theirs.x) == pytest.approx(theirs.value)


@pytest.mark.parametrize("name", ["network", "ranges"])
def test_the_same_lp_and_its_multipliers(model: MatrixModel, name: str) -> None:
    lp = model.relax() if name == "network" else with_ranges()
    ours, theirs = HighsSolver(lp), GurobiSolver(lp)
    assert theirs.solve().value == pytest.approx(ours.solve().value)
    np.testing.assert_allclose(lp.c - lp.A.T @ theirs.row_multipliers(), theirs.reduced_costs(), atol=1e-7)


def test_large_numbers_are_scaled_and_scaled_back(make_network: MakeNetwork) -> None:
    network = make_network((3, 6, 1), 1, scale=300.0)
    lp = network_model(network, tighten_bounds(network, (-100, 100), "crown"), BigM(), objective=[1.0]).relax()
    ours, theirs = HighsSolver(lp), GurobiSolver(lp)
    one, other = ours.solve(), theirs.solve()
    assert abs(one.value) > 1e6
    assert other.value == pytest.approx(one.value)
    np.testing.assert_allclose(lp.c - lp.A.T @ theirs.row_multipliers(), theirs.reduced_costs(), atol=1e-6)


def test_changed_objective_bounds_and_model(model: MatrixModel) -> None:
    ours, theirs = HighsSolver(model), GurobiSolver(model)
    x = model.networks[0].inputs
    for solver in (ours, theirs):
        solver.set_objective(-model.c, maximize=False, offset=1.0)
        solver.set_bounds(x[:2], np.array([0.0, 0.0]), 0.5)
    one, other = ours.solve(gap=0.0), theirs.solve(gap=0.0)
    assert other.value == pytest.approx(one.value, abs=1e-5)
    assert (other.x[x[:2]] >= -1e-9).all()
    theirs.replace(with_ranges())
    assert theirs.solve().value == pytest.approx(HighsSolver(with_ranges()).solve().value)


def test_a_basis_starts_the_next_solve(model: MatrixModel) -> None:
    lp = model.relax()
    first = GurobiSolver(lp, {"Presolve": 0, "Method": 1})
    value = first.solve().value
    columns, rows = first.basis()
    assert np.count_nonzero(columns == BASIC) + np.count_nonzero(rows == BASIC) == lp.n_rows
    again = GurobiSolver(lp, {"Presolve": 0, "Method": 1, "IterationLimit": 1})
    again.start_basis(columns, rows)
    result = again.solve()
    assert result.status == "optimal"
    assert result.value == pytest.approx(value)
    again.start_basis(np.full_like(columns, BASIC), rows)  # cannot be one: left out


def test_a_start_is_taken_and_a_stopped_solve_gives_the_dual_bound(model: MatrixModel) -> None:
    solver = GurobiSolver(model, {"Heuristics": 0, "Presolve": 0, "Cuts": 0})
    seen: list[float] = []

    def watch(x: np.ndarray | None, bound: float) -> bool:
        if x is not None:
            seen.append(model.value(x))
        return bool(seen) and np.isfinite(bound)

    embedded = model.networks[0]
    start = np.array([0.3, -0.2, 0.1, 0.4])
    solver.start_from(*embedded.point(start))
    stopped = solver.solve(gap=0.0, watch=watch)
    exact = GurobiSolver(model).solve(gap=0.0)
    assert stopped.status == "stopped"
    assert seen[0] == pytest.approx(float(embedded.network(start) @ [1.0, -0.5]), abs=1e-5)
    assert stopped.bound is not None
    assert stopped.bound >= exact.value - 1e-6
    assert solver.solve(gap=0.0).status == "optimal"  # the stop is forgotten


def test_infeasible_unbounded_and_no_time(model: MatrixModel) -> None:
    solver = GurobiSolver(model)
    nothing = solver.solve(time_limit=0.0)
    assert nothing.status == "time_limit"
    solver.set_bounds(model.networks[0].inputs[:1], 2.0, 1.0)
    assert solver.solve().status == "infeasible"
    free = replace(with_ranges(), c=np.array([0.0, 0.0, -1.0]), A=sparse.csr_array((4, 3)))
    free = replace(free, row_lower=np.full(4, -1.0), row_upper=np.ones(4))
    assert GurobiSolver(free, {"DualReductions": 0}).solve().status == "unbounded"


def test_the_rungs_agree_with_highs(make_network: MakeNetwork) -> None:
    network, box = make_network((6, 14, 12, 3), 1, scale=0.5), Box.full(6, -1, 1)
    for rung in ("lp", "milp"):
        ours, theirs = (tighten_bounds(network, box, Effort(rung, gap=1e-6, solver=s)) for s in ("highs", "gurobi"))
        for k in range(3):
            np.testing.assert_allclose(theirs.lower[k], ours.lower[k], atol=1e-4)
            np.testing.assert_allclose(theirs.upper[k], ours.upper[k], atol=1e-4)


def test_a_model_beyond_the_licence_is_refused_by_name(make_network: MakeNetwork) -> None:
    n = 2500
    large = MatrixModel(
        c=np.ones(n),
        offset=0.0,
        maximize=False,
        A=sparse.eye_array(n, format="csr"),
        row_lower=np.zeros(n),
        row_upper=np.ones(n),
        lower=np.zeros(n),
        upper=np.ones(n),
        integer=np.zeros(n, dtype=bool),
    )
    try:
        GurobiSolver(large).solve()
    except LicenceError as error:
        message = str(error)
    else:
        pytest.skip("there is a full licence here")
    assert "2500 columns and 2500 rows" in message
    assert "'highs'" in message
    network = make_network((2200, 4, 4, 1), 0, scale=0.02)
    with pytest.raises(LicenceError):  # said once, instead of a warning for every bound
        tighten_bounds(network, (-1, 1), Effort("milp", leaves=1, solver="gurobi"))


def test_unknown_parameters_and_solvers_are_refused(model: MatrixModel) -> None:
    with pytest.raises(SolverError, match="Bogus"):
        GurobiSolver(model, {"Bogus": 1})
    with pytest.raises(OptionError, match="cplex"):
        open_solver("cplex", model)
    assert isinstance(open_solver("gurobi", model), GurobiSolver)
    assert isinstance(open_solver("highs", model), HighsSolver)


def test_without_gurobipy_the_error_names_the_extra() -> None:
    """In a process that cannot import it."""
    script = (
        "import sys\n"
        "from omlt_ext import Box, Layer, Network, tighten_bounds\n"
        "from omlt_ext.tightening.effort import Effort\n"
        "from omlt_ext.errors import MissingDependencyError\n"
        "sys.modules['gurobipy'] = None\n"
        "hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)\n"
        "network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])\n"
        "try:\n"
        "    tighten_bounds(network, (-1, 1), Effort('lp', leaves=1, solver='gurobi'))\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "omlt-ext[gurobi]" in done.stdout
