"""Cut rounds: on the LP of a model, before a solve, in a Pyomo model, for bounds, and at Gurobi's nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy import sparse

import omlt_ext.cut_rounds
from omlt_ext import Box, Effort, Layer, Network, Polytope, ReLUBlock, tighten_bounds
from omlt_ext.bridge import compile_model
from omlt_ext.cut_rounds import CutLP, add_cuts
from omlt_ext.errors import FormulationError, ModelError, OptionError
from omlt_ext.formulations import BigM, IdealCuts
from omlt_ext.formulations.balas import Balas
from omlt_ext.heuristics import maximize
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.pyomo_cuts import separation_of
from omlt_ext.separation import Separation
from omlt_ext.solvers import HighsSolver

MakeNetwork = Callable[..., Network]


@pytest.fixture(scope="module")
def small(make_network: MakeNetwork) -> tuple[Network, Box]:
    return make_network((3, 6, 5, 2), 4, scale=0.8), Box.full(3, -1, 1)


OBJECTIVE = np.array([1.0, -0.5])


def model_of(network: Network, box: Box, formulation: object, effort: str = "interval") -> MatrixModel:
    return network_model(network, tighten_bounds(network, box, effort), formulation, objective=OBJECTIVE)


def lp_value(model: MatrixModel) -> float:
    value = HighsSolver(model.relax()).solve().value
    assert value is not None
    return value


@pytest.mark.parametrize("effort", ["interval", "dual"])
@pytest.mark.parametrize("seed", range(4))
def test_converged_rounds_reach_the_extended_hull(make_network: MakeNetwork, seed: int, effort: str) -> None:
    network, box = make_network((4, 9, 8, 2), seed), Box.full(4, -1, 1)
    done = add_cuts(model_of(network, box, IdealCuts(tolerance=1e-6), effort), rounds=200)
    assert done.status == "converged"
    assert done.rounds > 1
    assert 0 < done.cuts.size <= done.found
    assert done.before == pytest.approx(lp_value(model_of(network, box, BigM(), effort)), abs=1e-6)
    assert done.after == pytest.approx(lp_value(model_of(network, box, Balas(), effort)), rel=1e-5)
    assert done.after < done.before - 1e-3
    assert lp_value(done.model) == pytest.approx(done.after, rel=1e-7)  # without the slack ones


def test_the_optimum_stays(small: tuple[Network, Box], brute_force: Callable[..., float]) -> None:
    network, box = small
    done = add_cuts(model_of(network, box, IdealCuts()))
    assert done.cuts.size > 0
    best = brute_force(network, box, OBJECTIVE)
    result = HighsSolver(done.model).solve(gap=0.0)
    assert result.value == pytest.approx(best, abs=1e-6)
    assert best <= done.after < done.before
    for x in box.sample(200, np.random.default_rng(0)):
        columns, values = done.model.networks[0].point(x)
        point = np.empty(done.model.n_columns)
        point[columns] = values
        assert (done.cuts.A @ point <= done.cuts.upper + 1e-12).all()


def test_more_rounds_are_never_weaker(small: tuple[Network, Box]) -> None:
    model = model_of(*small, IdealCuts())
    values = [add_cuts(model, rounds=rounds).after for rounds in range(5)]
    assert (np.diff(values) <= 1e-7).all()
    assert values[0] == pytest.approx(lp_value(model))
    assert add_cuts(model, rounds=0).status == "rounds"
    assert add_cuts(model_of(*small, IdealCuts(rounds=1))).rounds == 1


def test_a_model_without_separators_is_itself(small: tuple[Network, Box]) -> None:
    model = model_of(*small, BigM())
    done = add_cuts(model)
    assert (done.model, done.status, done.cuts.size, done.before) == (model, "converged", 0, None)


def test_no_time_and_ctrl_c_return_what_there_is(small: tuple[Network, Box], monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(*small, IdealCuts())
    late = add_cuts(model, time_limit=0.0)
    assert late.status == "time_limit"
    assert late.model.n_rows == model.n_rows
    solve, calls = CutLP.solve, []

    def pressed(lp: CutLP, time_limit: float | None = None) -> object:
        calls.append(time_limit)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return solve(lp, time_limit)

    monkeypatch.setattr(omlt_ext.cut_rounds.CutLP, "solve", pressed)
    stopped = add_cuts(model)
    assert stopped.status == "interrupted"
    assert stopped.rounds == 2
    assert stopped.cuts.size > 0
    assert stopped.after < stopped.before


def test_an_infeasible_model_is_said_to_be(small: tuple[Network, Box]) -> None:
    model = model_of(*small, IdealCuts())
    bound, strong = lp_value(model), add_cuts(model).after
    row = sparse.csr_array(model.c[None, :])
    asked = model.with_rows(row, np.array([0.5 * (bound + strong)]), np.array([np.inf]))
    assert add_cuts(asked).status == "infeasible"


def test_relaxed_binaries_get_no_cuts(small: tuple[Network, Box]) -> None:
    model = model_of(*small, IdealCuts())
    assert Separation(model)
    assert not Separation(model.relax())
    assert not Separation(model, [False])


def test_large_numbers_are_scaled(make_network: MakeNetwork) -> None:
    network = make_network((4, 9, 8, 2), 0)
    without_bias = Network([Layer(layer.weight, 0.0 * layer.bias, layer.relu) for layer in network.layers])
    cuts = IdealCuts(tolerance=1e-6)
    plain, large = (add_cuts(model_of(without_bias, Box.full(4, -r, r), cuts), rounds=100) for r in (1.0, 1e6))
    assert plain.status == large.status == "converged"
    assert large.before / 1e6 == pytest.approx(plain.before)
    assert large.after / 1e6 == pytest.approx(plain.after, rel=1e-5)
    assert plain.after < 0.99 * plain.before


def test_rows_added_and_removed_in_highs() -> None:
    free = {"row_lower": np.array([-np.inf]), "row_upper": np.array([8e6]), "integer": np.zeros(2, dtype=bool)}
    A = sparse.csr_array([[1.0, 1.0]])
    model = MatrixModel(
        c=np.array([1.0, 2.0]), offset=0.0, maximize=True, A=A, lower=np.zeros(2), upper=np.full(2, 5e6), **free
    )
    solver = HighsSolver(model)
    assert solver.solve().value == pytest.approx(13e6)
    solver.add_rows(sparse.csr_array([[0.0, 1.0], [1.0, -1.0]]), np.array([-np.inf, -1e6]), np.array([2e6, 1e9]))
    result = solver.solve()
    assert result.value == pytest.approx(9e6)
    assert solver.row_multipliers() == pytest.approx([0.0, 2.0, 0.0])
    solver.remove_rows(np.array([1]))
    assert solver.solve().value == pytest.approx(12.5e6)
    assert solver.row_multipliers().shape == (2,)


def test_maximize_with_cuts(small: tuple[Network, Box], brute_force: Callable[..., float]) -> None:
    network, box = small
    found = maximize(network, box, OBJECTIVE, formulation="ideal_cuts")
    assert found.status == "optimal"
    assert found.value == pytest.approx(brute_force(network, box, OBJECTIVE), rel=1e-3)


@pytest.fixture
def pyomo_model(small: tuple[Network, Box]) -> pyo.ConcreteModel:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.nn = ReLUBlock(small[0], inputs=model.x, formulation="ideal_cuts", effort="interval")
    model.gain = pyo.Objective(expr=model.nn.outputs[0] - 0.5 * model.nn.outputs[1], sense=pyo.maximize)
    return model


def test_cuts_in_a_pyomo_model(
    pyomo_model: pyo.ConcreteModel, small: tuple[Network, Box], brute_force: Callable[..., float]
) -> None:
    best = brute_force(*small, OBJECTIVE)
    transformation = pyo.TransformationFactory("omlt_ext.add_cuts")
    before = lp_value(compile_model(pyomo_model).matrix)
    transformation.apply_to(pyomo_model)
    report = transformation.report
    written = sum(len(layer.cuts) for layer in pyomo_model.nn.layer.values() if layer.component("cuts") is not None)
    assert written == report.cuts.size > 0
    assert lp_value(compile_model(pyomo_model).matrix) == pytest.approx(report.after)
    assert report.after < before - 1e-3
    results = pyo.SolverFactory("appsi_highs").solve(pyomo_model)
    assert results.solver.termination_condition == "optimal"
    assert pyo.value(pyomo_model.gain) == pytest.approx(best, abs=1e-5)
    copy = pyomo_model.clone()
    assert lp_value(compile_model(copy).matrix) == pytest.approx(report.after)
    transformation.apply_to(pyomo_model)  # once more: these take the place of those
    assert transformation.report.before == pytest.approx(before)
    pyo.TransformationFactory("omlt_ext.tighten_bounds").apply_to(pyomo_model)  # layers are written anew
    assert all(layer.component("cuts") is None for layer in pyomo_model.nn.layer.values())
    assert written == sum(len(layer.cuts) for layer in copy.nn.layer.values() if layer.component("cuts") is not None)


def test_create_using_leaves_the_model_alone(pyomo_model: pyo.ConcreteModel) -> None:
    copy = pyo.TransformationFactory("omlt_ext.add_cuts").create_using(pyomo_model, rounds=1)
    assert copy.nn.layer[0].component("cuts") is not None or copy.nn.layer[1].component("cuts") is not None
    assert all(layer.component("cuts") is None for layer in pyomo_model.nn.layer.values())


def test_our_solver_adds_cuts_by_itself(
    pyomo_model: pyo.ConcreteModel,
    small: tuple[Network, Box],
    brute_force: Callable[..., float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = []
    init = HighsSolver.__init__

    def seen(self: HighsSolver, model: MatrixModel, *arguments: object, **keywords: object) -> None:
        rows.append(model.n_rows)
        init(self, model, *arguments, **keywords)

    monkeypatch.setattr(HighsSolver, "__init__", seen)
    pyo.SolverFactory("omlt_ext.highs").solve(pyomo_model, time_limit=60)
    assert max(rows) > compile_model(pyomo_model).matrix.n_rows
    assert pyo.value(pyomo_model.gain) == pytest.approx(brute_force(*small, OBJECTIVE), abs=1e-5)


def test_a_block_that_was_loosened_gets_no_cuts(pyomo_model: pyo.ConcreteModel) -> None:
    assert separation_of(compile_model(pyomo_model))
    row = next(iter(pyomo_model.nn.layer[0].relu_inactive.values()))
    row.deactivate()
    assert not separation_of(compile_model(pyomo_model))
    loose = lp_value(compile_model(pyomo_model).matrix)
    with pytest.raises(ModelError, match="no ReLUBlock in it has a formulation with cuts and stands as it was written"):
        pyo.TransformationFactory("omlt_ext.add_cuts").apply_to(pyomo_model)
    assert lp_value(compile_model(pyomo_model).matrix) == loose
    row.activate()
    for sigma in pyomo_model.nn.layer[0].sigma.values():
        sigma.domain = pyo.UnitInterval
    assert not separation_of(compile_model(pyomo_model))


def test_what_the_transformation_refuses(pyomo_model: pyo.ConcreteModel) -> None:
    transformation = pyo.TransformationFactory("omlt_ext.add_cuts")
    with pytest.raises(TypeError):
        transformation.apply_to(pyomo_model, turns=3)
    with pytest.raises(OptionError, match="rounds is -1"):
        transformation.apply_to(pyomo_model, rounds=-1)
    with pytest.raises(OptionError, match="time_limit is 'no'"):
        transformation.apply_to(pyomo_model, time_limit="no")
    transformation.apply_to(pyomo_model)
    pyomo_model.gain.deactivate()
    with pytest.raises(ModelError, match="no active objective"):
        transformation.apply_to(pyomo_model)
    assert any(layer.component("cuts") and layer.cuts.active for layer in pyomo_model.nn.layer.values())
    pyomo_model.nn.rebuild(formulation="bigm")
    with pytest.raises(ModelError, match="rebuild\\(formulation='ideal_cuts'\\)"):
        transformation.apply_to(pyomo_model)


@pytest.mark.parametrize("seed", range(3))
def test_bounds_by_lps_with_cuts_nest_and_hold(make_network: MakeNetwork, seed: int) -> None:
    network, box = make_network((4, 8, 8, 8, 2), seed), Box.full(4, -1, 1)
    plain, cut, exact = (
        tighten_bounds(network, box, Effort(rung, leaves=1, formulation=name, gap=0.0))
        for rung, name in (("lp", "bigm"), ("lp", "ideal_cuts"), ("milp", "bigm"))
    )
    z = network.pre_activations(box.sample(5000, np.random.default_rng(seed)))
    for k in range(4):
        assert (cut.lower[k] >= plain.lower[k]).all()
        assert (cut.upper[k] <= plain.upper[k]).all()
        assert (cut.lower[k] <= exact.lower[k] + 1e-5 * np.maximum(1.0, abs(exact.lower[k]))).all()
        assert (cut.upper[k] >= exact.upper[k] - 1e-5 * np.maximum(1.0, abs(exact.upper[k]))).all()
        assert (cut.lower[k] <= z[k]).all()
        assert (z[k] <= cut.upper[k]).all()
    assert cut.width()[-1].mean() < 0.95 * plain.width()[-1].mean()
    assert cut.width()[1].mean() < plain.width()[1].mean()


def test_bounds_with_cuts_over_a_polytope_and_by_sign(make_network: MakeNetwork) -> None:
    network, box = make_network((4, 8, 8, 1), 1), Box.full(4, -1, 1)
    polytope = Polytope(box, [[1.0, 1.0, 1.0, 1.0]], [0.5])
    plain, cut = (
        tighten_bounds(network, polytope, Effort("lp", leaves=1, formulation=name)) for name in ("bigm", "ideal_cuts")
    )
    x = box.sample(20000, np.random.default_rng(0))
    z = network.pre_activations(x[x.sum(axis=1) <= 0.5])
    for k in range(3):
        assert (cut.lower[k] >= plain.lower[k]).all()
        assert (cut.lower[k] <= z[k]).all()
        assert (z[k] <= cut.upper[k]).all()
    assert cut.width()[2].sum() < plain.width()[2].sum()
    signs = tighten_bounds(network, box, Effort("lp", leaves=1, formulation="ideal_cuts", stop_at_sign=True))
    assert signs.n_unstable <= tighten_bounds(network, box, Effort("lp", leaves=1)).n_unstable


def test_an_lp_cut_off_by_time_still_gives_valid_bounds(make_network: MakeNetwork) -> None:
    network, box = make_network((4, 8, 8, 1), 1), Box.full(4, -1, 1)
    effort = Effort("lp", leaves=1, formulation="ideal_cuts", seconds_per_solve=0.0)
    cut, z = tighten_bounds(network, box, effort), network.pre_activations(box.sample(5000, np.random.default_rng(0)))
    assert all((low <= v).all() and (v <= high).all() for low, high, v in zip(cut.lower, cut.upper, z, strict=True))


def test_an_unknown_formulation_is_refused_before_lps(make_network: MakeNetwork) -> None:
    with pytest.raises(FormulationError, match="no formulation named 'hexagon'"):
        tighten_bounds(make_network((2, 3, 1), 0), Box.full(2, -1, 1), Effort("lp", formulation="hexagon"))


def test_gurobi_separates_at_its_nodes(make_network: MakeNetwork) -> None:
    pytest.importorskip("gurobipy")
    from omlt_ext.solvers.gurobi import GurobiSolver

    network, box = make_network((4, 10, 10, 2), 0, scale=0.7), Box.full(4, -1, 1)
    options = {"Cuts": 0, "Presolve": 0, "Heuristics": 0}
    ours = HighsSolver(model_of(network, box, BigM())).solve(gap=0.0)
    plain = GurobiSolver(model_of(network, box, IdealCuts()), options)
    assert plain.solve(gap=0.0).value == pytest.approx(ours.value, abs=1e-5)
    assert plain.cuts == 0  # nobody asked for a callback
    solver = GurobiSolver(model_of(network, box, IdealCuts(callback=True)), options)
    watched: list[float] = []
    result = solver.solve(gap=0.0, watch=lambda x, bound: watched.append(bound))
    assert result.status == "optimal"
    assert result.value == pytest.approx(ours.value, abs=1e-5)
    assert solver.cuts > 0
    assert watched
    root = {"NodeLimit": 1, **options}
    bounds = [
        GurobiSolver(model_of(network, box, IdealCuts(callback=c)), root).solve(gap=0.0).bound for c in (False, True)
    ]
    assert bounds[1] < bounds[0] - 1e-3


def test_one_variable_as_two_inputs() -> None:
    """Two local columns of a cut are then one column of the model."""
    hidden = Layer([[-3.0, -2.0, 2.0], [3.0, -2.0, -1.0]], [1.0, 0.0], relu=True)
    network = Network([hidden, Layer([[-1.0, 2.0]], [0.0], relu=False)])
    values = []
    for name in ("bigm", "ideal_cuts"):
        model = pyo.ConcreteModel()
        model.x, model.y = pyo.Var(bounds=(-1, 1)), pyo.Var(bounds=(-1, 1))
        model.nn = ReLUBlock(network, inputs=[model.x, model.x, model.y], formulation=name)
        model.goal = pyo.Objective(expr=model.nn.outputs[0] - 0.3 * model.x, sense=pyo.maximize)
        pyo.SolverFactory("omlt_ext.highs").solve(model)
        values.append(pyo.value(model.goal))
    assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_a_report_is_short() -> None:
    network = Network([Layer([[1.0, 1.0]], [-0.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
    done = add_cuts(network_model(network, tighten_bounds(network, (0, 1)), "ideal_cuts", objective=[1.0]))
    assert len(repr(done)) < 200
