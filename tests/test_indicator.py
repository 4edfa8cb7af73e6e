"""The indicators of one neuron, as text, as a Pyomo disjunction and as solver indicators."""

import pickle

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.gdp import Disjunct, Disjunction

from omlt_ext import Box, Layer, Network, ReLUBlock, tighten_bounds
from omlt_ext.encoding import LayerBounds
from omlt_ext.errors import ModelError
from omlt_ext.formulations import BigM, Indicator
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver, open_solver


def test_unstable_neuron() -> None:
    layer = Layer([[3.0, -2.0]], [0.5], relu=True)
    assert str(Indicator().encode(layer, LayerBounds([-1.5], [3.5], [0, 0], [1, 1]))).splitlines() == [
        "z[0] in [-1.5, 3.5]",
        "h[0] in [0, 3.5]",
        "sigma[0] in {0, ..., 1}",
        "affine[0]: -3 x[0] + 2 x[1] + z[0] = 0.5",
        "same[0]: sigma[0] = 1 -> -z[0] + h[0] = 0",
        "not_negative[0]: sigma[0] = 1 -> 0 <= z[0]",
        "zero[0]: sigma[0] = 0 -> h[0] <= 0",
        "not_positive[0]: sigma[0] = 0 -> z[0] <= 0",
        "h[0] is h[0]",
    ]


def test_stable_neurons_have_no_indicator() -> None:
    layer = Layer([[1.0], [-1.0], [1.0]], [0.0, -0.5, 0.0], relu=[True, True, False])
    encoding = Indicator().encode(layer, LayerBounds([0, -1.5, -1], [1, -0.5, 1], [0], [1]))
    assert not encoding.has_logic


def block_model(network: Network, box: Box, weight: list[float]) -> pyo.ConcreteModel:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation="indicator")
    cost = sum(w * y for w, y in zip(weight, model.nn.outputs.values(), strict=True))
    model.cost = pyo.Objective(expr=cost, sense=pyo.maximize)
    return model


def test_pyomo_gets_one_disjunction_for_each_unstable_neuron(every_state_network: tuple[Network, Box]) -> None:
    model = block_model(*every_state_network, [1.0, 0.0, 0.0])
    disjunctions = list(model.component_data_objects(Disjunction, descend_into=True))
    assert len(disjunctions) == model.nn.activation_bounds.n_unstable
    assert len(list(model.component_data_objects(Disjunct, descend_into=True))) == 2 * len(disjunctions)
    for k, unstable in enumerate(model.nn.activation_bounds.unstable):
        for j in np.flatnonzero(unstable).tolist():
            layer = model.nn.layer[k]
            assert layer.sigma[j] is layer.on[j].binary_indicator_var
            assert layer.either[j].disjuncts == [layer.off[j], layer.on[j]]


@pytest.mark.parametrize("transformation", ["gdp.bigm", "gdp.hull", "gdp.mbigm"])
def test_the_users_choice_of_transformation(
    transformation: str, every_state_network: tuple[Network, Box], brute_force
) -> None:
    network, box = every_state_network
    weight = [0.3, -1.0, 2.0]
    model = block_model(network, box, weight)
    keywords = {"solver": pyo.SolverFactory("appsi_highs")} if transformation == "gdp.mbigm" else {}
    pyo.TransformationFactory(transformation).apply_to(model, **keywords)
    model = pickle.loads(pickle.dumps(model.clone()))
    pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert pyo.value(model.cost) == pytest.approx(brute_force(network, box, np.array(weight)), abs=1e-6)
    assert model.nn.get_error() < 1e-6
    unstable = model.nn.activation_bounds.unstable
    z = [model.nn.layer[k].z[j].value for k, mask in enumerate(unstable) for j in np.flatnonzero(mask).tolist()]
    sigma = [model.nn.layer[k].sigma[j].value for k, mask in enumerate(unstable) for j in np.flatnonzero(mask).tolist()]
    assert all((value > 0) == (on > 0.5) for value, on in zip(z, sigma, strict=True) if abs(value) > 1e-6)


def test_highs_refuses_a_disjunction_and_says_what_to_do(every_state_network: tuple[Network, Box]) -> None:
    model = block_model(*every_state_network, [1.0, 0.0, 0.0])
    with pytest.raises(ModelError, match=r"either\[.*is a Disjunction.*'gdp.bigm' or 'gdp.hull'"):
        pyo.SolverFactory("omlt_ext.highs").solve(model)
    model.nn.rebuild(formulation="bigm")
    assert pyo.SolverFactory("omlt_ext.highs").solve(model).solver.termination_condition == "optimal"


def test_start_values_reach_the_disjuncts(every_state_network: tuple[Network, Box]) -> None:
    network, box = every_state_network
    model = block_model(network, box, [1.0, 0.0, 0.0])
    model.nn.set_values_from(box.center)
    for k, z in enumerate(network.pre_activations(box.center)):
        for j, on in model.nn.layer[k].sigma.items() if hasattr(model.nn.layer[k], "sigma") else ():
            assert on.value == float(z[j] > 0)
            assert model.nn.layer[k].on[j].indicator_var.value == bool(z[j] > 0)


def test_whole_models_are_tightened_before_the_transformation(every_state_network: tuple[Network, Box]) -> None:
    network, box = every_state_network
    model = block_model(network, box, [1.0, 0.0, 0.0])
    before = model.nn.activation_bounds.n_unstable
    model.cut = pyo.Constraint(expr=model.nn.inputs[0] >= float(box.center[0]))
    pyo.TransformationFactory("omlt_ext.tighten_bounds").apply_to(model, effort="lp")
    assert model.nn.activation_bounds.n_unstable <= before
    pyo.TransformationFactory("gdp.bigm").apply_to(model)
    pyo.SolverFactory("omlt_ext.highs").solve(model)
    other = block_model(network, box, [1.0, 0.0, 0.0])
    other.nn.rebuild(formulation="bigm")
    other.cut = pyo.Constraint(expr=other.nn.inputs[0] >= float(box.center[0]))
    pyo.SolverFactory("omlt_ext.highs").solve(other)
    assert pyo.value(model.cost) == pytest.approx(pyo.value(other.cost), abs=1e-6)


def test_gurobi_takes_the_indicators_in_other_units() -> None:
    """A network whose numbers are large enough for the seam to scale rows and columns."""
    pytest.importorskip("gurobipy")
    hidden = Layer(2.0**16 * np.array([[1.0, -0.5], [-1.0, 0.75]]), 2.0**14 * np.ones(2), relu=True)
    network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    bounds = tighten_bounds(network, Box.full(2, -1, 1), effort="interval")
    models = [network_model(network, bounds, f, objective=[1.0]) for f in (Indicator(), BigM())]
    found = open_solver("gurobi", models[0]).solve()
    assert found.x is not None
    assert models[0].violation(found.x) <= 1e-3
    assert found.value == pytest.approx(HighsSolver(models[1]).solve().value, rel=1e-7)


def test_the_statistics_say_what_is_still_to_be_done(
    every_state_network: tuple[Network, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    model = block_model(*every_state_network, [1.0, 0.0, 0.0])
    model.nn.print_stats()
    assert "a Disjunction to be transformed, which most solvers leave out silently" in capsys.readouterr().out
    pyo.TransformationFactory("gdp.bigm").apply_to(model)
    model.nn.print_stats()
    assert "to be transformed" not in capsys.readouterr().out
