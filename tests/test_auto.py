"""What "auto" writes: the recommended formulation for a solver, with linear outputs left wide."""

from dataclasses import replace

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy import sparse

from omlt_ext import Box, Layer, Network, ReLUBlock, tighten_bounds
from omlt_ext.bridge import compile_model
from omlt_ext.encoding import LayerBounds, encode_network
from omlt_ext.errors import OptionError
from omlt_ext.formulations import SOS1, Auto, BigM, ReducedSpace
from omlt_ext.milp import network_model
from omlt_ext.solvers import open_solver


def small() -> tuple[Network, Box]:
    hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 5.0], relu=True)
    return Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)]), Box([-1, -1], [1, 1])


def test_rows_for_highs() -> None:
    network, box = small()
    first, last = encode_network(network, tighten_bounds(network, box), Auto())
    assert str(first).splitlines() == [
        "z[0] in [-2, 2]",
        "h[0] in [0, 2]",
        "sigma[0] in {0, ..., 1}",
        "affine[0]: -x[0] - x[1] + z[0] = 0",
        "relu_above[0]: 0 <= -z[0] + h[0]",
        "relu_active[0]: -z[0] + h[0] + 2 sigma[0] <= 2",
        "relu_inactive[0]: h[0] - 2 sigma[0] <= 0",
        "h[0] is h[0]",
        "h[1] is substituted",
    ]
    assert str(last).splitlines()[1:] == ["affine[0]: 3 x[0] - 3 x[1] - x[2] + z[0] = -15", "h[0] is z[0]"]


@pytest.mark.parametrize("solver", ["scip", "gurobi"])
def test_sets_for_solvers_that_know_them(solver: str) -> None:
    network, box = small()
    bounds = tighten_bounds(network, box)
    model = network_model(network, bounds, Auto(solver))
    assert not model.integer.any()
    assert model.logic is not None
    assert model.logic.n_pairs == bounds.n_unstable == 1


def test_linear_outputs_are_left_wide_and_others_are_not() -> None:
    network, box = small()
    bounds = tighten_bounds(network, box, "split")
    known = replace(bounds, upper=(bounds.upper[0], np.array([-8.5])))  # as if found from the model around
    wide = encode_network(network, known, Auto())[-1].columns[0]
    assert wide.upper[0] == pytest.approx(2.0 - 3.0 * 3.0)  # interval arithmetic over 0 <= h_0 <= 2, 3 <= h_1 <= 7
    assert wide.lower[0] == pytest.approx(-21.0)
    held = [np.zeros(2, dtype=bool), np.ones(1, dtype=bool)]
    assert encode_network(network, known, Auto(), held)[-1].columns[0].upper[0] == -8.5
    relu = Network([network.layers[0], Layer([[1.0, -3.0]], [10.0], relu=True)])
    tight = tighten_bounds(relu, box)
    assert encode_network(relu, tight, Auto())[-1].columns[0].upper[0] == tight.upper[-1][0]


def test_sparse_layers_are_not_multiplied_out() -> None:
    network, box = small()
    thin = Network([Layer(sparse.csr_array(layer.weight), layer.bias, layer.relu) for layer in network.layers])
    bounds = tighten_bounds(thin, box, "interval")
    for auto, plain in ((Auto(), BigM()), (Auto("scip"), SOS1())):
        found, expected = (list(map(str, encode_network(thin, bounds, f))) for f in (auto, plain))
        assert found == expected
    dense = tighten_bounds(network, box, "interval")
    found, expected = (list(map(str, encode_network(network, dense, f))) for f in (Auto(), ReducedSpace()))
    assert found == expected


def test_one_layer_alone_is_encoded_as_the_formulation_below() -> None:
    layer = Layer([[3.0, -2.0]], [0.5], relu=True)
    bounds = LayerBounds([-1.5], [3.5], [0, 0], [1, 1])
    assert str(Auto().encode(layer, bounds)) == str(BigM().encode(layer, bounds))


@pytest.mark.parametrize("solver", ["highs", "gurobi", "scip"])
def test_each_solver_finds_the_optimum_with_its_own(
    solver: str, every_state_network: tuple[Network, Box], brute_force
) -> None:
    pytest.importorskip({"highs": "highspy", "gurobi": "gurobipy", "scip": "pyscipopt"}[solver])
    network, box = every_state_network
    c = np.array([0.3, -1.0, 2.0])
    for effort in ("interval", "split"):
        model = network_model(network, tighten_bounds(network, box, effort), Auto(solver), objective=c)
        found = open_solver(solver, model).solve(gap=0.0)
        assert found.value == pytest.approx(brute_force(network, box, c), abs=1e-5)
        assert model.networks[0].error(found.x) < 1e-5


def test_by_name_in_a_block(every_state_network: tuple[Network, Box], brute_force) -> None:
    network, box = every_state_network
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation="auto", effort="dual")
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert pyo.value(model.cost) == pytest.approx(brute_force(network, box, np.array([1.0, 0.0, 0.0])), abs=1e-6)
    assert model.nn.get_error() < 1e-6


def test_unknown_solvers_are_refused() -> None:
    with pytest.raises(OptionError, match="solver is 'cplex'; choose one of 'highs', 'scip', 'gurobi'"):
        Auto("cplex")


def test_a_block_leaves_its_own_outputs_wide_in_the_matrix_only() -> None:
    network, box = small()
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, formulation="auto", effort="split")
    tight, at = model.nn.activation_bounds, 0
    assert model.nn.outputs[0].bounds == (tight.lower[-1][0], tight.upper[-1][0])
    encoded = model.nn._encodings[-1].columns[0]
    matrix = compile_model(model).matrix
    at = int(matrix.networks[0].outputs[0])
    assert (matrix.lower[at], matrix.upper[at]) == (encoded.lower[0], encoded.upper[0])
    model.nn.outputs[0].setub(-10.0)  # the user's own
    matrix = compile_model(model).matrix
    assert (matrix.lower[at], matrix.upper[at]) == (encoded.lower[0], -10.0)
