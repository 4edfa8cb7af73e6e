"""A Pyomo model as a problem and back: nothing is lost, nothing is let in, whatever stands around the networks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext import Layer, Network, ReLUBlock
from omlt_ext.bridge import compile_model
from omlt_ext.errors import InfeasibleError, ModelError
from omlt_ext.formulations import BigM
from omlt_ext.search.compiled import problem_of
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.propagated import propagate
from omlt_ext.solvers import HighsSolver

MakeNetwork = Callable[..., Network]
TRANSFORMED = {
    "indicator": ("gdp.bigm",),
    "complementarity": ("mpec.simple_disjunction", "gdp.bigm"),
}


def plant(network: Network, **keywords: Any) -> pyo.ConcreteModel:
    """Scaled inputs, a balance, whole lots, and the profit as a variable of its own."""
    model = pyo.ConcreteModel()
    model.feed = pyo.Var(range(3), bounds=(-4, 6))
    model.on = pyo.Var(range(3), domain=pyo.Binary)
    model.lots = pyo.Var(domain=pyo.NonNegativeIntegers, bounds=(0, 7))
    model.profit, model.waste = pyo.Var(), pyo.Var(domain=pyo.NonNegativeReals)
    model.nn = ReLUBlock(network, input_bounds=(-1, 1), **keywords)
    model.scaled = pyo.Constraint(range(3), rule=lambda m, i: m.feed[i] == 3 * m.nn.inputs[i] + 1)
    model.switch = pyo.Constraint(range(3), rule=lambda m, i: m.feed[i] <= 6 * m.on[i])
    model.few = pyo.Constraint(expr=sum(model.on[i] for i in range(3)) <= 2)
    model.balance = pyo.Constraint(expr=sum(model.feed[i] for i in range(3)) + model.waste == 5)
    model.demand = pyo.Constraint(expr=model.nn.outputs[1] + 2 * model.lots >= 1)
    model.sum = pyo.Constraint(expr=model.profit == 2 * model.nn.outputs[0] - 0.5 * model.lots + 3)
    model.cost = pyo.Objective(expr=model.profit - 0.1 * model.waste, sense=pyo.maximize)
    return model


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Network:
    return make_network((3, 7, 5, 2), 1)


def check_point(model: pyo.ConcreteModel, x: np.ndarray) -> None:
    """A feasible point x of the model is one of the problem, with the same value, and comes back as it was."""
    compiled = compile_model(model)
    matrix = compiled.matrix
    problem, completion = problem_of(compiled)
    v = x[completion.kept]
    scale = 1.0 + np.abs(x).max()
    assert problem.violations(v[None])[0] <= 1e-5 * scale
    sign = 1.0 if matrix.maximize else -1.0
    assert problem.value(v) == pytest.approx(sign * matrix.value(x), rel=1e-5, abs=1e-5)
    back = completion.point(v)
    assert back is not None
    assert np.abs(back - x)[completion.base].max() <= 1e-5 * scale
    assert matrix.violation(back) <= 1e-5 * scale


def solved(model: pyo.ConcreteModel, c: np.ndarray | None = None) -> np.ndarray:
    """A feasible point: the best one for the model's own objective, or for c."""
    matrix = compile_model(model).matrix
    if c is not None:
        matrix = matrix.with_objective(np.arange(matrix.n_columns), c[: matrix.n_columns], maximize=True)
    result = HighsSolver(matrix, {"mip_feasibility_tolerance": 1e-9, "primal_feasibility_tolerance": 1e-9}).solve()
    assert result.status in ("optimal", "unbounded"), result.status
    assert result.x is not None
    x = result.x.copy()
    x[matrix.integer] = np.round(x[matrix.integer])
    return x


@pytest.mark.parametrize("formulation", ["bigm", "balas", "partition", "psplit", "ideal_cuts", "reduced_space"])
def test_every_formulation_is_the_same_problem(network: Network, formulation: str) -> None:
    reference, _ = problem_of(compile_model(plant(network)))
    model = plant(network, formulation=formulation)
    problem, completion = problem_of(compile_model(model))
    assert np.array_equal(problem.c, reference.c)
    assert np.array_equal(problem.d, reference.d)
    assert np.array_equal(problem.R.toarray(), reference.R.toarray())
    assert np.array_equal(problem.S.toarray(), reference.S.toarray())
    check_point(model, solved(model))
    copy = pickle.loads(pickle.dumps(problem))  # executors
    v = solved(model)[completion.kept]
    assert copy.confirm(v) is problem.confirm(v) is True  # type: ignore[misc]


@pytest.mark.parametrize("formulation", TRANSFORMED)
def test_logic_that_has_become_rows(network: Network, formulation: str) -> None:
    model = plant(network, formulation=formulation)
    for name in TRANSFORMED[formulation]:
        pyo.TransformationFactory(name).apply_to(model)
    problem, _ = problem_of(compile_model(model))
    assert problem.n == problem_of(compile_model(plant(network)))[0].n  # second binaries are no decisions
    check_point(model, solved(model))


@pytest.mark.parametrize("formulation", ["sos1", "indicator", "complementarity"])
def test_logic_is_left_out_and_put_back(network: Network, formulation: str) -> None:
    model = plant(network, formulation=formulation)
    with pytest.raises(ModelError, match="which HiGHS does not know"):
        compile_model(model)
    problem, completion = problem_of(compile_model(model, logic=False))
    with pytest.raises(ModelError, match="which HiGHS does not know"):  # it is there again
        compile_model(model)
    v = solved(plant(network))[completion.kept]
    assert problem.confirm is not None
    assert problem.confirm(v)


@given(seed=st.integers(0, 2**20), sense=st.sampled_from([pyo.minimize, pyo.maximize]))
@settings(max_examples=25, deadline=None)
def test_feasible_points_stay_feasible_and_keep_their_value(seed: int, sense: Any, make_network: MakeNetwork) -> None:
    rng = np.random.default_rng(seed)
    model = plant(make_network((3, 4, 2), seed % 7))
    model.cost.sense = sense
    if rng.random() < 0.5:  # a second network on the output of the first
        model.after = ReLUBlock(make_network((1, 3, 1), seed % 5), inputs=[model.nn.outputs[0]])
        model.cost.set_value(model.profit + model.after.outputs[0])
    if rng.random() < 0.5:
        model.feed[0].fix(float(np.round(rng.uniform(-1, 2), 2)))
    if rng.random() < 0.5:
        model.more = pyo.Constraint(expr=model.nn.outputs[0] + model.feed[1] <= 50)
    model.profit.setlb(-100)
    check_point(model, solved(model, rng.normal(size=500)))


def test_a_network_alone_is_a_box(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x, model.y = pyo.Var(range(3)), pyo.Var(bounds=(-1e3, 1e3))
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.link = pyo.Constraint(range(3), rule=lambda m, i: m.x[i] == 3 * m.nn.inputs[i] - 1)
    model.out = pyo.Constraint(expr=model.y == model.nn.outputs[1])
    model.x[2].setub(0.5)
    model.cost = pyo.Objective(expr=model.y)
    problem, completion = problem_of(compile_model(model))
    assert problem.is_box
    assert (problem.n, problem.n_rows) == (3, 0)
    assert problem.upper.tolist() == [1.0, 1.0, 0.5]
    assert problem.d.tolist() == [0.0, -1.0]
    x = completion.point(np.array([0.5, -1.0, 0.25]))
    assert x is not None
    assert compile_model(model).matrix.violation(x) <= 1e-9


def test_networks_on_the_same_inputs_share_columns(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.one, model.two = ReLUBlock(network, input_bounds=(-1, 1)), ReLUBlock(network, input_bounds=(-1, 1))
    model.link = pyo.Constraint(range(3), rule=lambda m, i: m.one.inputs[i] == m.two.inputs[2 - i])
    model.cost = pyo.Objective(expr=model.one.outputs[0] - model.two.outputs[0])
    problem, _ = problem_of(compile_model(model))
    assert (problem.n, problem.n_rows) == (3, 0)
    one, two = (placed.inputs for placed in problem.networks)
    assert one.tolist() == two[::-1].tolist()
    check_point(model, solved(model))


def test_the_same_variable_twice_and_one_output_of_two(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x, model.y = pyo.Var(range(3), bounds=(-1, 1)), pyo.Var(range(3), bounds=(-1e3, 1e3))
    model.one = ReLUBlock(network, inputs=[model.x[0], model.x[0], model.x[1]], outputs=[model.y[0], model.y[1]])
    model.two = ReLUBlock(network, inputs=[model.x[0], model.x[2], model.x[1]], outputs=[model.y[0], model.y[2]])
    model.cost = pyo.Objective(expr=model.y[0] + model.y[1], sense=pyo.maximize)
    problem, _ = problem_of(compile_model(model))
    assert problem.n == 3
    assert problem.n_rows == 1  # both networks give y[0]
    check_point(model, solved(model))


def test_bounds_of_outputs_count_unless_the_network_keeps_them(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    assert problem_of(compile_model(model))[0].is_box
    model.nn.outputs[0].setub(1e4)
    assert problem_of(compile_model(model))[0].is_box
    first, second = network(np.zeros(3)).tolist()
    model.nn.outputs[0].setub(first)
    model.nn.outputs[1].fix(second)
    problem, _ = problem_of(compile_model(model))
    assert problem.row_upper.tolist() == [first, second]
    assert problem.row_lower.tolist() == [-np.inf, second]


def test_bounds_from_the_model_around_do_not_replace_what_they_come_from(network: Network) -> None:
    """After tightening, the block's bounds say what the model asks; the problem still has to ask it."""
    model = pyo.ConcreteModel()
    model.x, model.y = pyo.Var(range(3), bounds=(-1, 1)), pyo.Var(range(2), bounds=(None, None))
    model.nn = ReLUBlock(network, inputs=model.x, outputs=model.y)
    most = network(np.zeros(3))[0]
    model.y[0].setub(most)
    model.cost = pyo.Objective(expr=model.y[0], sense=pyo.maximize)
    pyo.TransformationFactory("omlt_ext.tighten_bounds").apply_to(model, effort="lp")
    problem, _ = problem_of(compile_model(model))
    points = np.random.default_rng(0).uniform(-1, 1, (500, problem.n))
    above = problem.outputs(points)[:, 0] > most + 1e-6
    assert above.any()
    assert (problem.violations(points[above]) > 1e-6).all()
    exact = HighsSolver(problem.model(BigM())).solve()
    assert exact.value == pytest.approx(HighsSolver(compile_model(model).matrix).solve().value, abs=1e-5)


@pytest.mark.parametrize("formulation", ["bigm", "balas", "auto"])
def test_a_network_on_anothers_output_stays_in_the_box_of_its_bounds(
    make_network: MakeNetwork, formulation: str
) -> None:
    """The encoding of the first network may leave wider ends to its output than the second one was built for."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.first = ReLUBlock(make_network((2, 5, 1), 3), inputs=model.x, formulation=formulation)
    model.second = ReLUBlock(make_network((2, 4, 1), 4), inputs=[model.first.outputs[0], model.x[0]])
    model.cost = pyo.Objective(expr=model.second.outputs[0])
    problem, _ = problem_of(compile_model(model))
    box = model.second.activation_bounds.box
    at = problem.networks[1].inputs
    assert (problem.lower[at] >= box.lower).all()
    assert (problem.upper[at] <= box.upper).all()
    propagate(problem, Incumbent(problem), "crown")
    check_point(model, solved(model))


def test_a_value_fixed_a_hair_outside_the_box(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.nn.inputs[0].fix(1 + 5e-7)
    model.nn.inputs[1].fix(-1 - 5e-7)
    model.cost = pyo.Objective(expr=model.nn.outputs[0])
    problem, completion = problem_of(compile_model(model))
    propagate(problem, Incumbent(problem), "crown")
    assert completion(problem.lower)


def test_rows_and_bounds_inside_a_network_have_the_last_word(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    j = next(iter(model.nn.layer[0].sigma))
    z, sigma = model.nn.layer[0].z[j], model.nn.layer[0].sigma[j]
    points = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    active = network.pre_activations(points)[0][:, j] > 0
    for restrict in (
        lambda: model.add_component("row", pyo.Constraint(expr=z <= 0)),
        lambda: sigma.fix(0),
        lambda: model.nn.layer[0].z[j].setub(0.0),
    ):
        restrict()
        problem, _ = problem_of(compile_model(model))
        assert problem.confirm is not None
        assert [problem.confirm(v) for v in points] == (~active).tolist()
        if model.component("row") is not None:
            model.del_component("row")
        sigma.unfix()


def test_contradictions_are_seen_and_named(network: Network) -> None:
    model = plant(network)
    model.nn.outputs[0].setlb(1e4)
    with pytest.raises(InfeasibleError, match="output 0"):
        problem_of(compile_model(model))
    model = plant(network)
    model.no = pyo.Constraint(expr=model.feed[1] >= 5.5)
    with pytest.raises(InfeasibleError, match=r"nn.inputs\[1\]"):
        problem_of(compile_model(model))
    model = plant(network)
    model.gap = pyo.Constraint(expr=(1.25, model.lots, 1.75))
    with pytest.raises(InfeasibleError, match="lots"):
        problem_of(compile_model(model))


def test_an_objective_from_inside_a_network_is_refused(network: Network) -> None:
    model = plant(network)
    model.cost.set_value(sum(model.nn.layer[0].sigma.values()))
    with pytest.raises(ModelError, match=r"the objective holds nn.layer\[0\].sigma"):
        problem_of(compile_model(model))


def test_known_bounds_with_relu_outputs_prove_no_more_than_is_true() -> None:
    """An output relu(z) with z < 0 is 0: the range of z is not that of the output."""
    network = Network([Layer([[1.0], [1.0]], [-5.0, 0.0], relu=True)])
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.cost = pyo.Objective(expr=model.nn.outputs[0] - model.nn.outputs[1], sense=pyo.maximize)
    problem, _ = problem_of(compile_model(model))
    incumbent = Incumbent(problem)
    propagate(problem, incumbent, "crown")
    incumbent.offer(np.array([-1.0]))
    assert incumbent.value == 0.0
    assert 0.0 <= incumbent.bound <= 1e-9
