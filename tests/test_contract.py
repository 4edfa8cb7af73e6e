"""What every formulation owes: the network's own value at every fixed input, and the optimum that enumeration finds."""

from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo
import pytest

from omlt_ext import Box, Network, ReLUBlock, plugins, tighten_bounds
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver

FORMULATIONS = plugins.names(plugins.FORMULATIONS)
EFFORTS = ("interval", "crown")
Optimum = Callable[..., float]


def arrays_optimum(network: Network, box: Box, name: str, effort: str, c: np.ndarray, *, maximize: bool) -> float:
    bounds = tighten_bounds(network, box, effort=effort)
    model = network_model(network, bounds, plugins.formulation(name), objective=c, maximize=maximize)
    result = HighsSolver(model, {"mip_rel_gap": 0.0}).solve()
    assert result.status == "optimal"
    assert result.x is not None
    assert model.networks[0].error(result.x) < 1e-6
    return float(result.value)  # type: ignore[arg-type]


def pyomo_optimum(network: Network, box: Box, name: str, solver: str, c: np.ndarray, *, maximize: bool) -> float:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation=name)
    cost = sum(float(w) * y for w, y in zip(c, model.nn.outputs.values(), strict=True))
    model.cost = pyo.Objective(expr=cost, sense=pyo.maximize if maximize else pyo.minimize)
    results = pyo.SolverFactory(solver).solve(model)
    assert results.solver.termination_condition == pyo.TerminationCondition.optimal
    assert model.nn.get_error() < 1e-6
    return float(pyo.value(model.cost))


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
        results = pyo.SolverFactory("omlt_ext.highs").solve(model)
        assert results.solver.termination_condition == pyo.TerminationCondition.optimal
        outputs = [pyo.value(y) for y in model.nn.outputs.values()]
        np.testing.assert_allclose(outputs, network(point), atol=1e-6)


@pytest.mark.parametrize("name", FORMULATIONS)
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


@pytest.mark.parametrize("name", FORMULATIONS)
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
