"""Smooth neurons as equations: their rows as text, the Pyomo block, and the optimum that every solver finds."""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import minimize

from omlt_ext import Bounds, Box, Layer, Network, ReLUBlock, tighten_bounds
from omlt_ext.curved import encode_mixed
from omlt_ext.errors import BoundsError, FormulationError, ModelError
from omlt_ext.formulations import BigM, Smooth
from omlt_ext.mixed import MixedNetwork
from omlt_ext.tightening import tighten_mixed

BOX = Box([-1.0, -0.5], [1.0, 2.0])


def one(code: int, weight: float = 2.0, bias: float = 0.5) -> MixedNetwork:
    return MixedNetwork(Network([Layer([[weight]], [bias], relu=False)]), [[code]])


def network() -> MixedNetwork:
    """ReLUs, linear neurons and the three functions, together in hidden layers, and at the end."""
    rng = np.random.default_rng(11)
    layers = [
        Layer(1.5 * rng.normal(size=(n, m)), rng.normal(size=n), relu)
        for m, n, relu in ((2, 5, [True, False, False, False, False]), (5, 3, [True, True, False]), (3, 2, False))
    ]
    return MixedNetwork(Network(layers), [[0, 1, 2, 3, 0], [0, 0, 2], [0, 1]])


def best_value(net: MixedNetwork, box: Box, c: np.ndarray, sign: float) -> float:
    """The optimum of c f(x) by a grid and local descents from its best points."""
    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 121) for a, b in zip(box.lower, box.upper, strict=True))), -1)
    points = grid.reshape(-1, box.n)
    starts = points[np.argsort(-sign * (net(points) @ c))[:10]]
    ends = list(zip(box.lower, box.upper, strict=True))
    found = (
        minimize(
            lambda x: -sign * float(net(x) @ c),
            x,
            bounds=ends,
            method="Nelder-Mead",
            options={"xatol": 1e-10, "fatol": 1e-12},
        )
        for x in starts
    )
    return sign * max(-result.fun for result in found)


@pytest.mark.parametrize(
    ("code", "value", "line"),
    [
        (1, "[0.182426, 0.924142]", "curve[0]: smooth[0] = sigmoid(z[0])"),
        (2, "[-0.905148, 0.986614]", "curve[0]: smooth[0] = tanh(z[0])"),
        (3, "[0.201413, 2.57889]", "curve[0]: smooth[0] = softplus(z[0])"),
    ],
)
def test_one_neuron(code: int, value: str, line: str) -> None:
    net = one(code)
    assert str(encode_mixed(net, tighten_mixed(net, (-1, 1)), Smooth())[0]).splitlines() == [
        "z[0] in [-1.5, 2.5]",
        f"smooth[0] in {value}",
        "affine[0]: -2 x[0] + z[0] = 0.5",
        line,
        "h[0] is smooth[0]",
    ]


def test_beside_a_relu() -> None:
    net = MixedNetwork(Network([Layer([[1.5], [3.0], [2.0]], [0.0, 0.0, 0.0], relu=[True, False, False])]), [[0, 2, 0]])
    assert str(encode_mixed(net, tighten_mixed(net, (-1, 1)), Smooth())[0]).splitlines() == [
        "z[0] in [-1.5, 1.5]",
        "z[1] in [-3, 3]",
        "z[2] in [-2, 2]",
        "h[0] in [0, 1.5]",
        "sigma[0] in {0, ..., 1}",
        "smooth[1] in [-0.995055, 0.995055]",
        "affine[0]: -1.5 x[0] + z[0] = 0",
        "affine[1]: -3 x[0] + z[1] = 0",
        "affine[2]: -2 x[0] + z[2] = 0",
        "relu_above[0]: 0 <= -z[0] + h[0]",
        "relu_active[0]: -z[0] + h[0] + 1.5 sigma[0] <= 1.5",
        "relu_inactive[0]: h[0] - 1.5 sigma[0] <= 0",
        "curve[1]: smooth[1] = tanh(z[1])",
        "h[0] is h[0]",
        "h[1] is smooth[1]",
        "h[2] is z[2]",
    ]


def test_without_smooth_neurons_it_is_the_formulation_of_the_relus() -> None:
    plain = network().skeleton
    bounds = tighten_bounds(plain, BOX)
    smooth, big_m = (encode_mixed(plain, bounds, method) for method in (Smooth(), BigM()))
    assert [str(encoding) for encoding in smooth] == [str(encoding) for encoding in big_m]


SOLVERS = {
    "scip_direct": "pyscipopt",
    "gurobi_direct_minlp": "gurobipy",
}


@pytest.mark.scip
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("c", "sign"), [((1.0, 0.0), 1.0), ((-0.5, 2.0), 1.0), ((1.0, -1.0), -1.0)])
def test_every_solver_finds_the_optimum(solver: str, c: tuple[float, float], sign: float) -> None:
    pytest.importorskip(SOLVERS[solver])
    net, weights = network(), np.array(c)
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(net, input_bounds=BOX, formulation="smooth")
    cost = sum(w * y for w, y in zip(c, model.nn.outputs.values(), strict=True))
    model.cost = pyo.Objective(expr=cost, sense=pyo.maximize if sign > 0 else pyo.minimize)
    if not pyo.SolverFactory(solver).available():
        pytest.skip(f"{solver} has no licence")
    pyo.SolverFactory(solver).solve(model)
    assert pyo.value(model.cost) == pytest.approx(best_value(net, BOX, weights, sign), abs=2e-4)
    assert model.nn.get_error() < 1e-5


@pytest.mark.scip
def test_a_written_nl_file_has_the_same_optimum(tmp_path: Path) -> None:
    scip = pytest.importorskip("pyscipopt")
    net = network()
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(net, input_bounds=BOX, formulation="smooth")
    model.cost = pyo.Objective(expr=model.nn.outputs[0] - model.nn.outputs[1])
    path = str(tmp_path / "model.nl")
    model.write(path)
    again = scip.Model()
    again.hideOutput()
    again.readProblem(path)
    again.optimize()
    truth = best_value(net, BOX, np.array([1.0, -1.0]), -1.0)
    assert again.getObjVal() == pytest.approx(truth, abs=2e-4)


@pytest.mark.scip
@pytest.mark.parametrize("over", ["sos1", "balas", "partition", "reduced_space"])
def test_over_other_formulations_of_the_relus(over: str) -> None:
    pytest.importorskip("pyscipopt")
    net = network()
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(net, input_bounds=BOX, formulation=Smooth(over))
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    pyo.SolverFactory("scip_direct").solve(model)
    assert pyo.value(model.cost) == pytest.approx(best_value(net, BOX, np.array([1.0, 0.0]), 1.0), abs=2e-4)


@pytest.mark.scip
def test_complementarity_takes_smooth_neurons_too() -> None:
    pytest.importorskip("pyscipopt")
    net = network()
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(net, input_bounds=BOX, formulation="complementarity")
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    pyo.TransformationFactory("mpec.simple_disjunction").apply_to(model)
    pyo.TransformationFactory("gdp.bigm").apply_to(model)
    pyo.SolverFactory("scip_direct").solve(model)
    assert pyo.value(model.cost) == pytest.approx(best_value(net, BOX, np.array([1.0, 0.0]), 1.0), abs=2e-4)


@pytest.mark.scip
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("code", "reach"), list(itertools.product((1, 2, 3), (40.0, 100.0, 300.0))))
def test_bounds_far_beyond_saturation(solver: str, code: int, reach: float) -> None:
    """Solvers do not come to an end with the plain form of softplus where its exponential grows so large."""
    pytest.importorskip(SOLVERS[solver])
    net = one(code, reach, 1.0)
    for slope in (0.5, -0.5):
        model = pyo.ConcreteModel()
        model.nn = ReLUBlock(net, input_bounds=(-1, 1), formulation="smooth")
        model.cost = pyo.Objective(expr=model.nn.outputs[0] + slope * model.nn.inputs[0], sense=pyo.maximize)
        if not pyo.SolverFactory(solver).available():
            pytest.skip(f"{solver} has no licence")
        pyo.SolverFactory(solver).solve(model)
        x = np.linspace(-1, 1, 200001)[:, None]
        truth = float((net(x)[:, 0] + slope * x[:, 0]).max())
        assert pyo.value(model.cost) == pytest.approx(truth, rel=2e-4, abs=2e-4)


def set_and_check(block: ReLUBlock, net: MixedNetwork, x: list[float]) -> None:
    """Every row and every curve holds at the network's own values."""
    block.set_values_from(x)
    np.testing.assert_allclose([y.value for y in block.outputs.values()], net(x))
    assert block.get_error() == 0.0
    for k, (z, layer) in enumerate(zip(net.pre_activations(x), block.layer.values(), strict=True)):
        for j, variable in layer.h.items():
            assert variable.value == pytest.approx(net.activation(k, z)[j])
    for row in block.component_data_objects(pyo.Constraint, active=True):
        low, body, high = pyo.value(row.lower), pyo.value(row.body), pyo.value(row.upper)
        assert low is None or body >= low - 1e-9
        assert high is None or body <= high + 1e-9


def test_the_block(tmp_path: Path) -> None:
    net, model = network(), pyo.ConcreteModel()
    model.x, model.y = pyo.Var(range(2), bounds=(-0.5, 1)), pyo.Var(range(2))
    model.nn = ReLUBlock(net, inputs=model.x, outputs=model.y, formulation="smooth")
    assert {k: sorted(model.nn.layer[k].curve) for k in range(3) if model.nn.layer[k].component("curve")} == {
        0: [1, 2, 3],
        1: [2],
        2: [1],
    }
    assert model.nn.layer[2].h[1] is model.y[1]
    set_and_check(model.nn, net, [0.3, 0.7])
    clone, loaded = model.clone(), pickle.loads(pickle.dumps(model))
    for copied in (clone, loaded):
        set_and_check(copied.nn, net, [-0.2, 0.1])
        assert copied.nn.layer[2].h[1] is copied.y[1]
    text = io.StringIO()
    model.nn.print_stats(text)
    assert "5 nonlinear equations" in text.getvalue()
    assert "5 of the linear neurons are smooth" in text.getvalue()
    model.x.setub(0.5)
    model.nn.rebuild(effort="dual")
    set_and_check(model.nn, net, [0.3, 0.4])
    assert model.nn.activation_bounds.box.upper.tolist() == [0.5, 0.5]


def test_own_outputs_have_the_range_of_the_functions() -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(one(2), input_bounds=(-1, 1), formulation="smooth")
    low, high = model.nn.outputs[0].bounds
    assert low <= np.tanh(-1.5) <= low + 1e-12
    assert high - 1e-12 <= np.tanh(2.5) <= high


def test_given_bounds_are_used() -> None:
    net = one(1)
    tight = Bounds.of(net.skeleton, Box([-1.0], [1.0]), [[-1.25]], [[2.0]])
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(net, input_bounds=(-1, 1), formulation="smooth", bounds=tight)
    assert model.nn.layer[0].z[0].bounds == (-1.25, 2.0)


@pytest.mark.parametrize("name", ["bigm", "balas", "sos1", "partition"])
def test_mixed_integer_formulations_refuse_it_by_name(name: str) -> None:
    said = rf"formulation '{name}' writes no nonlinear equations, but layer 0 has 1 sigmoid neuron, 1 tanh neuron and"
    with pytest.raises(FormulationError, match=said):
        ReLUBlock(network(), formulation=name)
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network(), input_bounds=BOX, formulation="smooth")
    layer = model.nn.layer
    with pytest.raises(FormulationError, match=said):
        model.nn.rebuild(formulation=name)
    assert model.nn.layer is layer


REFUSING: dict[str, Callable[[pyo.ConcreteModel], object]] = {
    "omlt_ext.highs": lambda model: pyo.SolverFactory("omlt_ext.highs").solve(model),
    "omlt_ext.tighten_bounds": lambda model: pyo.TransformationFactory("omlt_ext.tighten_bounds").apply_to(model),
}


@pytest.mark.parametrize("name", REFUSING)
def test_what_is_for_linear_models_refuses_the_block(name: str) -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network(), input_bounds=BOX, formulation="smooth")
    model.cost = pyo.Objective(expr=model.nn.outputs[0])
    with pytest.raises(
        ModelError, match=r"nn: layer 0 has 1 sigmoid neuron, .* makes the model nonlinear; .*scip_direct"
    ):
        REFUSING[name](model)


def test_an_activation_that_would_overflow_is_refused_by_neuron() -> None:
    with pytest.raises(BoundsError, match=r"layer 0, neuron 0: sigmoid overflows between its bounds"):
        encode_mixed(one(1, 1e4), tighten_mixed(one(1, 1e4), (-1, 1)), Smooth())
    softplus = one(3, 1e4)
    assert encode_mixed(softplus, tighten_mixed(softplus, (-1, 1)), Smooth())[0].curves[0].form.all()


def test_a_relaxation_of_relus_keeps_the_equations() -> None:
    net = network()
    encodings = encode_mixed(net, tighten_mixed(net, BOX), Smooth("triangle"))
    assert not any(encoding.exact for encoding in encodings)
    assert sum(part.neuron.size for encoding in encodings for part in encoding.curves) == 5


@pytest.mark.scip
@pytest.mark.parametrize("solver", ["scip_direct", "gurobi_direct_minlp"])
@pytest.mark.parametrize("lower", [28.0, 36.5, 37.0, 70.0, 300.0])
def test_softplus_far_on_the_right(solver: str, lower: float) -> None:
    """Where e^-h is too small for a solver to see, it has called the wide form infeasible."""
    pytest.importorskip({"scip_direct": "pyscipopt", "gurobi_direct_minlp": "gurobipy"}[solver])
    network = MixedNetwork(Network([Layer([[1.0]], [0.0], relu=False)]), [[3]])
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(lower, lower + 1.0))
    model.nn = ReLUBlock(network, inputs=[model.x], formulation="smooth")
    model.goal = pyo.Objective(expr=model.nn.outputs[0])
    results = pyo.SolverFactory(solver).solve(model)
    assert results.solver.termination_condition == pyo.TerminationCondition.optimal
    assert pyo.value(model.goal) == pytest.approx(lower, abs=1e-5)


@pytest.mark.parametrize("name", ["nope", 3])
def test_what_smooth_stands_over_is_checked_at_once(name: object) -> None:
    with pytest.raises(FormulationError):
        Smooth(name)  # type: ignore[arg-type]
