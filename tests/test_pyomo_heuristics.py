"""SolverFactory("omlt_ext.<heuristic>"): points fit the whole model, bounds are proved, and every ending is said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from decisions import chain, decisions

from omlt_ext import Layer, Network, ReLUBlock, plugins, pyomo_heuristics
from omlt_ext.bridge import compile_model
from omlt_ext.errors import ModelError, OptionError
from omlt_ext.pyomo_results import results_of_search
from omlt_ext.pyomo_search import SearchSettings, search_model
from omlt_ext.search import Incumbent, Problem

Termination = pyo.TerminationCondition
MakeNetwork = Callable[..., Network]


@dataclass(frozen=True)
class Scatter:
    """Uniform points, `points` of them in a round; one round without a limit."""

    points: int = 2000

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        for _ in range(rounds or 1):
            if not incumbent.goes_on():
                return
            incumbent.offer(problem.lower + rng.random((self.points, problem.n)) * (problem.upper - problem.lower))


@dataclass(frozen=True)
class Silent:
    """A heuristic that ends without a point."""

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        return None


@dataclass(frozen=True)
class Interrupted:
    """Ctrl-C in the middle of a search."""

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        incumbent.offer(0.5 * (problem.lower + problem.upper))
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Network:
    return make_network((4, 9, 7, 2), 3)


def design(network: Network, **keywords: Any) -> pyo.ConcreteModel:
    """Whole lots, a choice of inputs, a budget, an output that is asked for and one that earns."""
    model = decisions(4.0)
    model.nn = ReLUBlock(network, inputs=model.x, **keywords)
    model.demand = pyo.Constraint(expr=model.nn.outputs[1] + model.lots >= 0.5)
    model.cost = pyo.Objective(expr=model.nn.outputs[0] + 0.3 * model.lots + 7.0, sense=pyo.maximize)
    return model


def check_values(model: pyo.ConcreteModel, tolerance: float = 1.1e-6) -> None:
    """The values of the variables satisfy everything that is active in the model, and every variable has one."""
    for constraint in model.component_data_objects(pyo.Constraint, active=True):
        body = pyo.value(constraint.body)
        assert constraint.lb is None or body >= constraint.lb - tolerance, constraint.name
        assert constraint.ub is None or body <= constraint.ub + tolerance, constraint.name
    for variable in model.component_data_objects(pyo.Var):
        assert variable.value is not None, variable.name
        assert variable.lb is None or variable.value >= variable.lb - tolerance
        assert variable.ub is None or variable.value <= variable.ub + tolerance
        assert not variable.is_integer() or variable.value == round(variable.value)
    for block in model.component_data_objects(pyo.Block):
        assert not isinstance(block, ReLUBlock) or block.get_error() < 1e-9


def run(model: pyo.ConcreteModel, chosen: Any, **settings: Any) -> Any:
    return search_model(compile_model(model), chosen, SearchSettings(**settings))


@pytest.mark.parametrize("sense", [pyo.maximize, pyo.minimize])
@pytest.mark.parametrize("method", plugins.names(plugins.HEURISTICS))
def test_every_heuristic_by_name(method: str, sense: Any, network: Network) -> None:
    exact, model = design(network), design(network)
    exact.cost.sense = model.cost.sense = sense
    best = pyo.SolverFactory("omlt_ext.highs").solve(exact, gap=0.0)
    solver = pyo.SolverFactory(f"omlt_ext.{method}")
    assert solver.available()
    results = solver.solve(model, time_limit=1.0)
    check_values(model)
    value, truth = pyo.value(model.cost), pyo.value(exact.cost)
    low, high = (truth - 1e-4, np.inf) if sense == pyo.minimize else (-np.inf, truth + 1e-4)
    assert low <= value <= high
    ends = results.problem.lower_bound, results.problem.upper_bound
    assert value == pytest.approx(ends[0] if sense == pyo.maximize else ends[1])
    assert ends[0] <= truth + 1e-4
    assert truth - 1e-4 <= ends[1]
    assert best.problem.lower_bound - 1e-4 <= ends[1]
    assert results.solver.termination_condition in (
        Termination.optimal,
        Termination.feasible,
        Termination.maxTimeLimit,
    )
    assert results.problem.number_of_solutions == 1
    assert results.solver.name == f"omlt_ext.{method}"
    history = solver.history
    assert history is not None
    assert list(history.columns) == ["seconds", "value", "bound"]
    assert history.value.iloc[-1] == pytest.approx(value)
    assert history.seconds.is_monotonic_increasing
    steps = history.value.dropna()
    assert steps.is_monotonic_decreasing if sense == pyo.minimize else steps.is_monotonic_increasing


def test_optimal_where_the_gap_is_closed(network: Network) -> None:
    exact, model = design(network), design(network)
    pyo.SolverFactory("omlt_ext.highs").solve(exact, gap=0.0)
    results = pyo.SolverFactory("omlt_ext.milp").solve(model, gap=1e-5)
    pyo.assert_optimal_termination(results)
    assert results.solver.status == pyo.SolverStatus.ok
    assert pyo.value(model.cost) == pytest.approx(pyo.value(exact.cost), rel=2e-5)
    assert results.problem.upper_bound >= pyo.value(exact.cost) - 1e-9


def test_several_networks_and_a_chain(make_network: MakeNetwork) -> None:
    exact, model = (chain(make_network((2, 5, 2), 1), make_network((3, 4, 1), 2)) for _ in range(2))
    pyo.SolverFactory("omlt_ext.highs").solve(exact, gap=0.0)
    results = pyo.SolverFactory("omlt_ext.milp").solve(model, gap=1e-5)
    check_values(model)
    assert results.solver.termination_condition == Termination.optimal
    assert pyo.value(model.cost) == pytest.approx(pyo.value(exact.cost), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("formulation", ["sos1", "indicator", "complementarity", "balas", "partition", "psplit"])
def test_whatever_the_blocks_formulation(network: Network, formulation: str) -> None:
    reference, model = design(network), design(network, formulation=formulation)
    pyo.SolverFactory("omlt_ext.milp").solve(reference)
    pyo.SolverFactory("omlt_ext.milp").solve(model)
    assert pyo.value(model.cost) == pytest.approx(pyo.value(reference.cost), rel=1e-4)
    check_values(model, 1e-5)


def test_columns_without_ends(network: Network) -> None:
    """A free variable that an output holds back, whole inputs, whole outputs."""
    model = design(network)
    model.free = pyo.Var()
    model.held = pyo.Constraint(expr=model.free <= model.nn.outputs[0] + model.x[0])
    model.cost.set_value(model.free)
    truth = most(model, model.free)
    pyo.assert_optimal_termination(pyo.SolverFactory("omlt_ext.milp").solve(model))
    check_values(model)
    assert pyo.value(model.cost) == pytest.approx(truth, rel=1e-3)
    whole = pyo.ConcreteModel()
    whole.x = pyo.Var(range(4), bounds=(-1, 1))
    whole.y = pyo.Var(range(2), domain=pyo.Integers, bounds=(-100, 100))
    whole.nn = ReLUBlock(network, inputs=whole.x, outputs=whole.y)
    whole.cost = pyo.Objective(expr=whole.y[0], sense=pyo.maximize)
    truth = most(whole, whole.y[0])
    pyo.assert_optimal_termination(pyo.SolverFactory("omlt_ext.milp").solve(whole))
    assert whole.y[0].value == round(truth)
    assert whole.nn.get_error() < 1e-6


def test_an_unbounded_model_is_not_called_optimal(network: Network) -> None:
    model = design(network)
    model.free = pyo.Var()
    model.cost.set_value(model.free)
    results = pyo.SolverFactory("omlt_ext.milp").solve(model, time_limit=5)
    assert results.problem.upper_bound == np.inf
    assert results.solver.termination_condition in (Termination.feasible, Termination.maxTimeLimit)


def test_a_relaxed_network_gets_a_point_and_no_bound(network: Network) -> None:
    model = design(network, formulation="triangle")
    results = pyo.SolverFactory("omlt_ext.milp").solve(model)
    assert model.nn.get_error() < 1e-9
    assert results.problem.upper_bound == np.inf
    assert results.solver.termination_condition == Termination.feasible
    assert "relaxed" in str(results.solver.message)
    loose = design(network)
    loose.nn.layer[1].deactivate()
    results = pyo.SolverFactory("omlt_ext.milp").solve(loose)
    assert results.problem.upper_bound == np.inf
    assert loose.nn.get_error() < 1e-9


def test_what_is_infeasible_with_the_network_may_be_feasible_with_its_relaxation() -> None:
    """relu(x) - relu(x) is 0; the triangles of the two neurons let it be more."""
    hidden = Layer([[1.0], [1.0]], [0.0, 0.0], relu=True)
    network = Network([hidden, Layer([[1.0, -1.0]], [0.0], relu=False)])

    def model(formulation: str) -> pyo.ConcreteModel:
        made = pyo.ConcreteModel()
        made.nn = ReLUBlock(network, input_bounds=(-1, 1), effort="interval", formulation=formulation)
        made.more = pyo.Constraint(expr=made.nn.outputs[0] >= 0.2)
        made.cost = pyo.Objective(expr=made.nn.outputs[0])
        return made

    pyo.assert_optimal_termination(pyo.SolverFactory("omlt_ext.highs").solve(model("triangle")))
    results = pyo.SolverFactory("omlt_ext.milp").solve(model("triangle"))
    assert results.solver.termination_condition == Termination.noSolution
    assert "with the network itself the model is infeasible" in str(results.solver.message)
    results = pyo.SolverFactory("omlt_ext.milp").solve(model("bigm"))
    assert results.solver.termination_condition == Termination.infeasible
    for least in (1.5, 3.0):  # more than the triangles let it be, more than its bounds do
        worse = model("triangle")
        worse.more.set_value(worse.nn.outputs[0] >= least)
        results = pyo.SolverFactory("omlt_ext.milp").solve(worse)
        assert results.solver.termination_condition == Termination.infeasible


def test_infeasible_models_are_said_to_be(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    def by_bounds(model: pyo.ConcreteModel) -> None:
        model.no = pyo.Constraint(expr=model.nn.outputs[1] >= 1e4)

    def by_rows(model: pyo.ConcreteModel) -> None:
        model.no = pyo.Constraint(expr=sum(model.x[i] for i in range(4)) + model.chosen[0] >= 5.5)

    def constant(model: pyo.ConcreteModel) -> None:
        model.x.fix(0.0)
        model.no = pyo.Constraint(expr=model.x[0] + model.x[1] >= 1.0)

    for spoil in (by_bounds, by_rows, apart, constant):
        model = design(network)
        spoil(model)
        truth = pyo.SolverFactory("omlt_ext.highs").solve(model.clone())
        assert truth.solver.termination_condition == Termination.infeasible, spoil.__name__
        before = [variable.value for variable in model.component_data_objects(pyo.Var)]
        results = pyo.SolverFactory("omlt_ext.milp").solve(model)
        assert results.solver.termination_condition == Termination.infeasible, spoil.__name__
        assert results.solver.status == pyo.SolverStatus.warning
        assert results.problem.number_of_solutions == 0
        assert [variable.value for variable in model.component_data_objects(pyo.Var)] == before
    assert "infeasible; " in caplog.text
    assert "variables stay as they are" in caplog.text


def apart(model: pyo.ConcreteModel) -> None:
    """Output 0 can be that large and output 1 that small, but not both together."""
    model.nn.outputs[0].setlb(most(model, model.nn.outputs[0]) - 0.1)
    model.nn.outputs[1].setub(-most(model, -model.nn.outputs[1]) - 0.5)


def most(model: pyo.ConcreteModel, expression: Any) -> float:
    """The largest value of an expression, whatever else the model wants."""
    before = model.cost.expr
    model.cost.set_value(expression)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model, load_solutions=False)
    model.cost.set_value(before)
    return float(results.problem.lower_bound)


def test_nothing_found_is_said(make_network: MakeNetwork) -> None:
    """Two networks that must agree; a heuristic that proposes nothing, and no time for the solves before it."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(4), bounds=(-1, 1))
    model.one = ReLUBlock(make_network((4, 9, 1), 3), inputs=model.x)
    model.two = ReLUBlock(make_network((4, 9, 1), 4), inputs=model.x)
    model.same = pyo.Constraint(expr=model.one.outputs[0] == model.two.outputs[0])
    model.cost = pyo.Objective(expr=model.x[0])
    found = run(model, Silent(), time_limit=0.0)
    assert (found.x, found.value, found.status) == (None, None, "time_limit")
    results = pyo.SolverFactory("omlt_ext.auto").solve(model, time_limit=0.0)
    assert results.solver.termination_condition == Termination.maxTimeLimit
    assert results.solver.status == pyo.SolverStatus.aborted
    assert "no point found" in str(results.solver.message)
    assert model.x[0].value is None


def test_no_solution_where_the_search_ends_by_itself(network: Network) -> None:
    """No point, and no proof: the LP relaxation over wide bounds has points."""
    model = design(network, effort="interval")
    apart(model)
    truth = pyo.SolverFactory("omlt_ext.highs").solve(model, load_solutions=False)
    assert truth.solver.termination_condition == Termination.infeasible
    found = run(model, Silent())
    assert (found.x, found.value, found.status) == (None, None, "limit")
    results = results_of_search(compile_model(model), "omlt_ext.auto", found, 0.0)
    assert results.solver.termination_condition == Termination.noSolution
    assert results.solver.status == pyo.SolverStatus.warning
    assert results.problem.number_of_solutions == 0
    assert results.solver.message == "the search has ended, no point found"


def test_interrupted_with_the_best_so_far(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.cost = pyo.Objective(expr=model.nn.outputs[0])
    found = run(model, Interrupted())
    assert found.status == "interrupted"
    assert found.value == network(np.zeros(4))[0]
    results = results_of_search(compile_model(model), "omlt_ext.auto", found, 0.0)
    assert results.solver.termination_condition == Termination.userInterrupt
    assert results.problem.upper_bound == found.value


def test_values_of_the_variables_are_a_first_point(network: Network) -> None:
    model = design(network)
    pyo.SolverFactory("omlt_ext.highs").solve(model, gap=0.0)
    best = pyo.value(model.cost)
    assert run(model, Silent()).value == pytest.approx(best, rel=1e-6)
    assert run(model, Silent(), warmstart=False).value < best - 1e-3


def test_same_seed_same_point(network: Network) -> None:
    first, again, other = (run(design(network), Scatter(), seed=seed, rounds=2) for seed in (5, 5, 6))
    assert first.x is not None
    assert np.array_equal(first.x, again.x)
    assert (first.value, first.bound) == (again.value, again.bound)
    assert other.x is not None


def test_load_solutions_false(network: Network) -> None:
    model = design(network)
    results = pyo.SolverFactory("omlt_ext.milp").solve(model, load_solutions=False)
    assert model.x[0].value is None
    assert results.problem.number_of_solutions == 1


def test_a_model_without_networks_goes_to_highs() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(domain=pyo.Integers, bounds=(0, 10))
    model.c = pyo.Constraint(expr=3 * model.x >= 7)
    model.cost = pyo.Objective(expr=model.x)
    results = pyo.SolverFactory("omlt_ext.auto").solve(model, time_limit=10)
    assert results.solver.termination_condition == Termination.optimal
    assert model.x.value == 3
    pyo.assert_optimal_termination(pyo.SolverFactory("omlt_ext.highs").solve(model, heuristic="auto"))
    with pytest.raises(OptionError, match="unknown method 'luck'"):
        pyo.SolverFactory("omlt_ext.highs").solve(model, heuristic="luck")


def test_models_without_an_objective(network: Network) -> None:
    model = design(network)
    model.cost.deactivate()
    results = pyo.SolverFactory("omlt_ext.auto").solve(model, time_limit=20)
    assert results.solver.termination_condition == Termination.optimal
    check_values(model)


def test_unknown_keywords_list_the_known_ones(network: Network) -> None:
    solver = pyo.SolverFactory("omlt_ext.milp")
    with pytest.raises(
        TypeError, match=r"unknown keyword 'colour'; known: time_limit, .*; options of milp: formulation"
    ):
        solver.solve(design(network), colour="red")
    with pytest.raises(OptionError, match="time_limit is -1"):
        solver.solve(design(network), time_limit=-1)
    with pytest.raises(ModelError, match="expected a Pyomo model"):
        solver.solve(5)
    for results in (
        solver.solve(design(network), options={"formulation": "partition"}),
        solver.solve(design(network), formulation="partition", timelimit=60),
    ):
        pyo.assert_optimal_termination(results)


def test_tee_draws_a_bar(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    pyo.SolverFactory("omlt_ext.milp").solve(design(network))
    assert capsys.readouterr() == ("", "")
    pyo.SolverFactory("omlt_ext.milp", tee=True).solve(design(network))
    out, err = capsys.readouterr()
    assert out == ""
    assert ", bound " in err


def test_the_bar_ends_with_value_and_bound(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the search is over before a bar is drawn again."""
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(Network([Layer([[2.0]], [1.0], relu=False)]), input_bounds=(0, 1))
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    pyo.SolverFactory("omlt_ext.milp").solve(model, tee=True)
    assert capsys.readouterr().err.endswith("value 3, bound 3\n")


def test_plot_of_the_history(network: Network) -> None:
    pytest.importorskip("matplotlib")
    solver = pyo.SolverFactory("omlt_ext.milp")
    solver.solve(design(network))
    axes = pyomo_heuristics.plot_history(solver.history, title="design").axes[0]
    assert [line.get_label() for line in axes.lines] == ["bound", "value"]
    assert axes.lines[1].get_ydata()[-1] == solver.history.value.iloc[-1]


@pytest.mark.parametrize("sense", [pyo.maximize, pyo.minimize])
def test_highs_starts_from_a_heuristic_and_is_never_worse(network: Network, sense: Any) -> None:
    model = design(network)
    model.cost.sense = sense
    searched = run(model, Scatter(), warmstart=False)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model, heuristic=Scatter(), warmstart=False, time_limit=0.2)
    sign = 1.0 if sense == pyo.maximize else -1.0
    assert sign * pyo.value(model.cost) >= sign * searched.value - 1e-9
    assert results.problem.number_of_solutions == 1
    with pytest.raises(OptionError, match="unknown method 'luck'"):
        pyo.SolverFactory("omlt_ext.highs").solve(model, heuristic="luck")
    with pytest.raises(OptionError, match="heuristic_time"):
        pyo.SolverFactory("omlt_ext.highs").solve(model, heuristic="auto", heuristic_time=-1)


def test_the_heuristics_point_stands_where_highs_has_no_time(make_network: MakeNetwork) -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(make_network((20, 60, 60, 1), 0), input_bounds=(0, 1))
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    highs = pyo.SolverFactory("omlt_ext.highs")
    results = highs.solve(model, time_limit=0.4, heuristic=Scatter(500), heuristic_time=0.39)
    sampled = run(model, Scatter(500), warmstart=False).value
    assert pyo.value(model.cost) >= sampled - 1e-9
    assert results.solver.termination_condition == Termination.maxTimeLimit
    assert results.problem.upper_bound >= pyo.value(model.cost)


@pytest.mark.parametrize("formulation", ["bigm", "sos1"])
def test_gurobi_starts_from_the_loaded_point(
    network: Network, formulation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gurobipy")
    model = design(network, formulation=formulation)
    pyo.SolverFactory("omlt_ext.milp").solve(model)
    value = pyo.value(model.cost)
    pyo.SolverFactory("gurobi_direct").solve(model, warmstart=True, tee=True)
    assert f"Loaded user MIP start with objective {value:.4f}".rstrip("0") in capfd.readouterr().out
    assert pyo.value(model.cost) >= value - 1e-6


@pytest.mark.scip
def test_scip_starts_from_the_loaded_point(network: Network, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyscipopt")
    from omlt_ext.solvers.scip import ScipSolver

    model = design(network)
    pyo.SolverFactory("omlt_ext.milp").solve(model)
    compiled = compile_model(model)
    solver = ScipSolver(compiled.matrix, {"limits/nodes": 1, "presolving/maxrounds": 0})
    solver.start_from(*compiled.values())
    value = solver.solve().value
    assert value is not None
    assert value >= pyo.value(model.cost) - 1e-6
    direct = pyo.SolverFactory("scip_direct")
    direct.config.warmstart_discrete_vars = True  # Pyomo's name for it
    direct.solve(model, tee=True)
    assert f"objective value {pyo.value(model.cost):.6e}" in capfd.readouterr().out
    assert pyo.value(model.cost) >= value - 1e-4


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield pool


def test_whole_models_travel_to_processes(network: Network, processes: ProcessPoolExecutor) -> None:
    shared = run(design(network), Scatter(), executor=processes, searches=3, rounds=2)
    alone = run(design(network), Scatter(), searches=3, rounds=2)
    assert shared.x is not None
    assert np.array_equal(shared.x, alone.x)


USE = """
import sys, pyomo.environ as pyo
import omlt_ext
from omlt_ext import Layer, Network, ReLUBlock
assert "corners" not in sys.modules and "omlt_ext.heuristics" not in sys.modules
network = Network([Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True), Layer([[1.0, -3.0]], [0.0], relu=False)])
model = pyo.ConcreteModel()
model.nn = ReLUBlock(network, input_bounds=(-1, 1))
model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
results = pyo.SolverFactory("omlt_ext.corners").solve(model, tries=64)
print(results.solver.termination_condition, pyo.value(model.cost))
"""
MODULE = '''
"""Corners of the box."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Corners:
    tries: int = 1

    def search(self, problem, incumbent, rng, rounds=None):
        incumbent.offer(np.where(rng.random((self.tries, problem.n)) < 0.5, problem.lower, problem.upper))
'''


def test_a_heuristic_of_another_package_is_a_solver_too(tmp_path: Path) -> None:
    (tmp_path / "corners.py").write_text(MODULE)
    about = tmp_path / "corners-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: corners\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[omlt_ext.heuristics]\ncorners = corners:Corners\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", USE]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["optimal", "2.0"]


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(OptionError, match="'highs'"):
        pyomo_heuristics.register(["highs"])
