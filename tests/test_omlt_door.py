"""Our formulations in an OmltBlock: the optimum of OMLT's own formulation, and of enumeration."""

# ruff: noqa: E402 (the skip comes before the imports)

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo
import pytest

pytestmark = pytest.mark.omlt
pytest.importorskip("omlt")

from omlt import OmltBlock
from omlt.neuralnet import ReluBigMFormulation
from omlt.neuralnet.layer import ConvLayer2D, DenseLayer, IndexMapper, InputLayer
from omlt.neuralnet.network_definition import NetworkDefinition
from omlt.scaling import OffsetScaling

from omlt_ext import Box, Layer, Network, ReLUBlock, tighten_bounds
from omlt_ext.errors import BoundsError, FormulationError, ModelError
from omlt_ext.omlt import NetworkFormulation

Optimum = Callable[..., float]


def definition(layers: list, **options: object) -> NetworkDefinition:
    made = NetworkDefinition(**options)
    for layer in layers:
        made.add_layer(layer)
    for before, after in itertools.pairwise(layers):
        made.add_edge(before, after)
    return made


def dense(seed: int = 0) -> list:
    """3-6-5-2 with ReLUs."""
    rng, sizes = np.random.default_rng(seed), (3, 6, 5, 2)
    layers: list = [InputLayer([3])]
    for k, (m, n) in enumerate(itertools.pairwise(sizes)):
        activation = "linear" if k == 2 else "relu"
        layers.append(DenseLayer([m], [n], rng.normal(size=(m, n)), rng.normal(size=n), activation=activation))
    return layers


def scaling() -> OffsetScaling:
    return OffsetScaling({0: 10.0, 1: -3.0, 2: 0.5}, {0: 2.0, 1: 5.0, 2: 0.25}, {0: 100.0, 1: -7.0}, {0: 20.0, 1: 3.0})


def optimum(formulation: object, solver: str = "appsi_highs", *, sense: int = pyo.maximize) -> tuple[float, object]:
    m = pyo.ConcreteModel()
    m.nn = OmltBlock()
    m.nn.build_formulation(formulation)
    outputs = list(m.nn.outputs.values())
    m.cost = pyo.Objective(expr=outputs[0] - 0.5 * outputs[1] + 0.1 * sum(m.nn.inputs.values()), sense=sense)
    results = pyo.SolverFactory(solver).solve(m)
    assert results.solver.termination_condition == pyo.TerminationCondition.optimal
    return float(pyo.value(m.cost)), m


@pytest.mark.parametrize("name", ["bigm", "partition", "balas"])
@pytest.mark.parametrize("scaled", ["no", "scaled bounds", "unscaled bounds"])
def test_the_optimum_of_omlts_own_formulation(name: str, scaled: str) -> None:
    unit = {i: (-1.0, 1.0 + i) for i in range(3)}
    options: dict[str, object] = {"scaled_input_bounds": unit}
    if scaled != "no":
        options["scaling_object"] = scaling()
    if scaled == "unscaled bounds":
        options = {"scaling_object": scaling(), "unscaled_input_bounds": {0: (8, 12), 1: (-8, 7), 2: (0.25, 1.25)}}
    for sense in (pyo.maximize, pyo.minimize):
        net = definition(dense(1), **options)
        theirs, their_model = optimum(ReluBigMFormulation(net), sense=sense)
        ours, our_model = optimum(NetworkFormulation(net, name), sense=sense)
        assert ours == pytest.approx(theirs, abs=1e-5)
        for i in range(3):
            assert our_model.nn.inputs[i].bounds == pytest.approx(their_model.nn.inputs[i].bounds)
            value = pyo.value(our_model.nn.scaled_inputs[i])
            low, high = net.scaled_input_bounds[i]
            assert low - 1e-6 <= value <= high + 1e-6
        assert our_model.nn.relu.get_error() < 1e-6
        x = np.array([pyo.value(v) for v in our_model.nn.scaled_inputs.values()])
        y = x
        for layer in dense(1):
            y = layer.eval_single_layer(y)
        scaled_outputs = [pyo.value(v) for v in our_model.nn.scaled_outputs.values()]
        np.testing.assert_allclose(scaled_outputs, y, atol=1e-5)


def test_indexes_are_omlts() -> None:
    """A convolution: inputs and outputs of several axes, in the same order."""
    rng = np.random.default_rng(3)
    layers = [
        InputLayer([1, 3, 3]),
        ConvLayer2D([1, 3, 3], [2, 2, 2], [1, 1], rng.normal(size=(2, 1, 2, 2)), activation="relu"),
        DenseLayer(
            [8], [2], rng.normal(size=(8, 2)), rng.normal(size=2), input_index_mapper=IndexMapper([2, 2, 2], [8])
        ),
    ]
    net = definition(layers, scaled_input_bounds=dict.fromkeys(np.ndindex(1, 3, 3), (-1.0, 1.0)))
    theirs, ours = ReluBigMFormulation(net), NetworkFormulation(net)
    assert ours.input_indexes == list(theirs.input_indexes)
    assert ours.output_indexes == list(theirs.output_indexes)
    (value, _), (expected, _) = optimum(ours), optimum(theirs)
    assert value == pytest.approx(expected, abs=1e-5)


def test_our_networks_solvers_and_names(every_state_network: tuple[Network, Box], brute_force: Optimum) -> None:
    network, box = every_state_network
    m = pyo.ConcreteModel()
    m.nn = OmltBlock()
    bounds = tighten_bounds(network, box, "dual")
    formulation = NetworkFormulation(network, bounds=bounds, effort="interval", input_bounds=box)
    m.nn.build_formulation(formulation)
    assert formulation.block is m.nn
    assert isinstance(m.nn.relu, ReLUBlock)
    c = np.array([0.3, -1.0, 2.0])
    m.cost = pyo.Objective(expr=sum(float(w) * y for w, y in zip(c, m.nn.outputs.values(), strict=True)))
    truth = brute_force(network, box, c, maximize=False)
    for solver in ("omlt_ext.highs", "appsi_highs"):
        pyo.SolverFactory(solver).solve(m)
        assert pyo.value(m.cost) == pytest.approx(truth, abs=1e-6)
    assert m.nn.layer[0].z[2] is m.nn.relu.layer[0].z[2]
    assert m.nn.layer[0].sigma[2].is_binary()
    assert list(m.nn.layer) == [0, 1, 2]
    m.nn.inputs[0].setub(0.5)
    m.nn.relu.rebuild()
    assert m.nn.layer[0].z[2] is m.nn.relu.layer[0].z[2]
    assert m.nn.relu.activation_bounds.box.upper.tolist() == [0.5, 1.0]
    copy = m.clone()
    assert copy.nn.layer[1].h[0] is copy.nn.relu.layer[1].h[0]
    assert copy.nn.layer[1].h[0] is not m.nn.layer[1].h[0]
    pyo.SolverFactory("omlt_ext.highs").solve(copy)
    pyo.SolverFactory("omlt_ext.highs").solve(m)
    assert pyo.value(copy.cost) == pytest.approx(pyo.value(m.cost))


def test_smooth_activations_stand_in_nonlinear_formulations() -> None:
    layers = dense(2)
    layers[1].activation = "sigmoid"
    m = pyo.ConcreteModel()
    m.nn = OmltBlock()
    m.nn.build_formulation(NetworkFormulation(definition(layers), "smooth", input_bounds=(-1, 1)))
    x = np.array([0.5, -0.25, 1.0])
    m.nn.relu.set_values_from(x)
    y = x
    for layer in layers:
        y = layer.eval_single_layer(y)
    np.testing.assert_allclose([pyo.value(v) for v in m.nn.outputs.values()], y, atol=1e-12)
    rows = list(m.component_data_objects(pyo.Constraint, active=True, descend_into=True))
    assert rows
    assert min(min(row.lslack(), row.uslack()) for row in rows) > -1e-9
    m.again = OmltBlock()
    with pytest.raises(FormulationError, match="sigmoid"):
        m.again.build_formulation(NetworkFormulation(definition(layers), "bigm", input_bounds=(-1, 1)))


def test_wider_bounds_are_noticed() -> None:
    network = Network([Layer([[1.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)], input_box=Box([-1], [1]))
    m = pyo.ConcreteModel()
    m.nn = OmltBlock([1, 2])
    for i in (1, 2):
        m.nn[i].build_formulation(NetworkFormulation(network, input_bounds={0: (-0.5, 7.0)} if i == 2 else None))
    assert [m.nn[i].inputs[0].bounds for i in (1, 2)] == [(-1.0, 1.0), (-0.5, 1.0)]
    m.most = pyo.Objective(expr=m.nn[1].outputs[0] + m.nn[2].outputs[0], sense=pyo.maximize)
    pyo.SolverFactory("omlt_ext.highs").solve(m)
    assert pyo.value(m.most) == pytest.approx(2.0)
    m.nn[1].inputs[0].setub(3.0)
    with pytest.raises(ModelError, match="rebuild"):
        pyo.SolverFactory("omlt_ext.highs").solve(m)
    m.nn[1].relu.rebuild()
    pyo.SolverFactory("omlt_ext.highs").solve(m)
    assert pyo.value(m.most) == pytest.approx(4.0)


def test_what_is_refused() -> None:
    net = definition(dense())
    m = pyo.ConcreteModel()
    m.nn = OmltBlock()
    with pytest.raises(BoundsError, match="input 0"):
        m.nn.build_formulation(NetworkFormulation(net))
    with pytest.raises(FormulationError, match="hexagon"):
        NetworkFormulation(net, "hexagon")
    once = NetworkFormulation(net, input_bounds=(0, 1))
    m.one, m.two = OmltBlock(), OmltBlock()
    m.one.build_formulation(once)
    with pytest.raises(ModelError, match="one already"):
        m.two.build_formulation(once)
