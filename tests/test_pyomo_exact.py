"""SolverFactory("omlt_ext.exact"): the optimum of HiGHS on models of every kind, and each way is taken and said."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from decisions import chain, decisions

from omlt_ext import Box, Layer, Network, ReLUBlock
from omlt_ext.bridge import compile_model
from omlt_ext.errors import ModelError, OptionError
from omlt_ext.search.compiled import problem_of
from omlt_ext.search.problem import Problem
from omlt_ext.search.stacked import region, target_of

Termination = pyo.TerminationCondition
MakeNetwork = Callable[..., Network]
SEARCH = "the network search takes the model over"


def exact(model: pyo.ConcreteModel, **keywords: Any) -> Any:
    return pyo.SolverFactory("omlt_ext.exact").solve(model, **keywords)


def check(model: pyo.ConcreteModel, gap: float = 1e-4, **keywords: Any) -> Any:
    """Solve by HiGHS and by the search: the same optimum, a bound on its other side, a point of the whole model."""
    assert_optimal = pyo.assert_optimal_termination
    reference = pyo.SolverFactory("omlt_ext.highs").solve(model, gap=1e-7)
    assert_optimal(reference)
    objective = next(model.component_data_objects(pyo.Objective, active=True))
    best = pyo.value(objective)
    for variable in model.component_data_objects(pyo.Var):
        if not variable.fixed:
            variable.set_value(None)
    results = exact(model, gap=gap, **keywords)
    assert_optimal(results)
    near = 2 * max(gap, 1e-5) * max(1.0, abs(best)) + 1e-5
    assert pyo.value(objective) == pytest.approx(best, abs=near)
    maximize = objective.sense == pyo.maximize
    value, bound = results.problem.lower_bound, results.problem.upper_bound
    if not maximize:
        value, bound = -bound, -value
    sign = 1.0 if maximize else -1.0
    assert value == pytest.approx(sign * pyo.value(objective), abs=1e-6)
    assert sign * best - 1e-5 <= bound <= value + near
    compiled = compile_model(model)
    columns, values = compiled.values()
    assert columns.size == compiled.matrix.n_columns
    assert compiled.matrix.violation(values) <= 1.1e-6
    return results


def design(network: Network, seed: int, sense: Any = pyo.maximize) -> pyo.ConcreteModel:
    """Inputs and two other columns in a polytope with an equation; inputs, columns and outputs earn."""
    rng = np.random.default_rng(seed)
    n = network.n_inputs
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(n), bounds=(-1, 1))
    model.u = pyo.Var(range(2), bounds=(0, 2))
    model.nn = ReLUBlock(network, inputs=model.x)
    a, c, d = rng.normal(size=(2, n)), rng.normal(size=n), rng.normal(size=network.n_outputs)
    model.budget = pyo.Constraint(expr=sum(a[0, i] * model.x[i] for i in range(n)) + model.u[0] <= 0.5)
    model.balance = pyo.Constraint(expr=sum(a[1, i] * model.x[i] for i in range(n)) == model.u[1] - 1.0)
    model.total = pyo.Constraint(expr=(0.25, model.u[0] + model.u[1], 2.5))
    outputs = sum(d[j] * model.nn.outputs[j] for j in range(network.n_outputs))
    inputs = sum(0.3 * c[i] * model.x[i] for i in range(n))
    model.gain = pyo.Objective(expr=outputs + inputs + 0.5 * model.u[0] - 0.2 * model.u[1] + 3.0, sense=sense)
    return model


@pytest.mark.parametrize("sense", [pyo.maximize, pyo.minimize])
@pytest.mark.parametrize("seed", range(8))
def test_one_network_in_a_polytope(make_network: MakeNetwork, seed: int, sense: Any) -> None:
    sizes = [(2, 6, 1), (3, 8, 5, 2), (5, 6, 6, 3), (7, 9, 2)][seed % 4]
    results = check(design(make_network(sizes, seed), seed, sense))
    assert results.solver.message.startswith(f"{SEARCH}: one network over a polytope of")
    assert results.solver.message.endswith("the gap is closed")


@pytest.mark.parametrize("seed", range(6))
def test_several_networks_of_different_depth(make_network: MakeNetwork, seed: int) -> None:
    first, second = make_network((3, 5, 4, 2), seed), make_network((2, 6, 1), seed + 50)
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(4), bounds=(-1, 1))
    model.first = ReLUBlock(first, inputs=[model.x[i] for i in (2, 0, 1)])
    model.second = ReLUBlock(second, inputs=[model.x[3], model.x[2]])
    if seed % 2:
        model.few = pyo.Constraint(expr=sum(model.x.values()) <= 0.5)
    model.cost = pyo.Objective(expr=model.first.outputs[0] - 2 * model.second.outputs[0] - model.first.outputs[1])
    assert f"{SEARCH}: 2 networks" in check(model).solver.message


@pytest.mark.parametrize("split", ["relu", "input"])
def test_l1_ball_by_columns_beside_the_inputs(make_network: MakeNetwork, split: str) -> None:
    """The lifted model of an attack: x = a + p - n, a budget on p and n."""
    network, a = make_network((6, 10, 8, 2), 5), np.random.default_rng(5).random(6).tolist()
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(6), bounds=(0, 1))
    model.p, model.n = pyo.Var(range(6), bounds=(0, 0.4)), pyo.Var(range(6), bounds=(0, 0.4))
    model.budget = pyo.Constraint(expr=sum(model.p.values()) + sum(model.n.values()) <= 0.4)
    model.move = pyo.Constraint(range(6), rule=lambda m, i: m.x[i] == a[i] + m.p[i] - m.n[i])
    model.nn = ReLUBlock(network, inputs=model.x)
    model.margin = pyo.Objective(expr=model.nn.outputs[1] - model.nn.outputs[0], sense=pyo.maximize)
    assert SEARCH in check(model, split=split).solver.message


@pytest.mark.parametrize("seed", range(4))
def test_whole_numbers_and_constraints_on_outputs_go_to_highs(make_network: MakeNetwork, seed: int) -> None:
    model = decisions(4.0)
    model.nn = ReLUBlock(make_network((4, 9, 7, 2), seed), inputs=model.x)
    model.cost = pyo.Objective(expr=model.nn.outputs[0] + 0.3 * model.lots + 7.0, sense=pyo.maximize)
    if seed % 2:
        model.demand = pyo.Constraint(expr=model.nn.outputs[1] + model.lots >= 0.5)
    message = check(model).solver.message
    assert message.startswith("HiGHS solves the model, since it has whole numbers outside the networks")
    assert ("constraints on outputs of networks" in message) == bool(seed % 2)


def test_a_chain_of_networks_goes_to_highs(make_network: MakeNetwork) -> None:
    message = check(chain(make_network((2, 6, 2), 5), make_network((3, 6, 1), 6))).solver.message
    assert message.startswith("HiGHS solves the model, since it has constraints on outputs of networks")


def test_the_bound_of_the_search_counts_where_highs_has_no_time(make_network: MakeNetwork) -> None:
    """A constraint on an output that the search's optimum satisfies: its bound is that of the whole model."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(4), bounds=(-1, 1))
    model.nn = ReLUBlock(make_network((4, 12, 12, 2), 3), inputs=model.x)
    model.gain = pyo.Objective(expr=model.nn.outputs[0] + 0.1 * model.x[0], sense=pyo.maximize)
    exact(model)
    model.mild = pyo.Constraint(expr=model.nn.outputs[1] >= pyo.value(model.nn.outputs[1]) - 0.01)
    message = check(model).solver.message
    assert "constraints on outputs" in message
    assert message.endswith("the search's point and bound settle it before; the gap is closed")


def test_an_objective_without_outputs_goes_to_highs(make_network: MakeNetwork) -> None:
    model = design(make_network((3, 6, 2), 1), 1)
    model.gain.deactivate()
    model.plain = pyo.Objective(expr=model.x[0] - model.u[1], sense=pyo.maximize)
    assert "holds no output" in check(model).solver.message or "settled before" in exact(model).solver.message


def test_columns_without_bounds(make_network: MakeNetwork) -> None:
    model = design(make_network((3, 6, 2), 1), 1)
    model.s = pyo.Var()
    model.t = pyo.Var()
    model.free = pyo.Constraint(expr=model.s + model.t <= model.x[0] + 1)
    model.other = pyo.Constraint(expr=model.s - model.t <= model.x[1])
    model.gain.expr += model.s
    assert "of its columns have no finite bounds" in check(model).solver.message
    model.gain.expr += 3.0 * model.t
    ended = exact(model)
    assert "nor does anything else bound its objective" in ended.solver.message
    assert ended.solver.termination_condition in (Termination.unbounded, Termination.infeasibleOrUnbounded)


def test_what_only_the_whole_model_says_goes_to_highs(make_network: MakeNetwork) -> None:
    network = make_network((3, 6, 2), 4)
    inside = design(network, 2)
    inside.held = pyo.Constraint(expr=inside.nn.layer[0].z[0] <= 0.1)
    assert "on variables inside a network" in check(inside).solver.message
    costly = design(network, 2)
    costly.gain.expr += costly.nn.layer[0].z[0]
    assert "holds variables from inside" in check(costly).solver.message
    plain = pyo.ConcreteModel()
    plain.x = pyo.Var(bounds=(0, 3), domain=pyo.Integers)
    plain.gain = pyo.Objective(expr=plain.x, sense=pyo.maximize)
    assert "no network in it" in check(plain).solver.message
    relaxed = pyo.ConcreteModel()
    relaxed.x = pyo.Var(range(3), bounds=(-1, 1))
    relaxed.nn = ReLUBlock(network, inputs=relaxed.x, formulation="triangle")
    relaxed.gain = pyo.Objective(expr=relaxed.nn.outputs[0])
    assert "a network of it is relaxed" in exact(relaxed).solver.message


def test_a_tightened_model_is_still_searched(make_network: MakeNetwork) -> None:
    model = design(make_network((4, 8, 6, 2), 6), 6)
    pyo.TransformationFactory("omlt_ext.tighten_bounds").apply_to(model, effort="lp")
    assert SEARCH in check(model).solver.message


@pytest.mark.parametrize("formulation", ["sos1", "psplit", "indicator"])
def test_any_formulation(make_network: MakeNetwork, formulation: str) -> None:
    network, model, other = make_network((3, 6, 2), 7), pyo.ConcreteModel(), pyo.ConcreteModel()
    for m, name in ((model, formulation), (other, "bigm")):
        m.x = pyo.Var(range(3), bounds=(-1, 1))
        m.nn = ReLUBlock(network, inputs=m.x, formulation=name)
        m.gain = pyo.Objective(expr=m.nn.outputs[0] - m.nn.outputs[1])
    found = exact(model)
    assert SEARCH in found.solver.message
    check(other)
    assert pyo.value(model.gain) == pytest.approx(pyo.value(other.gain), abs=1e-3)


def test_infeasible(make_network: MakeNetwork, caplog: pytest.LogCaptureFixture) -> None:
    for whole in (False, True):
        model = design(make_network((3, 6, 2), 1), 1)
        model.more = pyo.Constraint(expr=sum(model.x.values()) + model.u[0] >= 2.6)
        model.less = pyo.Constraint(expr=sum(model.x.values()) - model.u[1] <= -2.6)
        model.even = pyo.Constraint(expr=2 * model.x[0] + model.u[0] <= 1.0)
        if whole:
            model.u[0].domain = pyo.Integers
        reference = pyo.SolverFactory("omlt_ext.highs").solve(model, load_solutions=False)
        assert reference.solver.termination_condition == Termination.infeasible
        results = exact(model)
        assert results.solver.termination_condition == Termination.infeasible
        assert results.problem.number_of_solutions == 0
    assert "variables stay as they are" in caplog.text


def test_rows_that_cross_by_less_than_the_tolerance(make_network: MakeNetwork) -> None:
    """No point in exact arithmetic, but one to 1e-6, as HiGHS says too."""
    for whole in (False, True):
        model = pyo.ConcreteModel()
        model.x = pyo.Var(range(3), bounds=(0, 1), domain=pyo.Reals)
        model.nn = ReLUBlock(make_network((3, 6, 2), 2), inputs=model.x)
        model.less = pyo.Constraint(expr=sum(model.x.values()) <= 1.0)
        model.more = pyo.Constraint(expr=sum(model.x.values()) >= 1.0 + 1e-8)
        model.gain = pyo.Objective(expr=model.nn.outputs[0] + 0.5 * model.x[1], sense=pyo.maximize)
        if whole:
            model.x[0].domain = pyo.Integers
        check(model)


def test_an_objective_that_is_mostly_linear_goes_to_highs(make_network: MakeNetwork) -> None:
    model = design(make_network((3, 6, 2), 1), 1)
    model.gain.expr += 1000.0 * (model.x[0] - model.x[2])
    assert "hangs much more on other columns" in check(model).solver.message


def test_time_limit_gap_start_and_log(make_network: MakeNetwork, caplog: pytest.LogCaptureFixture) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(30), bounds=(-1, 1), initialize=0.25)
    model.nn = ReLUBlock(make_network((30, 60, 60, 1), 1), inputs=model.x)
    model.gain = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    begin = time.perf_counter()
    solver = pyo.SolverFactory("omlt_ext.exact", time_limit=1.0)
    with caplog.at_level(logging.INFO, "omlt_ext"):
        results = solver.solve(model)
    assert time.perf_counter() - begin < 4.0
    assert f"omlt_ext.exact: {SEARCH}" in caplog.text
    assert results.solver.termination_condition == Termination.maxTimeLimit
    assert results.problem.lower_bound == pytest.approx(pyo.value(model.gain))
    assert results.problem.upper_bound > results.problem.lower_bound
    assert solver.history is not None
    assert solver.history.bound.dropna().is_monotonic_decreasing
    again = exact(model, gap=0.9 * (results.problem.upper_bound / results.problem.lower_bound), time_limit=20)
    assert again.solver.termination_condition == Termination.optimal
    assert again.problem.lower_bound >= results.problem.lower_bound - 1e-9  # the values are a first point


def test_ctrl_c_keeps_the_best_point(make_network: MakeNetwork) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(30), bounds=(-1, 1))
    model.nn = ReLUBlock(make_network((30, 60, 60, 1), 1), inputs=model.x)
    model.gain = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    timer = threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    results = exact(model, time_limit=30)
    timer.join()
    assert results.solver.termination_condition == Termination.userInterrupt
    assert results.problem.lower_bound == pytest.approx(pyo.value(model.gain))


def test_the_same_again(make_network: MakeNetwork) -> None:
    points = []
    for _ in range(2):
        model = design(make_network((5, 9, 9, 2), 3), 3)
        exact(model, seed=7)
        points.append([pyo.value(x) for x in model.x.values()])
    assert points[0] == points[1]


def test_nothing_is_loaded_unless_asked(make_network: MakeNetwork) -> None:
    model = design(make_network((3, 6, 2), 1), 1)
    results = exact(model, load_solutions=False)
    assert results.problem.number_of_solutions == 1
    assert model.x[0].value is None


def test_refusals(make_network: MakeNetwork) -> None:
    model = design(make_network((3, 6, 2), 1), 1)
    with pytest.raises(TypeError, match="unknown keyword 'rounds'"):
        exact(model, rounds=3)
    with pytest.raises(OptionError, match="split"):
        exact(model, split="sideways")
    with pytest.raises(OptionError, match="gap"):
        exact(model, gap=-1.0)
    model.square = pyo.Constraint(expr=model.x[0] ** 2 <= 0.5)
    with pytest.raises(ModelError):
        exact(model)


def test_the_target_is_the_problems_objective(make_network: MakeNetwork) -> None:
    """At any point, also for inputs that a network reads twice, and within the rows of the region."""
    first, second = make_network((3, 5, 4, 2), 1), make_network((2, 6, 6, 6, 1), 2)
    model = design(make_network((4, 6, 2), 8), 8)
    model.total.deactivate()
    model.first = ReLUBlock(first, inputs=[model.x[2], model.u[0], model.x[2]])
    model.second = ReLUBlock(second, inputs=[model.x[0], model.x[1]])
    model.gain.expr += model.first.outputs[1] - model.second.outputs[0]
    problem, _ = problem_of(compile_model(model))
    target, where = target_of(problem), region(problem)
    points = problem.lower + np.random.default_rng(0).random((500, problem.n)) * (problem.upper - problem.lower)
    assert target.network(points)[:, 0] == pytest.approx(problem.values(points), abs=1e-9)
    inside = problem.violations(points) <= 0.0
    assert 0 < inside.sum() < inside.size
    assert [where.contains(point) for point in points] == inside.tolist()


def test_rows_that_rounding_crosses_leave_their_points() -> None:
    """x = 1/3 twice over, once rounded: the region keeps the point."""
    network = Network([Layer([[1.0, 1.0]], [0.0], relu=True)])
    problem = Problem.of_network(network, Box([0, 0], [1, 1]))
    third = 1.0 / 3.0
    R = np.array([[1.0, 1.0], [3.0, 3.0]])
    problem = replace(
        problem,
        R=type(problem.R)(R),
        S=type(problem.S)((2, 1)),
        row_lower=np.array([third, 3 * np.nextafter(third, 1)]),
        row_upper=np.array([third, 3 * np.nextafter(third, 1)]),
    )
    assert region(problem).contains([third, 0.0])
