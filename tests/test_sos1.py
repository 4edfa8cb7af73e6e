"""The SOS1 set of one neuron, as text, in Pyomo and through arrays."""

import pickle

import numpy as np
import pyomo.environ as pyo
import pytest

from omlt_ext import Box, Layer, Network, ReLUBlock, tighten_bounds
from omlt_ext.encoding import LayerBounds
from omlt_ext.errors import ModelError, SolverError
from omlt_ext.formulations import SOS1
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver


def test_unstable_neuron() -> None:
    layer = Layer([[3.0, -2.0]], [0.5], relu=True)
    assert str(SOS1().encode(layer, LayerBounds([-1.5], [3.5], [0, 0], [1, 1]))).splitlines() == [
        "z[0] in [-1.5, 3.5]",
        "h[0] in [0, 3.5]",
        "hbar[0] in [0, 1.5]",
        "affine[0]: -3 x[0] + 2 x[1] + z[0] = 0.5",
        "parts[0]: -z[0] + h[0] - hbar[0] = 0",
        "one_of[0]: h[0], hbar[0] in SOS1",
        "h[0] is h[0]",
    ]


def test_there_is_no_binary(every_state_network: tuple[Network, Box]) -> None:
    network, box = every_state_network
    model = network_model(network, tighten_bounds(network, box), SOS1())
    assert not model.integer.any()
    assert model.logic is not None
    assert model.logic.n_pairs == tighten_bounds(network, box).n_unstable


def test_pyomo_gets_sets_of_the_two_variables(every_state_network: tuple[Network, Box]) -> None:
    network, box = every_state_network
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation="sos1")
    sets = list(model.component_data_objects(pyo.SOSConstraint, descend_into=True))
    assert len(sets) == model.nn.activation_bounds.n_unstable
    assert all(one.level == 1 and len(list(one.get_variables())) == 2 for one in sets)
    model.nn.set_values_from(box.center)
    assert all(min(v.value for v in one.get_variables()) == 0.0 for one in sets)


def test_highs_refuses_sets_and_says_what_to_do(every_state_network: tuple[Network, Box]) -> None:
    network, box = every_state_network
    with pytest.raises(SolverError, match="HiGHS knows no SOS1 sets and no indicators, and the model has"):
        HighsSolver(network_model(network, tighten_bounds(network, box), SOS1()))
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation="sos1")
    with pytest.raises(ModelError, match=r"SOSConstraint, which HiGHS does not know.*rebuild\(formulation='bigm'\)"):
        pyo.SolverFactory("omlt_ext.highs").solve(model)


def test_violation_counts_the_sets(every_state_network: tuple[Network, Box]) -> None:
    network, box = every_state_network
    model = network_model(network, tighten_bounds(network, box), SOS1())
    columns, values = model.networks[0].point(box.center)
    x = np.zeros(model.n_columns)
    x[columns] = values
    assert model.violation(x) <= 1e-9
    assert model.logic is not None
    x[model.logic.first[0]] += 0.5
    x[model.logic.second[0]] += 0.5
    assert model.logic.violation(x) >= 0.5


def test_models_with_sets_are_cloned_and_pickled(every_state_network: tuple[Network, Box], brute_force) -> None:
    pytest.importorskip("gurobipy")
    network, box = every_state_network
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation="sos1")
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    for copy in (model.clone(), pickle.loads(pickle.dumps(model))):
        pyo.SolverFactory("gurobi_direct").solve(copy)
        assert pyo.value(copy.cost) == pytest.approx(brute_force(network, box, np.array([1.0, 0.0, 0.0])), abs=1e-6)
