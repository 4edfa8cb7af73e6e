"""The complementarity condition of one neuron, as text, and through Pyomo's own transformations."""

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.mpec import Complementarity as Condition

from omlt_ext import Box, Layer, Network, ReLUBlock
from omlt_ext.encoding import LayerBounds
from omlt_ext.errors import ModelError
from omlt_ext.formulations import Complementarity


def test_unstable_neuron() -> None:
    layer = Layer([[3.0, -2.0]], [0.5], relu=True)
    assert str(Complementarity().encode(layer, LayerBounds([-1.5], [3.5], [0, 0], [1, 1]))).splitlines() == [
        "z[0] in [-1.5, 3.5]",
        "h[0] in [0, 3.5]",
        "hbar[0] in [0, 1.5]",
        "affine[0]: -3 x[0] + 2 x[1] + z[0] = 0.5",
        "parts[0]: -z[0] + h[0] - hbar[0] = 0",
        "one_of[0]: h[0] >= 0 _|_ hbar[0] >= 0",
        "h[0] is h[0]",
    ]


def block_model(network: Network, box: Box) -> pyo.ConcreteModel:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation="complementarity")
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    return model


def test_pyomo_gets_one_condition_for_each_unstable_neuron(every_state_network: tuple[Network, Box]) -> None:
    model = block_model(*every_state_network)
    conditions = list(model.component_data_objects(Condition, descend_into=True))
    assert len(conditions) == model.nn.activation_bounds.n_unstable


@pytest.mark.scip
def test_a_nonlinear_solver_takes_the_products(every_state_network: tuple[Network, Box], brute_force) -> None:
    pytest.importorskip("pyscipopt")
    network, box = every_state_network
    model = block_model(network, box)
    pyo.TransformationFactory("mpec.simple_nonlinear").apply_to(model)
    pyo.SolverFactory("scip_direct").solve(model)
    truth = brute_force(network, box, np.array([1.0, 0.0, 0.0]))
    assert pyo.value(model.cost) == pytest.approx(truth, abs=1e-4)


def test_highs_refuses_conditions_and_says_what_to_do(every_state_network: tuple[Network, Box]) -> None:
    model = block_model(*every_state_network)
    with pytest.raises(ModelError, match=r"Complementarity, which HiGHS does not know.*'mpec.simple_disjunction'"):
        pyo.SolverFactory("omlt_ext.highs").solve(model)
