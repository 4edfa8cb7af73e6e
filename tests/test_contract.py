"""What every formulation owes: the network's own value at every fixed input, and the optimum that enumeration finds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.gdp import Disjunction
from pyomo.mpec import Complementarity

from omlt_ext import Box, Layer, Network, ReLUBlock, plugins, tighten_bounds
from omlt_ext.encoding import LayerBounds
from omlt_ext.formulations import BigM
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.solvers import HighsSolver, SolveResult, open_solver

TINY = Layer([[1.0]], [0.0], relu=True), LayerBounds(-np.ones(1), np.ones(1), -np.ones(1), np.ones(1))
ALL = plugins.names(plugins.FORMULATIONS)
SMALL = {name: plugins.formulation(name).encode(*TINY) for name in ALL}  # the encoding of one unstable neuron
FORMULATIONS = [name for name in ALL if SMALL[name].exact]
RELAXATIONS = [name for name in ALL if not SMALL[name].exact]
ROWS_ONLY = [name for name in FORMULATIONS if not SMALL[name].has_logic]
EFFORTS = ("interval", "crown")
Optimum = Callable[..., float]


def solve_arrays(model: MatrixModel) -> SolveResult:
    """By HiGHS, or by Gurobi where the model holds logic."""
    if not model.logic:
        exact = {"mip_rel_gap": 0.0, "mip_feasibility_tolerance": 1e-9, "primal_feasibility_tolerance": 1e-9}
        return HighsSolver(model, exact).solve()
    pytest.importorskip("gurobipy")
    return open_solver("gurobi", model, {"MIPGap": 0.0}).solve()


def as_rows(model: Any) -> None:
    """Pyomo's own transformations of the logic in a model into rows."""
    if any(model.component_data_objects(Complementarity, active=True, descend_into=True)):
        pyo.TransformationFactory("mpec.simple_disjunction").apply_to(model)
    if any(model.component_data_objects(Disjunction, active=True, descend_into=True)):
        pyo.TransformationFactory("gdp.bigm").apply_to(model)


def solve_pyomo(model: Any, solver: str) -> Any:
    """By `solver`, after the transformations, or by Gurobi where SOS sets stay."""
    as_rows(model)
    if any(model.component_data_objects(pyo.SOSConstraint, active=True, descend_into=True)):
        pytest.importorskip("gurobipy")
        solver = "gurobi_direct"
    return pyo.SolverFactory(solver).solve(model)


def arrays_optimum(network: Network, box: Box, name: str, effort: str, c: np.ndarray, *, maximize: bool) -> float:
    bounds = tighten_bounds(network, box, effort=effort)
    model = network_model(network, bounds, plugins.formulation(name), objective=c, maximize=maximize)
    result = solve_arrays(model)
    assert result.status == "optimal"
    assert result.x is not None
    assert model.networks[0].error(result.x) < 1e-6
    assert model.violation(result.x) < 1e-6
    return float(result.value)  # type: ignore[arg-type]


def pyomo_optimum(network: Network, box: Box, name: str, solver: str, c: np.ndarray, *, maximize: bool) -> float:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation=name)
    cost = sum(float(w) * y for w, y in zip(c, model.nn.outputs.values(), strict=True))
    model.cost = pyo.Objective(expr=cost, sense=pyo.maximize if maximize else pyo.minimize)
    results = solve_pyomo(model, solver)
    assert results.solver.termination_condition == pyo.TerminationCondition.optimal
    assert model.nn.get_error() < 1e-6
    return float(pyo.value(model.cost))


@pytest.mark.parametrize("name", RELAXATIONS)
@pytest.mark.parametrize("maximize", [True, False])
def test_a_relaxation_bounds_the_optimum(
    name: str, maximize: bool, every_state_network: tuple[Network, Box], brute_force: Optimum
) -> None:
    network, box = every_state_network
    sign = 1.0 if maximize else -1.0
    for c in np.array([[1.0, 0.0, 0.0], [0.3, -1.0, 2.0]]):
        truth = brute_force(network, box, c, maximize=maximize)
        bounds = tighten_bounds(network, box, effort="crown")
        model = network_model(network, bounds, plugins.formulation(name), objective=c, maximize=maximize)
        assert not model.integer.any()
        found = HighsSolver(model).solve().value
        big_m = network_model(network, bounds, BigM(), objective=c, maximize=maximize).relax()
        assert found is not None
        assert sign * found >= sign * truth - 1e-7
        assert found == pytest.approx(HighsSolver(big_m).solve().value, abs=1e-6)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_relaxation_says_that_it_is_one(name: str, every_state_network: tuple[Network, Box]) -> None:
    network, box = every_state_network
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation=name)
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert results.solver.termination_condition == pyo.TerminationCondition.optimal
    assert "relaxed" in str(results.solver.message)


@pytest.mark.parametrize("name", FORMULATIONS)
@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("maximize", [True, False])
def test_every_kind_of_neuron(
    name: str, effort: str, maximize: bool, every_state_network: tuple[Network, Box], brute_force: Optimum
) -> None:
    network, box = every_state_network
    for c in np.array([[1.0, 0.0, 0.0], [0.3, -1.0, 2.0]]):
        truth = brute_force(network, box, c, maximize=maximize)
        found = arrays_optimum(network, box, name, effort, c, maximize=maximize)
        assert found == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("name", FORMULATIONS)
@pytest.mark.parametrize("solver", ["omlt_ext.highs", "appsi_highs", "highs"])
def test_pyomo_agrees_with_enumeration(
    name: str, solver: str, every_state_network: tuple[Network, Box], brute_force: Optimum
) -> None:
    network, box = every_state_network
    c = np.array([0.3, -1.0, 2.0])
    for maximize in (True, False):
        truth = brute_force(network, box, c, maximize=maximize)
        assert pyomo_optimum(network, box, name, solver, c, maximize=maximize) == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("name", FORMULATIONS)
@pytest.mark.parametrize("seed", range(6))
def test_random_networks(name: str, seed: int, make_network: Callable[..., Network], brute_force: Optimum) -> None:
    network = make_network((2, 4, 3, 1), seed, relu_output=seed % 2 == 1)
    box = Box([-1.0, 0.0], [1.0, 2.0])
    truth = brute_force(network, box, np.ones(1))
    assert arrays_optimum(network, box, name, "crown", np.ones(1), maximize=True) == pytest.approx(truth, abs=1e-6)
    assert pyomo_optimum(network, box, name, "omlt_ext.highs", np.ones(1), maximize=True) == pytest.approx(
        truth, abs=1e-6
    )


@pytest.mark.parametrize("name", FORMULATIONS)
def test_fixed_input_gives_the_networks_value(name: str, every_state_network: tuple[Network, Box]) -> None:
    network, box = every_state_network
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.nn = ReLUBlock(network, inputs=model.x, formulation=name)
    points = np.vstack([box.sample(5, np.random.default_rng(0)), box.lower, box.upper, np.zeros(2)])
    for point in points:
        for i in range(2):
            model.x[i].fix(float(point[i]))
        results = solve_pyomo(model, "omlt_ext.highs")
        assert results.solver.termination_condition == pyo.TerminationCondition.optimal
        outputs = [pyo.value(y) for y in model.nn.outputs.values()]
        np.testing.assert_allclose(outputs, network(point), atol=1e-6)


@pytest.mark.parametrize("name", [*ROWS_ONLY, *RELAXATIONS])
def test_one_encoding_two_readers(name: str, make_network: Callable[..., Network]) -> None:
    """Pyomo's rows and the array path's rows are the same rows."""
    from omlt_ext.bridge import compile_model

    network = make_network((3, 5, 4, 2), 3)
    box = Box.full(3, -1, 1)
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation=name)
    compiled = compile_model(model)
    rng = np.random.default_rng(1)
    for _ in range(5):
        x = rng.normal(size=compiled.matrix.n_columns)
        for variable, value in zip(compiled.variables, x, strict=True):
            variable.set_value(float(value), skip_validation=True)
        activity = sorted(compiled.matrix.A @ x)
        rows = model.component_data_objects(pyo.Constraint, active=True)
        bodies = sorted(float(pyo.value(row.body)) for row in rows)
        np.testing.assert_allclose(bodies, activity, atol=1e-12)


@pytest.mark.parametrize("name", ROWS_ONLY)
@pytest.mark.parametrize("suffix", [".lp", ".mps"])
def test_written_models_have_the_same_optimum(
    name: str,
    suffix: str,
    every_state_network: tuple[Network, Box],
    brute_force: Optimum,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    import highspy

    network, box = every_state_network
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation=name)
    model.cost = pyo.Objective(expr=model.nn.outputs[0])
    path = tmp_path_factory.mktemp("written") / f"model{suffix}"
    model.write(str(path))
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    assert highs.readModel(str(path)) != highspy.HighsStatus.kError
    highs.run()
    truth = brute_force(network, box, np.array([1.0, 0.0, 0.0]), maximize=False)
    assert highs.getInfo().objective_function_value == pytest.approx(truth, abs=1e-6)
