"""SCIP behind the seam says what HiGHS says, and solves the pairs and indicators that HiGHS refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from omlt_ext import Box, Layer, Network, plugins, tighten_bounds
from omlt_ext.encoding import ZERO
from omlt_ext.errors import SolverError
from omlt_ext.formulations import SOS1, BigM, Indicator
from omlt_ext.logic import Logic, no_logic
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.solvers import BASIC, LOWER, UPPER, HighsSolver, open_solver
from omlt_ext.tightening.effort import Effort

pytestmark = pytest.mark.scip
pytest.importorskip("pyscipopt")
from omlt_ext.solvers.scip import ScipSolver  # noqa: E402

MakeNetwork = Callable[..., Network]
Optimum = Callable[..., float]


@pytest.fixture(scope="module")
def model(make_network: MakeNetwork) -> MatrixModel:
    network = make_network((4, 10, 8, 2), 0, scale=0.6)
    bounds = tighten_bounds(network, Box.full(4, -1, 1), "crown")
    return network_model(network, bounds, BigM(), objective=[1.0, -0.5])


def with_ranges() -> MatrixModel:
    """Rows of all kinds: two-sided, equal, one-sided either way, free, of one column; a free column."""
    rows = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [0.0, 2.0, 0.0]]
    return MatrixModel(
        c=np.array([1.0, -2.0, 0.5]),
        offset=3.0,
        maximize=False,
        A=sparse.csr_array(rows),
        row_lower=np.array([-1.0, 0.5, -np.inf, -4.0, -np.inf, -1.0]),
        row_upper=np.array([2.0, 0.5, 3.0, np.inf, np.inf, 1.5]),
        lower=np.array([-5.0, -np.inf, -1.0]),
        upper=np.array([5.0, 8.0, np.inf]),
        integer=np.zeros(3, dtype=bool),
    )


def knapsack(n: int = 30, seed: int = 0) -> MatrixModel:
    rng = np.random.default_rng(seed)
    weights = rng.integers(5, 60, size=(3, n)).astype(float)
    return MatrixModel(
        c=rng.integers(10, 99, size=n).astype(float),
        offset=0.0,
        maximize=True,
        A=sparse.csr_array(weights),
        row_lower=np.full(3, -np.inf),
        row_upper=weights.sum(axis=1) // 2,
        lower=np.zeros(n),
        upper=np.ones(n),
        integer=np.ones(n, dtype=bool),
    )


def test_the_same_optimum_and_bound(model: MatrixModel) -> None:
    ours, theirs = (solver(model).solve(gap=0.0) for solver in (HighsSolver, ScipSolver))
    assert ours.status == theirs.status == "optimal"
    assert theirs.value == pytest.approx(ours.value, abs=1e-5)
    assert theirs.bound == pytest.approx(ours.bound, abs=1e-5)
    assert theirs.nodes >= 1
    assert model.violation(theirs.x) < 1e-5
    assert model.value(theirs.x) == pytest.approx(theirs.value)


@pytest.mark.parametrize("name", ["network", "ranges"])
@pytest.mark.parametrize("maximize", [True, False])
def test_multipliers_prove_the_optimum_of_an_lp(model: MatrixModel, name: str, maximize: bool) -> None:
    lp = replace(model.relax() if name == "network" else with_ranges(), maximize=maximize)
    if maximize and name == "ranges":
        lp = replace(lp, c=-lp.c)
    solver = ScipSolver(lp)
    result = solver.solve()
    assert result.value == result.bound == pytest.approx(HighsSolver(lp).solve().value)
    y, r = solver.row_multipliers(), solver.reduced_costs()
    np.testing.assert_allclose(lp.c - lp.A.T @ y, r, atol=1e-9)
    up = -1.0 if maximize else 1.0  # at a minimum, a multiplier > 0 stands on the lower side
    tiny = 1e-9
    sides = np.where(up * y > tiny, lp.row_lower, np.where(up * y < -tiny, lp.row_upper, 0.0))
    ends = np.where(up * r > tiny, lp.lower, np.where(up * r < -tiny, lp.upper, 0.0))
    assert y @ sides + r @ ends + lp.offset == pytest.approx(result.value, abs=1e-6)


def test_large_numbers_are_scaled_and_scaled_back(make_network: MakeNetwork) -> None:
    network = make_network((3, 6, 1), 1, scale=300.0)
    model = network_model(network, tighten_bounds(network, (-100, 100), "crown"), BigM(), objective=[1.0])
    ours, theirs = HighsSolver(model).solve(gap=0.0), ScipSolver(model).solve(gap=0.0)
    assert abs(ours.value) > 1e6
    assert theirs.value == pytest.approx(ours.value)
    lp = ScipSolver(model.relax())
    lp.solve()
    np.testing.assert_allclose(model.c - model.A.T @ lp.row_multipliers(), lp.reduced_costs(), atol=1e-6)


def test_small_coefficients_stay() -> None:
    network = Network([Layer(np.full((1, 784), 1e-10), [0.0], relu=False)])
    box = Box.full(784, 0.0, 4096.0)
    model = network_model(network, tighten_bounds(network, box), BigM(), objective=[1.0])
    assert ScipSolver(model).solve().value == pytest.approx(float(network(box.upper)[0]))


def test_changed_objective_and_bounds_on_a_living_model() -> None:
    model = knapsack()
    solver = ScipSolver(model)
    assert solver.solve().value == pytest.approx(HighsSolver(model).solve(gap=0.0).value)
    solver.set_objective(-model.c, maximize=True, offset=2.0)
    assert solver.solve().value == pytest.approx(2.0)
    solver.set_bounds(np.array([0, 1]), 1.0, 1.0)
    solver.set_objective(model.c, maximize=False)
    assert solver.solve().value == pytest.approx(float(model.c[0] + model.c[1]))
    solver.set_bounds(np.array([0]), 2.0, 1.0)
    assert solver.solve().status == "infeasible"
    solver.set_bounds(np.array([0]), 0.0, 1.0)
    assert solver.solve().value == pytest.approx(float(model.c[1]))
    solver.set_bounds(np.array([1]), 2.0, 3.0)  # no binary any more
    assert solver.solve().value == pytest.approx(2.0 * float(model.c[1]))
    solver.set_bounds(np.array([1]), -7.0, -6.0)
    assert solver.solve().value == pytest.approx(-7.0 * float(model.c[1]))


def test_another_model_takes_the_place(model: MatrixModel) -> None:
    solver = ScipSolver(knapsack(10, seed=3))
    for other in (knapsack(40, seed=4), with_ranges(), model, model.relax()):
        solver.replace(other)
        assert solver.solve(gap=0.0).value == pytest.approx(HighsSolver(other).solve(gap=0.0).value, abs=1e-6)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_start_is_taken(share: float) -> None:
    """Whole or in part, with searching switched off: and one after another, on a model that lives on."""
    model = knapsack(200, seed=1)
    best = HighsSolver(model).solve(gap=0.0)
    given = np.arange(int(share * 200))
    solver = ScipSolver(model, {"limits/nodes": 1, "presolving/maxrounds": 0})
    for _ in range(12):
        solver.start_from(given, np.round(best.x[given]))
        result = solver.solve()
    assert result.value == pytest.approx(best.value)
    other = ScipSolver(model)
    other.start_from(np.arange(20), np.round(best.x[:20]))
    other.solve(time_limit=0.2)
    other.set_objective(-model.c, maximize=True)
    other.set_bounds(np.array([3]), 1.0, 1.0)
    other.start_from(np.array([3]), np.ones(1))
    assert other.solve().value == pytest.approx(-float(model.c[3]))


def test_a_basis_is_what_the_point_shows() -> None:
    solver = ScipSolver(with_ranges())
    with pytest.raises(SolverError, match="no point"):
        solver.basis()
    result = solver.solve()
    columns, rows = solver.basis()
    model = with_ranges()
    at = np.where(columns == LOWER, model.lower, np.where(columns == UPPER, model.upper, result.x))
    np.testing.assert_allclose(at, result.x)
    assert np.count_nonzero(rows == BASIC) < model.n_rows
    solver.start_basis(columns, rows)
    assert solver.solve().value == pytest.approx(result.value)


def test_infeasible_unbounded_empty_and_no_time(model: MatrixModel) -> None:
    nothing = ScipSolver(model).solve(time_limit=0.0)
    assert (nothing.status, nothing.bound) == ("time_limit", None)
    free = replace(with_ranges(), c=np.array([0.0, 0.0, -1.0]), A=sparse.csr_array((6, 3)))
    free = replace(free, row_lower=np.full(6, -1.0), row_upper=np.ones(6))
    assert ScipSolver(free).solve().status in {"unbounded", "infeasible_or_unbounded"}
    assert ScipSolver(replace(free, row_lower=np.full(6, 0.5))).solve().status == "infeasible"  # 0.5 <= 0
    assert ScipSolver(replace(knapsack(), row_upper=np.full(3, -1.0))).solve().status == "infeasible"
    assert ScipSolver(replace(knapsack(), lower=np.full(30, 2.0))).solve().status == "infeasible"
    none = np.zeros(0)
    empty = MatrixModel(none, 3.0, False, sparse.csr_array((0, 0)), none, none, none, none, np.zeros(0, dtype=bool))
    assert ScipSolver(empty).solve().value == 3.0
    with pytest.raises(SolverError, match="NaN"):
        ScipSolver(replace(knapsack(), c=np.full(30, np.nan)))


def test_gaps_and_the_time_limit_of_each_solve() -> None:
    loose = ScipSolver(knapsack(200, seed=1)).solve(absolute_gap=50.0)
    assert loose.status == "optimal"
    assert 0.0 <= loose.bound - loose.value <= 50.0
    solver = ScipSolver(knapsack(400, seed=2))
    for _ in range(3):
        result = solver.solve(time_limit=0.3, gap=0.0)
        assert result.status == "time_limit"
        assert 0.2 <= result.seconds < 0.8
        assert result.value <= result.bound


def test_watch_ends_the_solve_and_not_the_next_one() -> None:
    model = knapsack(200, seed=1)
    solver = ScipSolver(model)
    points: list[float] = []

    def watch(x: np.ndarray | None, bound: float) -> bool:
        if x is not None:
            points.append(model.value(x))
        return bool(points) and np.isfinite(bound)

    first = solver.solve(watch=watch)
    assert first.status == "stopped"
    assert first.bound is not None
    again = solver.solve(watch=lambda x, bound: False)
    assert again.status == "optimal"
    assert points[0] <= again.value + 1e-6 <= first.bound + 2e-6


def test_what_a_watch_raises_comes_out() -> None:
    def watch(x: object, bound: float) -> bool:
        raise ZeroDivisionError("mine")

    solver = ScipSolver(knapsack(200, seed=1))
    with pytest.raises(ZeroDivisionError, match="mine"):
        solver.solve(watch=watch)
    assert solver.solve(time_limit=5.0).value is not None


@pytest.mark.parametrize("options", [{"colour": "red"}, {"limits/gap": "wide"}])
def test_unknown_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SolverError, match="SCIP refuses the option"):
        ScipSolver(knapsack(), options)


@pytest.mark.parametrize("name", plugins.names(plugins.FORMULATIONS))
def test_the_optimum_of_every_formulation(
    name: str, every_state_network: tuple[Network, Box], brute_force: Optimum
) -> None:
    network, box = every_state_network
    model = network_model(network, tighten_bounds(network, box, "crown"), plugins.formulation(name))
    outputs, c = model.networks[0].outputs, np.array([0.3, -1.0, 2.0])
    present = outputs != ZERO
    solver = ScipSolver(model)
    for maximize in (True, False):
        asked = model.with_objective(outputs[present], c[present], maximize=maximize)
        solver.set_objective(asked.c, maximize=maximize)
        truth = brute_force(network, box, c, maximize=maximize)
        if not model.networks[0].exact:
            truth = HighsSolver(asked).solve(gap=0.0).value
        result = solver.solve()
        assert result.value == pytest.approx(truth, abs=1e-6)
        assert result.bound == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("formulation", [SOS1(), Indicator()])
def test_logic_on_a_living_model(
    formulation: object, every_state_network: tuple[Network, Box], brute_force: Optimum
) -> None:
    network, box = every_state_network
    model = network_model(network, tighten_bounds(network, box, "interval"), formulation, objective=[1.0, 0.0, 0.0])
    assert model.logic
    solver, outputs = ScipSolver(model), model.networks[0].outputs
    for c, maximize in (([1.0, 0.0, 0.0], True), ([0.3, -1.0, 2.0], False), ([0.3, -1.0, 2.0], True)):
        present = outputs != ZERO
        changed = model.with_objective(outputs[present], np.array(c)[present], maximize=maximize)
        solver.set_objective(changed.c, maximize=maximize)
        result = solver.solve()
        truth = brute_force(network, box, np.array(c), maximize=maximize)
        assert result.value == pytest.approx(truth, abs=1e-6)
        assert result.bound == pytest.approx(truth, abs=1e-6)
        assert model.violation(result.x) < 1e-5


def test_pairs_and_indicators_with_large_numbers() -> None:
    """max x + y: a pair lets one of them be, an indicator at 0 and one at 1 with two sides say how large."""
    base = replace(
        knapsack(3),
        c=np.array([1.0, 2.0, 0.0]),
        A=sparse.csr_array((0, 3)),
        row_lower=np.empty(0),
        row_upper=np.empty(0),
        upper=np.array([1e7, 1e7, 1.0]),
        integer=np.array([False, False, True]),
    )
    pair = replace(no_logic(3), first=np.array([0]), second=np.array([1]))
    assert ScipSolver(replace(base, logic=pair)).solve().value == pytest.approx(2e7)
    rows = sparse.csr_array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]])
    none = np.empty(0, dtype=np.int64)
    ends = (np.array([-np.inf, 4e6]), np.array([3e6, 5e6]))
    logic = Logic(none, none, np.array([2, 2]), np.array([0, 1]), rows, *ends)
    result = ScipSolver(replace(base, logic=logic)).solve()
    assert result.x == pytest.approx([1e7, 6e6, 1.0])
    off = replace(base, logic=logic, upper=np.array([1e7, 1e7, 0.0]))
    assert ScipSolver(off).solve().x == pytest.approx([0.0, 3e6, 0.0])
    empty = replace(logic, A=sparse.csr_array((2, 3)), lower=np.full(2, -np.inf), upper=np.array([-1.0, 1.0]))
    assert ScipSolver(replace(base, logic=empty)).solve().x == pytest.approx([1e7, 1e7, 1.0])  # at 0: 0 <= -1


def test_the_rungs_agree_with_highs(make_network: MakeNetwork) -> None:
    network, box = make_network((4, 9, 8, 2), 1, scale=0.6), Box.full(4, -1, 1)
    for rung in ("lp", "milp"):
        ours, theirs = (tighten_bounds(network, box, Effort(rung, gap=1e-6, solver=s)) for s in ("highs", "scip"))
        for k in range(3):
            np.testing.assert_allclose(theirs.lower[k], ours.lower[k], atol=1e-5)
            np.testing.assert_allclose(theirs.upper[k], ours.upper[k], atol=1e-5)


INTERRUPTED = """
import numpy as np
from omlt_ext import Layer, Network, tighten_bounds
from omlt_ext.formulations import BigM
from omlt_ext.milp import network_model
from omlt_ext.solvers.scip import ScipSolver
rng = np.random.default_rng(0)
sizes = (30, 60, 60, 1)
layers = [Layer(rng.normal(size=(b, a)), rng.normal(size=b), relu=b > 1) for a, b in zip(sizes, sizes[1:])]
network = Network(layers)
model = network_model(network, tighten_bounds(network, (0, 1)), BigM(), objective=[1.0])
solver = ScipSolver(model)
solver.start_from(*model.networks[0].point(np.full(30, 0.5)))
print("started", flush=True)
result = solver.solve()
print()
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
        *_, last = process.stdout.read().splitlines()
        assert process.wait(timeout=60) == 0
    status, value, bound, ordered = last.split()
    assert (status, ordered) == ("interrupted", "True")
    assert float(value) <= float(bound)


def test_by_name(model: MatrixModel) -> None:
    assert isinstance(open_solver("scip", model), ScipSolver)


def test_without_pyscipopt_the_error_names_the_extra() -> None:
    """In a process that cannot import it."""
    script = (
        "import sys\n"
        "sys.modules['pyscipopt'] = None\n"
        "import numpy as np\n"
        "from omlt_ext import Layer, Network, tighten_bounds\n"
        "from omlt_ext.errors import MissingDependencyError\n"
        "from omlt_ext.formulations import BigM\n"
        "from omlt_ext.milp import network_model\n"
        "from omlt_ext.solvers import open_solver\n"
        "network = Network([Layer([[1.0]], [0.0], relu=True)])\n"
        "try:\n"
        "    open_solver('scip', network_model(network, tighten_bounds(network, (-1, 1)), BigM()))\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "omlt-ext[scip]" in done.stdout
