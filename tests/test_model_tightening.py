"""Whole models: what constraints around the blocks and other networks give, and that no feasible point is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from decisions import decisions
from pyomo.contrib.fbbt.fbbt import fbbt
from pyomo.gdp import Disjunct, Disjunction

from omlt_ext import Bounds, Effort, Layer, Network, ReLUBlock
from omlt_ext.draft import Draft
from omlt_ext.encoding import LayerBounds
from omlt_ext.errors import BoundsError, FormulationError, ModelError, OptionError
from omlt_ext.formulations import BigM

MakeNetwork = Callable[..., Network]
EFFORTS = ("interval", "crown", "dual", "split", "lp", "milp")
NAME = "omlt_ext.tighten_bounds"


def tighten(model: Any, **keywords: Any) -> Any:
    transformation = pyo.TransformationFactory(NAME)
    transformation.apply_to(model, **keywords)
    return transformation


def solve(model: Any) -> float:
    results = pyo.SolverFactory("omlt_ext.highs").solve(model, gap=1e-9)
    assert results.solver.termination_condition == pyo.TerminationCondition.optimal
    return float(pyo.value(next(model.component_data_objects(pyo.Objective, active=True))))


def blocks(model: Any) -> list[ReLUBlock]:
    return [b for b in model.component_data_objects(pyo.Block, active=True) if isinstance(b, ReLUBlock)]


def rows_named(block: ReLUBlock, name: str) -> int:
    return sum(rows.neuron.size for encoding in block._encodings for rows in encoding.rows if rows.name == name)


def check_inside(block: ReLUBlock, x: np.ndarray, slack: float = 1e-7) -> None:
    """Every pre-activation of the points x (m, n_in) lies within the block's bounds, and x in its box."""
    bounds = block.activation_bounds
    assert bounds is not None
    assert x.shape[0] > 0
    assert bounds.box.contains(x, slack)
    for k, z in enumerate(block.network.pre_activations(x)):
        reach = slack * np.maximum(1.0, np.abs(z))
        assert (bounds.lower[k] - reach <= z).all()
        assert (z <= bounds.upper[k] + reach).all()


def add(n: int, bias: float) -> Network:
    """relu(x_0 + ... + x_{n-1} + bias)"""
    return Network([Layer(np.ones((1, n)), [bias], relu=True), Layer([[1.0]], [0.0], relu=False)])


def supply(make_network: MakeNetwork, seed: int = 3) -> pyo.ConcreteModel:
    """Two networks in a row with integers, a budget and a constraint on outputs around them."""
    model = decisions(2.0)
    model.nn = ReLUBlock(make_network((4, 6, 5, 2), seed), inputs=model.x)
    model.second = ReLUBlock(make_network((2, 4, 3, 1), seed + 2), inputs=model.nn.outputs)
    model.cap = pyo.Constraint(expr=model.nn.outputs[0] <= model.nn.outputs[1] + 1)
    model.cost = pyo.Objective(expr=model.second.outputs[0] + 0.3 * model.lots, sense=pyo.maximize)
    return model


def supply_points(model: Any, count: int = 60000) -> np.ndarray:
    """Inputs of `supply` that are feasible: found by sampling."""
    rng = np.random.default_rng(0)
    x = rng.random((count, 4)) * 2
    x[rng.random((count, 4)) < 0.5] = 0.0
    y = model.nn.network(x)
    total, used = x.sum(axis=1), (x > 0).sum(axis=1)
    return x[(used <= 2) & (total <= 2) & (total + 2.5 >= 1) & (y[:, 0] <= y[:, 1] + 1)]


@pytest.mark.parametrize("effort", EFFORTS)
def test_the_optimum_stays_and_no_feasible_point_is_lost(make_network: MakeNetwork, effort: str) -> None:
    model = supply(make_network)
    before = solve(model)
    report = tighten(model, effort=effort).report
    assert (report["unstable_after"] <= report["unstable_before"]).all()
    assert (report["width_after"] <= report["width_before"]).all()
    points = supply_points(model)
    check_inside(model.nn, points)
    check_inside(model.second, model.nn.network(points))
    assert solve(model) == pytest.approx(before, rel=1e-6)
    assert max(block.get_error() for block in blocks(model)) < 1e-6
    model.cost.sense = pyo.minimize  # bounds hold whatever the objective
    other = supply(make_network)
    other.cost.sense = pyo.minimize
    assert solve(model) == pytest.approx(solve(other), rel=1e-6)


def test_more_effort_decides_more_signs(make_network: MakeNetwork) -> None:
    left = {}
    for effort in ("interval", "dual", "lp"):
        model = supply(make_network)
        report = tighten(model, effort=effort).report
        left[effort] = (report["unstable_after"].sum(), report["width_after"].sum())
    assert left["lp"] < left["dual"] < left["interval"]


def test_rows_of_the_inputs_are_seen_by_the_ladder() -> None:
    """x_0 + x_1 <= 1 decides relu(x_0 + x_1 - 1.5), which no interval of the inputs does."""
    for effort, after in (("crown", 1), ("dual", 0), ("lp", 0)):
        model = pyo.ConcreteModel()
        model.x = pyo.Var(range(2), bounds=(0, 1))
        model.nn = ReLUBlock(add(2, -1.5), inputs=model.x)
        model.budget = pyo.Constraint(expr=model.x[0] + model.x[1] <= 1)
        report = tighten(model, effort=effort).report
        assert report[["unstable_before", "unstable_after"]].to_numpy().tolist() == [[1, after]]
        assert rows_named(model.nn, "range") == 0  # implied by the inputs: nothing has to hold it


def test_a_variable_beside_the_inputs_counts_with_its_range() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(0, 1))
    model.slack = pyo.Var(bounds=(0, None))
    model.nn = ReLUBlock(add(2, -1.5), inputs=model.x)
    model.budget = pyo.Constraint(expr=model.x[0] + model.x[1] + model.slack == 1)
    assert tighten(model).report["unstable_after"].item() == 0


@pytest.mark.parametrize("effort", ["interval", "dual", "lp", "milp"])
def test_a_sign_that_an_output_decides_is_held(effort: str) -> None:
    """y = relu(x_0 + x_1) <= 0: without a row for x_0 + x_1 <= 0 the tightened block would let (1, 1) in with y = 0."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.y = pyo.Var(bounds=(None, 0))
    model.nn = ReLUBlock(add(2, 0.0), inputs=model.x, outputs=[model.y])
    model.cost = pyo.Objective(expr=model.x[0] + model.x[1], sense=pyo.maximize)
    assert tighten(model, effort=effort).report["unstable_after"].item() == 0
    assert rows_named(model.nn, "range") == 1
    assert solve(model) == pytest.approx(0.0, abs=1e-6)
    assert pyo.value(model.nn.layer[0].range[0].body) == pytest.approx(0.0, abs=1e-6)
    pyo.SolverFactory("appsi_highs").solve(model)
    assert pyo.value(model.cost) == pytest.approx(0.0, abs=1e-6)


def test_an_active_sign_that_an_output_decides_is_held() -> None:
    """y = relu(x_0 + x_1) with y + w >= 1 and w <= 1/2: active, on the user's own variable y."""
    network = Network([Layer(np.ones((1, 2)), [0.0], relu=True)])
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.y, model.w = pyo.Var(), pyo.Var(bounds=(None, 0.5))
    model.nn = ReLUBlock(network, inputs=model.x, outputs=[model.y])
    model.demand = pyo.Constraint(expr=model.y + model.w >= 1)
    model.cost = pyo.Objective(expr=model.x[0] + model.x[1])
    assert tighten(model, effort="interval").report["unstable_after"].item() == 0
    assert rows_named(model.nn, "range") == 1
    assert solve(model) == pytest.approx(0.5, abs=1e-6)


def test_a_formulation_that_does_not_hold_is_refused() -> None:
    class Forgetful:
        name = "forgetful"

        def encode(self, layer: Layer, bounds: LayerBounds) -> Any:
            draft = Draft(layer, LayerBounds(bounds.lower, bounds.upper, bounds.input_lower, bounds.input_upper))
            j = draft.unstable
            draft.add_rows("above", j, [(draft.z[j], -1.0), (draft.h[j], 1.0)], lower=0.0)
            return draft.encoding()

    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.nn = ReLUBlock(add(2, 0.0), inputs=model.x, formulation=Forgetful())
    model.none = pyo.Constraint(expr=model.nn.outputs[0] <= 0)
    before = model.nn.activation_bounds
    with pytest.raises(FormulationError, match="forgetful"):
        tighten(model)
    assert model.nn.activation_bounds is before


def test_one_network_narrows_the_next(make_network: MakeNetwork) -> None:
    """The second block stands before the first in the model, and its inputs are the outputs of the first."""
    model = pyo.ConcreteModel()
    model.mid = pyo.Var(range(2), bounds=(-100, 100))
    model.late = ReLUBlock(make_network((2, 6, 1), 1), inputs=model.mid)
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.early = ReLUBlock(make_network((3, 6, 2), 0), inputs=model.x, outputs=model.mid)
    report = tighten(model, effort="dual").report.set_index("block")
    assert report.loc["late", "input_width_after"] < 0.2 * report.loc["late", "input_width_before"]
    assert report.loc["late", "width_after"] < 0.2 * report.loc["late", "width_before"]
    x = np.random.default_rng(0).uniform(-1, 1, (5000, 3))
    check_inside(model.early, x)
    check_inside(model.late, model.early.network(x))


def test_outputs_narrow_the_inputs(make_network: MakeNetwork) -> None:
    network = make_network((2, 6, 1), 7)
    x = np.random.default_rng(0).uniform(-1, 1, (20000, 2))
    y = network(x)[:, 0]
    cut = float(np.quantile(y, 0.01))
    widths = {}
    for effort in ("interval", "lp"):
        model = pyo.ConcreteModel()
        model.x = pyo.Var(range(2), bounds=(-1, 1))
        model.nn = ReLUBlock(network, inputs=model.x)
        model.low = pyo.Constraint(expr=model.nn.outputs[0] <= cut)
        widths[effort] = tighten(model, effort=effort).report["input_width_after"].item()
        check_inside(model.nn, x[y <= cut])
    assert widths["lp"] < widths["interval"] < 2.0
    assert widths["lp"] < 1.9
    assert model.x[0].bounds == (-1, 1)  # the user's bounds stay: the block holds the box
    assert len(model.nn.input_box) > 0


def test_integers_around_count_for_milp_and_round_ranges() -> None:
    """x = 0.3 k with 0.35 <= x <= 1.3 and k whole: x in {0.6, 0.9, 1.2}."""
    model = pyo.ConcreteModel()
    model.k = pyo.Var(domain=pyo.Integers, bounds=(0, 10))
    model.x = pyo.Var(bounds=(0.35, 1.3))
    model.nn = ReLUBlock(add(1, -0.5), inputs=[model.x])
    model.step = pyo.Constraint(expr=model.x == 0.3 * model.k)
    assert tighten(model, effort="interval").report["unstable_after"].item() == 0
    box = model.nn.activation_bounds.box
    assert box.lower[0] == pytest.approx(0.6)
    assert box.upper[0] == pytest.approx(1.2)
    assert rows_named(model.nn, "range") == 0
    model.cost = pyo.Objective(expr=model.nn.outputs[0])
    assert solve(model) == pytest.approx(0.1, abs=1e-6)


def test_what_is_not_linear_is_left_out_and_said(make_network: MakeNetwork, caplog: pytest.LogCaptureFixture) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.nn = ReLUBlock(make_network((2, 6, 1), 0), inputs=model.x)
    model.disc = pyo.Constraint(expr=model.x[0] ** 2 + model.x[1] ** 2 <= 0.5)
    model.half = pyo.Constraint(expr=model.x[0] + model.x[1] <= 0)
    model.cost = pyo.Objective(expr=pyo.exp(model.nn.outputs[0]))
    with caplog.at_level(logging.INFO, logger="omlt_ext"):
        tighten(model, effort="lp")
    assert "1 constraints that are not linear are left out: disc" in caplog.text
    x = np.random.default_rng(0).uniform(-1, 1, (5000, 2))
    check_inside(model.nn, x[(x.sum(axis=1) <= 0) & ((x**2).sum(axis=1) <= 0.5)])
    corner = np.array([[-1.0, -1.0]])  # outside the disc only
    check_inside(model.nn, corner)


def test_a_copy_leaves_the_original_alone(make_network: MakeNetwork) -> None:
    model = supply(make_network)
    bounds, layer = model.nn.activation_bounds, model.nn.layer
    with ThreadPoolExecutor(1) as executor:
        copy = pyo.TransformationFactory(NAME).create_using(model, effort="dual", executor=executor)
    assert model.nn.activation_bounds is bounds
    assert model.nn.layer is layer
    assert copy.nn.activation_bounds.n_unstable < bounds.n_unstable
    assert copy.nn.inputs[0] is copy.x[0]
    assert solve(copy) == pytest.approx(solve(model), rel=1e-6)


def test_rebuild_forgets_and_applying_again_begins_anew() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.nn = ReLUBlock(add(2, 0.0), inputs=model.x)
    model.side = pyo.Constraint(expr=model.x[0] <= -0.5)
    model.none = pyo.Constraint(expr=model.nn.outputs[0] <= 0)
    model.cost = pyo.Objective(expr=model.x[0] + model.x[1], sense=pyo.maximize)
    own = model.nn.activation_bounds
    tighten(model, effort="lp")
    assert model.nn.activation_bounds.n_unstable == 0
    assert model.nn.activation_bounds.box.upper[0] == pytest.approx(-0.5)
    assert solve(model) == pytest.approx(0.0, abs=1e-6)
    model.side.deactivate()
    model.none.deactivate()
    again = model.clone()
    model.nn.rebuild()
    assert model.nn.activation_bounds.box.upper[0] == 1.0
    assert model.nn.activation_bounds.upper[0] == own.upper[0]
    assert solve(model) == pytest.approx(2.0, abs=1e-6)
    tighten(again)
    assert again.nn.activation_bounds.n_unstable == 1
    assert solve(again) == pytest.approx(2.0, abs=1e-6)


def test_inputs_and_outputs_of_the_blocks_own() -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(add(2, 0.0), input_bounds=(-1, 1))
    model.cap = pyo.Constraint(expr=model.nn.outputs[0] <= 0.5)
    model.side = pyo.Constraint(expr=model.nn.inputs[0] >= 0.25)
    model.cost = pyo.Objective(expr=model.nn.inputs[0] + 0 * model.nn.outputs[0], sense=pyo.maximize)
    tighten(model, effort="lp")
    assert model.nn.inputs[0].bounds == (-1, 1)
    assert model.nn.activation_bounds.box.lower[0] == pytest.approx(0.25)
    assert model.nn.outputs[0].ub == pytest.approx(0.5)
    assert solve(model) == pytest.approx(1.0, abs=1e-6)
    model.nn.rebuild()
    assert model.nn.component("input_box") is None
    assert model.nn.activation_bounds.box.lower[0] == -1
    assert model.nn.outputs[0].ub == pytest.approx(2.0)


def test_bounds_that_were_narrow_only_for_a_while_are_noticed() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.nn = ReLUBlock(add(2, -0.5), inputs=model.x)
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    model.x[0].setub(-1)
    tighten(model)
    assert model.nn.activation_bounds.n_unstable == 0
    assert model.nn.stale_inputs() == []
    model.x[0].setub(1)
    assert model.nn.stale_inputs() == [0]
    for attempt in (lambda: solve(model), lambda: tighten(model)):
        with pytest.raises(ModelError, match=r"nn.rebuild\(\)"):
            attempt()
    model.nn.rebuild()
    assert solve(model) == pytest.approx(1.5)


def test_bounds_of_the_users_on_outputs_of_the_blocks_own_stay() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.nn = ReLUBlock(add(2, 0.0), inputs=model.x)
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    model.nn.outputs[0].setub(0.5)
    model.side = pyo.Constraint(expr=model.nn.outputs[0] >= 0.25)
    for _ in range(2):
        tighten(model, effort="interval")
        assert model.nn.activation_bounds.upper[-1][0] == 0.5
        assert model.nn.outputs[0].bounds == (0.25, 0.5)
        assert solve(model) == pytest.approx(0.5)
    model.side.deactivate()
    model.nn.rebuild()
    assert model.nn.outputs[0].bounds == (0.0, 0.5)


def test_fixed_variables_count_with_their_bounds() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(0, 1))
    model.budget = pyo.Var(bounds=(0, 1.2))
    model.nn = ReLUBlock(add(2, -1.5), inputs=model.x)
    model.limit = pyo.Constraint(expr=model.x[0] + model.x[1] <= model.budget)
    model.budget.fix(0.1)
    model.x[1].fix(0.0)
    tighten(model)
    assert model.budget.fixed
    assert model.x[1].fixed
    upper = model.nn.activation_bounds.upper[0][0]
    assert -0.3 <= upper <= -0.29  # 1.2 - 1.5, not 0.1 - 1.5
    model.budget.fix(7.0)  # outside its own bounds: the range is extended to it
    tighten(model)
    assert model.nn.activation_bounds.upper[0][0] == pytest.approx(0.5)


def test_nested_indexed_and_deactivated_blocks(make_network: MakeNetwork) -> None:
    network = make_network((2, 6, 1), 0)

    def hour(block: Any, t: int) -> None:
        block.x = pyo.Var(range(2), bounds=(-1, 1))
        block.nn = ReLUBlock(network, inputs=block.x)
        block.low = pyo.Constraint(expr=block.x[0] + block.x[1] <= -0.5 * t)

    model = pyo.ConcreteModel()
    model.hour = pyo.Block(range(3), rule=hour)
    model.hour[2].nn.deactivate()
    untouched = model.hour[2].nn.activation_bounds
    model.ramp = pyo.Constraint(expr=model.hour[1].x[0] >= model.hour[0].x[0] + 0.5)
    report = tighten(model, effort="lp").report
    assert report["block"].tolist() == ["hour[0].nn", "hour[1].nn"]
    assert model.hour[2].nn.activation_bounds is untouched
    # hour 1 has x_1 >= -1 and x_0 + x_1 <= -1/2, so x_0 <= 1/2, and hour 0 lies 1/2 below it
    assert model.hour[0].nn.activation_bounds.box.upper[0] == pytest.approx(0.0, abs=1e-12)
    assert model.hour[1].nn.activation_bounds.box.lower[0] == pytest.approx(-0.5)


def test_two_networks_on_the_same_inputs(make_network: MakeNetwork) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.one = ReLUBlock(make_network((2, 6, 1), 7), inputs=model.x)
    model.two = ReLUBlock(make_network((2, 8, 1), 1), inputs=model.x)
    x = np.random.default_rng(0).uniform(-1, 1, (20000, 2))
    cut = float(np.quantile(model.one.network(x), 0.02))
    model.low = pyo.Constraint(expr=model.one.outputs[0] <= cut)
    report = tighten(model, effort="lp").report.set_index("block")
    assert report.loc["two", "width_after"] < report.loc["two", "width_before"]
    inside = x[model.one.network(x)[:, 0] <= cut]
    check_inside(model.one, inside)
    check_inside(model.two, inside)


def test_one_variable_as_two_inputs() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(-1, 1))
    network = Network([Layer([[1.0, -1.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    model.nn = ReLUBlock(network, inputs=[model.x, model.x])  # x - x = 0
    model.half = pyo.Constraint(expr=model.x <= 0.5)
    tighten(model, effort="lp")
    bounds = model.nn.activation_bounds
    assert bounds.lower[0][0] == pytest.approx(0.0, abs=1e-6)
    assert bounds.upper[0][0] == pytest.approx(0.0, abs=1e-6)
    assert bounds.box.upper.tolist() == [0.5, 0.5]


def test_expressions_as_inputs(make_network: MakeNetwork) -> None:
    model = pyo.ConcreteModel()
    model.a, model.b = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1))
    model.nn = ReLUBlock(make_network((2, 6, 1), 0), inputs=[model.a + model.b, 0.25])
    model.share = pyo.Constraint(expr=model.a + model.b <= 0.5)
    model.cost = pyo.Objective(expr=model.nn.outputs[0])
    before = solve(model)
    tighten(model, effort="lp")
    assert model.nn.activation_bounds.box.upper[0] == pytest.approx(0.5)
    assert solve(model) == pytest.approx(before, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("effort", ["interval", "dual", "lp", "milp"])
def test_infeasible_models_are_said_and_left_as_they_were(make_network: MakeNetwork, effort: str) -> None:
    model = supply(make_network)
    model.no = pyo.Constraint(expr=model.nn.outputs[1] >= 1e4)
    bounds = model.nn.activation_bounds
    with pytest.raises(ModelError, match="no point satisfies the networks and the constraints around them"):
        tighten(model, effort=effort)
    assert model.nn.activation_bounds is bounds


def test_infeasible_as_only_an_lp_can_see() -> None:
    """x_0 + x_1 <= 1 and x_0 - x_1 = 0 and x_0 + 3 x_1 >= 2.1: each pair of ranges is possible."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(0, 1))
    model.nn = ReLUBlock(add(2, -1.0), inputs=model.x)
    model.one = pyo.Constraint(expr=model.x[0] + model.x[1] <= 1)
    model.two = pyo.Constraint(expr=model.x[0] - model.x[1] == 0)
    model.three = pyo.Constraint(expr=model.nn.outputs[0] + model.x[0] + 3 * model.x[1] >= 2.1)
    with pytest.raises(ModelError, match="no point"):
        tighten(model, effort="lp")


def test_feasible_within_a_solvers_tolerance_is_not_infeasible() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(0, 1))
    model.nn = ReLUBlock(add(1, -0.2), inputs=[model.x])
    model.one = pyo.Constraint(expr=model.x >= 0.1 + 0.2)
    model.two = pyo.Constraint(expr=model.x <= 0.3)  # 0.1 + 0.2 > 0.3 in floating point
    tighten(model)
    assert model.nn.activation_bounds.box.lower[0] == pytest.approx(0.3, abs=1e-5)
    assert model.nn.activation_bounds.n_unstable == 0


def test_bounds_of_the_users_on_layers_are_kept() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.nn = ReLUBlock(add(2, 0.0), inputs=model.x)
    model.cost = pyo.Objective(expr=model.x[0] + model.x[1], sense=pyo.maximize)
    model.nn.layer[0].z[0].setub(-0.5)
    other = model.clone()
    other.nn.layer[0].z[0].setub(2)
    other.nn.layer[0].sigma[0].setub(0)
    for _ in range(2):  # and again, though there is no z any more
        tighten(model)
        tighten(other)
        assert model.nn.activation_bounds.upper[0][0] == -0.5
        assert not list(model.nn.layer[0].z)
        assert solve(model) == pytest.approx(-0.5, abs=1e-6)
        assert solve(other) == pytest.approx(0.0, abs=1e-6)
    model.nn.rebuild()
    assert solve(model) == pytest.approx(2.0, abs=1e-6)


def test_after_pyomos_own_propagation(make_network: MakeNetwork) -> None:
    model = supply(make_network)
    before = solve(model)
    fbbt(model)
    tighten(model, effort="dual")
    assert solve(model) == pytest.approx(before, rel=1e-6)


def spoil_with_constraint(model: Any) -> None:
    model.extra = pyo.Constraint(expr=model.nn.layer[0].z[0] <= 1)


def spoil_with_objective(model: Any) -> None:
    model.cost.expr = model.nn.layer[0].h[0] + model.cost.expr


def spoil_with_expression(model: Any) -> None:
    model.shown = pyo.Expression(expr=model.nn.layer[0].z[0])


def spoil_with_constraint_in_the_layer(model: Any) -> None:
    model.nn.layer[0].extra = pyo.Constraint(expr=model.x[0] <= 1)


def spoil_with_fixing(model: Any) -> None:
    next(iter(model.nn.layer[0].sigma.values())).fix(1)


def spoil_with_relaxing(model: Any) -> None:
    next(iter(model.nn.layer[0].sigma.values())).domain = pyo.UnitInterval


def spoil_with_deactivated_rows(model: Any) -> None:
    model.nn.layer[1].affine.deactivate()


def spoil_with_wider_bounds(model: Any) -> None:
    model.x[0].setub(3)


def spoil_with_a_value_outside(model: Any) -> None:
    model.x[0].fix(5)


def spoil_with_inputs_in_a_layer(model: Any) -> None:
    model.third = ReLUBlock(add(1, 0.0), inputs=[model.nn.layer[0].h[0]], input_bounds=(0, 1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_with_constraint, r"extra uses nn.layer\[0\].z\[0\]"),
        (spoil_with_objective, "cost uses nn.layer"),
        (spoil_with_expression, "shown uses nn.layer"),
        (spoil_with_constraint_in_the_layer, r"nn.layer\[0\].extra lies in a layer"),
        (spoil_with_fixing, "is fixed"),
        (spoil_with_relaxing, "has another domain"),
        (spoil_with_deactivated_rows, "no longer the network"),
        (spoil_with_wider_bounds, r"nn.rebuild\(\)"),
        (spoil_with_a_value_outside, r"nn.rebuild\(\)"),
        (spoil_with_inputs_in_a_layer, "an input of third uses nn.layer"),
    ],
)
def test_models_that_use_what_is_written_anew(
    make_network: MakeNetwork, spoil: Callable[[Any], None], message: str
) -> None:
    model = supply(make_network)
    spoil(model)
    bounds = model.nn.activation_bounds
    with pytest.raises(ModelError, match=message):
        tighten(model)
    assert model.nn.activation_bounds is bounds


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"effor": "lp"}, TypeError, "effor"),
        ({"effort": "hard"}, BoundsError, "unknown effort 'hard'"),
        ({"rounds": 0}, OptionError, "rounds is 0"),
        ({"rounds": True}, OptionError, "rounds is True"),
        ({"time_limit": -1}, OptionError, "seconds is -1"),
        ({"effort": Effort("lp", solver="gurobi")}, OptionError, "solver is 'gurobi'"),
        ({"executor": 3}, OptionError, "executor is 3"),
    ],
)
def test_bad_keywords(
    make_network: MakeNetwork, keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tighten(supply(make_network), **keywords)


def test_models_without_blocks_and_things_that_are_no_models(make_network: MakeNetwork) -> None:
    model = pyo.ConcreteModel("empty")
    with pytest.raises(ModelError, match="empty: there is no active ReLUBlock"):
        tighten(model)
    model.x = pyo.Var(range(2), bounds=(0, 1))
    model.off = Disjunct()
    model.off.nn = ReLUBlock(make_network((2, 3, 1), 0), inputs=model.x)
    model.on = Disjunct()
    model.either = Disjunction(expr=[model.off, model.on])
    with pytest.raises(ModelError, match="no active ReLUBlock"):
        tighten(model)


def test_a_time_limit_keeps_valid_bounds(make_network: MakeNetwork) -> None:
    model = supply(make_network)
    transformation = tighten(model, effort="milp", time_limit=0.0)
    assert any("time limit" in note or "stopped" in note for note in transformation.notes)
    points = supply_points(model)
    check_inside(model.nn, points)
    check_inside(model.second, model.nn.network(points))


def test_workers_change_nothing(make_network: MakeNetwork, capfd: pytest.CaptureFixture[str]) -> None:
    alone, shared = supply(make_network), supply(make_network)
    effort = Effort("lp", chunk_rows=4)
    tighten(alone, effort=effort, progress=True)
    assert "layer/s" in capfd.readouterr().err
    with ProcessPoolExecutor(2) as executor:
        tighten(shared, effort=effort, executor=executor)
    for name in ("nn", "second"):
        one, other = getattr(alone, name).activation_bounds, getattr(shared, name).activation_bounds
        for side in ("lower", "upper"):
            for a, b in zip(getattr(one, side), getattr(other, side), strict=True):
                np.testing.assert_array_equal(a, b)


def test_columns_without_ends_do_not_spoil_the_lps(make_network: MakeNetwork) -> None:
    model = supply(make_network)
    model.profit, model.loss = pyo.Var(), pyo.Var()
    model.free = pyo.Constraint(expr=model.profit - model.loss == model.second.outputs[0])
    model.same = pyo.Constraint(expr=model.profit + model.loss == 3)
    plain = supply(make_network)
    report, expected = tighten(model, effort="lp").report, tighten(plain, effort="lp").report
    assert report["width_after"].tolist() == pytest.approx(expected["width_after"].tolist(), rel=1e-6)


def test_given_bounds_are_used(make_network: MakeNetwork) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    network = make_network((2, 4, 1), 0)
    model.nn = ReLUBlock(network, inputs=model.x, effort="interval")
    box, old = model.nn.activation_bounds.box, model.nn.activation_bounds
    exact = [(np.minimum(low, 0), np.maximum(high, 0)) for low, high in zip(old.lower, old.upper, strict=True)]
    narrow = Bounds.of(network, box, [low for low, _ in exact], [np.full(4, 0.125), exact[1][1]])
    model.nn.rebuild(bounds=narrow)
    tighten(model, effort="interval")
    assert (model.nn.activation_bounds.upper[0] <= 0.125).all()


def random_model(make_network: MakeNetwork, seed: int) -> pyo.ConcreteModel:
    """Random rows on inputs and outputs that one random point satisfies, and maybe a second network."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(n), bounds=(-1, 2))
    network = make_network((n, int(rng.integers(2, 7)), int(rng.integers(2, 6)), m), seed, relu_output=seed % 3 == 0)
    if seed % 2:
        model.y = pyo.Var(range(m))
        model.nn = ReLUBlock(network, inputs=model.x, outputs=model.y)
    else:
        model.nn = ReLUBlock(network, inputs=model.x)
    y, x0 = model.nn.outputs, rng.uniform(-1, 2, n)
    y0 = network(x0)
    model.rows = pyo.ConstraintList()

    def row(a: np.ndarray, b: np.ndarray) -> None:
        body = sum(float(a[i]) * model.x[i] for i in range(n)) + sum(float(b[j]) * y[j] for j in range(m))
        model.rows.add(body <= float(a @ x0 + b @ y0) + 0.3 * rng.random())

    for _ in range(2):
        row(rng.normal(size=n), np.zeros(m))
        row(rng.normal(size=n) * (seed % 5 > 1), rng.normal(size=m))
    y[0].setub(float(y0[0]) + 0.1)
    if seed % 4 > 1:
        model.w = pyo.Var(bounds=(-1, 1))
        second = make_network((m + 1, 4, 3, 1), seed + 1)
        model.second = ReLUBlock(second, inputs=[*y.values(), model.w], input_bounds=(-100, 100))
        model.rows.add(model.second.outputs[0] <= float(second(np.append(y0, 0.3))[0]) + 0.1)
        model.rows.add(model.w + model.x[0] <= 0.3 + float(x0[0]))
    c, d = rng.normal(size=n), rng.normal(size=m)
    model.cost = pyo.Objective(
        expr=sum(float(c[i]) * model.x[i] for i in range(n)) + sum(float(d[j]) * y[j] for j in range(m)),
        sense=pyo.maximize if seed % 7 > 3 else pyo.minimize,
    )
    return model


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("effort", ["dual", "lp"])
def test_random_models_keep_their_optimum(make_network: MakeNetwork, seed: int, effort: str) -> None:
    model, tight = random_model(make_network, seed), random_model(make_network, seed)
    report = tighten(tight, effort=effort).report
    assert report["width_after"].sum() < report["width_before"].sum()
    assert solve(tight) == pytest.approx(solve(model), rel=1e-5, abs=1e-5)
    assert max(block.get_error() for block in blocks(tight)) < 1e-5


def test_an_executor_that_is_gone_is_said_and_done_without(make_network: MakeNetwork) -> None:
    model, alone = supply(make_network), supply(make_network)
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    transformation = tighten(model, effort="lp", executor=executor)
    assert any("takes no more tasks" in note for note in transformation.notes)
    assert transformation.report.equals(tighten(alone, effort="lp").report)


def test_rows_of_held_neurons() -> None:
    layer = Layer([[1.0, -2.0], [1.0, 1.0], [3.0, 0.0]], [0.5, 0.0, 0.0], relu=True)
    held = np.array([True, True, False])
    bounds = LayerBounds([-1.0, 0.25, -1.0], [-0.5, 2.0, 2.0], [-1, -1], [1, 1], held)
    lines = str(BigM().encode(layer, bounds)).splitlines()
    assert lines[-5:-3] == ["range[0]: -1.5 <= x[0] - 2 x[1] <= -1", "range[1]: 0.25 <= z[1] <= 2"]
    assert not any(line.startswith("z[0] ") for line in lines)
    free = str(BigM().encode(layer, LayerBounds(*([-1.0, 0.25, -1.0], [-0.5, 2.0, 2.0], [-1, -1], [1, 1]))))
    assert "range" not in free


@pytest.mark.parametrize("change", ["bound", "parameter", "deactivated", "deleted"])
def test_bounds_whose_ground_is_gone_are_refused(change: str) -> None:
    """The solver here looks whether what the bounds rely on still stands; rebuild() forgets them."""
    network = Network([Layer([[1.0, 1.0]], [-1.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
    model = pyo.ConcreteModel()
    model.x, model.y = pyo.Var(range(2), bounds=(0, 1)), pyo.Var([0], bounds=(-9, 0.2))
    model.budget = pyo.Param(initialize=1.6, mutable=True)
    model.nn = ReLUBlock(network, inputs=model.x, outputs=model.y)
    model.row = pyo.Constraint(expr=model.x[0] + model.x[1] <= model.budget)
    model.goal = pyo.Objective(expr=-model.y[0])
    pyo.TransformationFactory("omlt_ext.tighten_bounds").apply_to(model)
    solver = pyo.SolverFactory("omlt_ext.highs")
    solver.solve(model)
    assert pyo.value(model.goal) == pytest.approx(-0.1)
    model.tighter = pyo.Constraint(expr=model.x[0] <= 0.55)
    model.budget.set_value(1.58)
    solver.solve(model)  # tighter than it was: that is no reason to refuse
    assert pyo.value(model.goal) == pytest.approx(-0.05)
    model.del_component(model.tighter)
    if change == "bound":
        model.y[0].setub(9)
    elif change == "parameter":
        model.budget.set_value(2)
    elif change == "deactivated":
        model.row.deactivate()
    else:
        model.del_component(model.row)
    with pytest.raises(ModelError, match=r"since the model was tightened.*rebuild"):
        solver.solve(model)
    model.nn.rebuild()
    solver.solve(model)
    expected = {"bound": 0.08, "parameter": 0.2, "deactivated": 0.2, "deleted": 0.2}[change]
    assert pyo.value(model.goal) == pytest.approx(-expected, abs=1e-6)


def test_a_copy_is_watched_on_its_own() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(0, 1))
    network = Network([Layer([[1.0, 1.0]], [-1.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
    model.nn = ReLUBlock(network, inputs=model.x)
    model.row = pyo.Constraint(expr=model.x[0] + model.x[1] <= 1)
    model.goal = pyo.Objective(expr=-model.nn.outputs[0])
    pyo.TransformationFactory("omlt_ext.tighten_bounds").apply_to(model)
    copy = model.clone()
    copy.row.deactivate()
    with pytest.raises(ModelError, match="row is deactivated"):
        pyo.SolverFactory("omlt_ext.highs").solve(copy)
    pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert pyo.value(model.goal) == pytest.approx(0.0)
