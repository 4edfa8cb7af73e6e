"""SolverFactory("omlt_ext.highs"): any mixed-integer linear model, checked against its networks."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo
import pytest
from decisions import decisions

from omlt_ext import Layer, Network, ReLUBlock, pyomo_solver
from omlt_ext.bridge import compile_model
from omlt_ext.errors import ModelError, OptionError, SolverError
from omlt_ext.solvers import SolveResult

Termination = pyo.TerminationCondition


@pytest.fixture
def network(make_network: Callable[..., Network]) -> Network:
    return make_network((4, 12, 10, 2), 3)


def design(network: Network) -> pyo.ConcreteModel:
    """A model with its own integers, budget and logic around the network."""
    model = decisions(4.0)
    model.nn = ReLUBlock(network, inputs=model.x)
    model.cost = pyo.Objective(expr=model.nn.outputs[0] + 0.3 * model.lots + 7.0, sense=pyo.maximize)
    return model


def test_agrees_with_pyomos_own_highs(network: Network) -> None:
    ours, theirs = design(network), design(network)
    results = pyo.SolverFactory("omlt_ext.highs").solve(ours, gap=0.0)
    pyo.SolverFactory("appsi_highs").solve(theirs)
    assert pyo.value(ours.cost) == pytest.approx(pyo.value(theirs.cost), rel=1e-4)
    pyo.assert_optimal_termination(results)
    assert results.problem.upper_bound == pytest.approx(pyo.value(ours.cost), rel=1e-6)
    assert results.problem.lower_bound == pytest.approx(pyo.value(ours.cost))
    for constraint in ours.component_data_objects(pyo.Constraint, active=True):
        body = pyo.value(constraint.body)
        assert constraint.lb is None or body >= constraint.lb - 1e-6
        assert constraint.ub is None or body <= constraint.ub + 1e-6


def test_minimisation_and_constant_objectives(network: Network) -> None:
    model = design(network)
    model.cost.set_value(-(model.nn.outputs[0] + 0.3 * model.lots + 7.0))
    model.cost.sense = pyo.minimize
    reference = design(network)
    pyo.SolverFactory("omlt_ext.highs").solve(reference, gap=0.0)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model, gap=0.0)
    assert pyo.value(model.cost) == pytest.approx(-pyo.value(reference.cost), abs=1e-6)
    assert results.problem.lower_bound <= pyo.value(model.cost) + 1e-6


def test_model_without_objective_or_network() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(domain=pyo.Integers, bounds=(0, 10))
    model.c = pyo.Constraint(expr=3 * model.x >= 7)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert results.solver.termination_condition == Termination.optimal
    assert model.x.value >= 3


def test_infeasible_surroundings(network: Network) -> None:
    model = design(network)
    model.no = pyo.Constraint(expr=model.nn.outputs[1] >= 1e4)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert results.solver.termination_condition == Termination.infeasible
    assert model.x[0].value is None


def test_constraint_without_variables_that_cannot_hold(network: Network) -> None:
    model = design(network)
    model.x.fix(0.0)
    model.no = pyo.Constraint(expr=model.x[0] + model.x[1] >= 1.0)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert results.solver.termination_condition == Termination.infeasible


def test_fixed_variables_and_deactivated_parts(network: Network) -> None:
    model = design(network)
    model.x[0].fix(1.0)
    model.chosen[0].fix(1)
    model.budget.deactivate()
    pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert model.x[0].value == 1.0
    assert model.nn.get_error() < 1e-6
    model.nn.deactivate()
    model.cost.set_value(model.lots)
    pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert model.lots.value == 5


def test_relaxed_binaries_are_respected(network: Network) -> None:
    model = design(network)
    exact = pyo.SolverFactory("omlt_ext.highs").solve(model).problem.upper_bound
    relaxed = pyo.TransformationFactory("core.relax_integer_vars").create_using(model)
    compiled = compile_model(relaxed)
    assert not compiled.matrix.integer.any()
    logging.disable(logging.WARNING)  # an LP point is no point of the network, and the solver says so
    try:
        bound = pyo.SolverFactory("omlt_ext.highs").solve(relaxed).problem.upper_bound
    finally:
        logging.disable(logging.NOTSET)
    assert bound >= exact - 1e-6


def test_flags_are_put_back(network: Network) -> None:
    model = design(network)
    rows = list(model.component_data_objects(pyo.Constraint))
    rows[-1].deactivate()
    before = [row.active for row in rows]
    compile_model(model)
    assert [row.active for row in rows] == before
    model.bad = pyo.Constraint(expr=model.x[0] ** 2 <= 1)
    with pytest.raises(ModelError, match="bad"):
        compile_model(model)
    assert [row.active for row in rows] == before


def test_deactivated_rows_of_a_network_are_left_out(network: Network) -> None:
    model = design(network)
    full = compile_model(model).matrix.n_rows
    row = next(iter(model.nn.layer[0].relu_active.values()))
    row.deactivate()
    assert compile_model(model).matrix.n_rows == full - 1
    model.nn.layer[1].deactivate()
    assert compile_model(model).matrix.n_rows < full - 10


def nonlinear(model: pyo.ConcreteModel) -> None:
    model.bad = pyo.Constraint(expr=model.x[0] * model.x[1] <= 1)


def nonlinear_objective(model: pyo.ConcreteModel) -> None:
    model.cost.set_value(model.nn.outputs[0] ** 2)


def sos(model: pyo.ConcreteModel) -> None:
    model.sos = pyo.SOSConstraint(var=model.x, sos=1)


def two_objectives(model: pyo.ConcreteModel) -> None:
    model.second = pyo.Objective(expr=model.x[0])


def odd_domain(model: pyo.ConcreteModel) -> None:
    model.odd = pyo.Var(domain=pyo.Set(initialize=[0, 5, 7]))
    model.use = pyo.Constraint(expr=model.odd <= 6)


@pytest.mark.parametrize("spoil", [nonlinear, nonlinear_objective, sos, two_objectives, odd_domain])
def test_models_that_are_not_mixed_integer_linear(network: Network, spoil: Callable[[pyo.ConcreteModel], None]) -> None:
    model = design(network)
    spoil(model)
    with pytest.raises(ModelError):
        pyo.SolverFactory("omlt_ext.highs").solve(model)


def test_unknown_keywords_and_options(network: Network) -> None:
    model = design(network)
    with pytest.raises(TypeError, match="unknown keyword 'time_limits'"):
        pyo.SolverFactory("omlt_ext.highs").solve(model, time_limits=3)
    with pytest.raises(SolverError, match="'mip_rel_gaps'"):
        pyo.SolverFactory("omlt_ext.highs").solve(model, options={"mip_rel_gaps": 0.1})
    with pytest.raises(TypeError, match="colour"):
        pyomo_solver.NetworkHighs(colour="red")


def test_keywords_as_defaults_of_the_solver(network: Network, capfd: pytest.CaptureFixture[str]) -> None:
    with pyo.SolverFactory("omlt_ext.highs", tee=True) as solver:
        assert solver.available()
        solver.options["mip_rel_gap"] = 0.5
        solver.solve(design(network))
    assert "HiGHS" in capfd.readouterr().out


def test_start_is_feasible_and_from_a_forward_pass(network: Network) -> None:
    compiled = compile_model(design(network))
    start = pyomo_solver.find_start(compiled)
    assert start is not None
    assert compiled.matrix.violation(start) < 1e-6
    assert compiled.matrix.networks[0].error(start) < 1e-6


def test_users_values_are_the_first_start(network: Network) -> None:
    model = design(network)
    point = [0.0, 1.5, 0.5, 0.0]
    for i, value in enumerate(point):
        model.x[i].value = value
        model.chosen[i].value = int(value > 0)
    model.lots.value = 0
    model.nn.set_values_from(point)
    start = pyomo_solver.find_start(compile_model(model))
    assert start is not None


def test_time_limit_returns_the_best_so_far_with_the_dual_bound(make_network: Callable[..., Network]) -> None:
    large = make_network((20, 60, 60, 1), 0)
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(large, input_bounds=(0, 1))
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model, time_limit=3)
    assert results.solver.termination_condition == Termination.maxTimeLimit
    value = pyo.value(model.cost)
    x = [variable.value for variable in model.nn.inputs.values()]
    assert value == pytest.approx(large(x)[0], rel=1e-6)
    assert results.problem.lower_bound == pytest.approx(value)
    samples = large(np.random.default_rng(0).random((20000, 20)))[:, 0].max()
    assert results.problem.upper_bound >= max(value, samples)


def test_a_point_that_differs_from_the_network_is_settled(network: Network) -> None:
    compiled = compile_model(design(network))
    matrix = compiled.matrix
    good = pyomo_solver.find_start(compiled)
    assert good is not None
    bad = good.copy()
    bad[matrix.networks[0].outputs] += 0.1
    checked = pyomo_solver.check_point(matrix, bad, 1e-5)
    assert checked.error < 1e-6
    assert matrix.violation(checked.x) < 1e-6


def test_a_difference_that_stays_is_said(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    """With its rows deactivated the block's outputs are free: the solver must not pass that off as an answer."""
    model = design(network)
    model.nn.layer[2].affine.deactivate()
    with caplog.at_level(logging.WARNING, logger="omlt_ext"):
        results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert results.solver.status == pyo.SolverStatus.warning
    assert results.solver.termination_condition == Termination.other
    assert "differs from the network" in str(results.solver.message)
    assert "differs from the network" in caplog.text


def test_no_point_is_said(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    model = design(network)
    model.no = pyo.Constraint(expr=model.nn.outputs[1] >= 1e4)
    with caplog.at_level(logging.WARNING, logger="omlt_ext"):
        pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert "infeasible, no point found; variables stay as they are" in caplog.text


def test_a_value_fixed_outside_the_box_is_refused(network: Network) -> None:
    model = design(network)
    model.x[0].fix(3.0)
    with pytest.raises(ModelError, match=r"input 0 .* fixed outside"):
        pyo.SolverFactory("omlt_ext.highs").solve(model)
    model.x[0].fix(None)
    with pytest.raises(ModelError, match=r"x\[0\] is fixed but has no value"):
        pyo.SolverFactory("omlt_ext.highs").solve(model)


@pytest.mark.parametrize("keywords", [{"gap": "a"}, {"gap": np.nan}, {"time_limit": -1}, {"time_limit": np.nan}])
def test_numbers_that_cannot_be(network: Network, keywords: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="must be a number of at least 0"):
        pyo.SolverFactory("omlt_ext.highs").solve(design(network), **keywords)


@pytest.mark.parametrize("thing", [5, None, "model"])
def test_only_models(thing: object) -> None:
    with pytest.raises(ModelError, match="expected a Pyomo model or block"):
        pyo.SolverFactory("omlt_ext.highs").solve(thing)


def test_variables_of_layers_from_before_a_rebuild(network: Network) -> None:
    model = design(network)
    model.mine = pyo.Constraint(expr=sum(model.nn.layer[0].sigma.values()) >= 1)
    model.nn.rebuild()
    with pytest.raises(ModelError, match="before a rebuild"):
        pyo.SolverFactory("omlt_ext.highs").solve(model)


def test_deactivated_layers_leave_the_outputs_free(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x, model.y = pyo.Var(range(4), bounds=(0, 2)), pyo.Var(range(2), bounds=(-1e3, 1e3))
    model.nn = ReLUBlock(network, inputs=model.x, outputs=model.y)
    model.nn.layer[2].deactivate()
    model.cost = pyo.Objective(expr=model.y[0], sense=pyo.maximize)
    compiled = compile_model(model)
    column = [variable.name for variable in compiled.variables].index("y[0]")
    assert compiled.matrix.upper[column] == 1e3


def test_small_costs_beside_a_large_output() -> None:
    """An output of 1e8 with a weight of its own must not drown a cost of 4e-3."""
    network = Network([Layer([[1e8, 0.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    model = pyo.ConcreteModel()
    model.x, model.u = pyo.Var(range(2), bounds=(-1, 1)), pyo.Var(range(5), bounds=(0, 1), domain=pyo.Binary)
    model.nn = ReLUBlock(network, inputs=model.x)
    model.low = pyo.Constraint(expr=model.nn.outputs[0] <= 0)
    model.one = pyo.Constraint(expr=sum(model.u.values()) <= 3)
    model.cost = pyo.Objective(
        expr=1e-9 * model.nn.outputs[0] + sum(0.004 * (i + 1) * model.u[i] for i in range(5)), sense=pyo.maximize
    )
    results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    assert pyo.value(model.cost) == pytest.approx(0.048, abs=1e-5)
    assert results.problem.upper_bound >= 0.048 - 1e-9


@pytest.mark.parametrize("scale", [1e-5, 1e-7])
@pytest.mark.parametrize("seed", range(12))
def test_tiny_boxes_and_weights_are_feasible(make_network: Callable[..., Network], scale: float, seed: int) -> None:
    """A forward pass is a point of the model: it is never infeasible."""
    base = make_network((2, 5, 4, 1), seed)
    first = Layer(base.layers[0].weight * scale, base.layers[0].bias * scale, relu=True)
    for network, box in ((base, (0.3 - scale, 0.3 + scale)), (Network([first, *base.layers[1:]]), (-1, 1))):
        model = pyo.ConcreteModel()
        model.nn = ReLUBlock(network, input_bounds=box)
        model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
        results = pyo.SolverFactory("omlt_ext.highs").solve(model)
        assert results.problem.number_of_solutions == 1
        assert model.nn.get_error() < 1e-5


def test_load_solutions_false(network: Network) -> None:
    model = design(network)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model, load_solutions=False)
    assert model.x[0].value is None
    assert np.isfinite(results.problem.upper_bound)


def test_gap_is_honest(network: Network) -> None:
    model = design(network)
    exact = pyo.SolverFactory("omlt_ext.highs").solve(model, gap=0.0)
    loose = pyo.SolverFactory("omlt_ext.highs").solve(design(network), gap=0.5)
    assert loose.problem.upper_bound >= exact.problem.lower_bound - 1e-6
    assert loose.problem.lower_bound <= exact.problem.upper_bound + 1e-6


def test_a_bound_that_the_point_refutes_is_left_out(network: Network) -> None:
    compiled = compile_model(design(network))
    x = pyomo_solver.find_start(compiled)
    assert x is not None
    value = compiled.matrix.value(x)
    point = pyomo_solver.CheckedPoint(x, value, 0.0)
    claim = SolveResult("optimal", x, value, value - 1.0, 0, 0.0)  # a maximum below the value of a point
    settings = {"gap": None, "check_tolerance": 1e-5, "options": {}}
    results = pyomo_solver._results(compiled, claim, point, settings, 0.0)
    assert results.problem.upper_bound == np.inf
    assert results.solver.termination_condition == Termination.other
    assert "contradicts" in str(results.solver.message)
