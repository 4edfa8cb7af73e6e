"""Pruned surrogates: every answer is one about the dense network, whatever the sparse one says."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from decisions import chain, decisions
from hypothesis import given, settings
from hypothesis import strategies as st
from search_problems import dense_network, over_box, two_networks

from omlt_ext import Box, Layer, Network, Polytope, ReLUBlock
from omlt_ext.errors import OptionError, ShapeError
from omlt_ext.heuristics import Milp, PrunedSurrogate, maximize, pruned_surrogate
from omlt_ext.heuristics.stand_in import Relay, Repair, stand_in
from omlt_ext.pruning import prune
from omlt_ext.pruning.magnitude import Magnitude
from omlt_ext.search import Heuristic, Incumbent, Problem

Optimum = Callable[..., float]
MakeNetwork = Callable[..., Network]
Termination = pyo.TerminationCondition
MODES = ("observe", "cut", "reoptimize")
BOX = Box.full(3, -1.0, 1.0)


@dataclass(frozen=True)
class Claims:
    """An inner search that offers one point and, of the sparse problem only, claims what is not so of the dense one."""

    point: float = 0.25
    ending: str = "limit"
    seen: list[Problem] = field(default_factory=list)

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        self.seen.append(problem)
        incumbent.offer(np.full(problem.n, self.point))
        if isinstance(incumbent, Relay):
            incumbent.prove(-1e6, rigorous=True)
            incumbent.stopped_by = self.ending


@pytest.fixture(scope="module")
def small() -> Network:
    return dense_network((3, 5, 4, 1), 3)  # its bound by propagation is three times its optimum


def search(problem: Problem, chosen: Heuristic, **options: Any) -> Incumbent:
    incumbent = Incumbent(problem, 1e-5, **options)
    chosen.search(problem.with_bounds(), incumbent, np.random.default_rng(0))
    return incumbent


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.sampled_from([(2, 4, 1), (3, 3, 3, 1), (2, 5, 4, 1)]),
    sparsity=st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]),
    mode=st.sampled_from(MODES),
)
def test_the_optimum_is_that_of_the_dense_network(
    brute_force: Optimum, seed: int, sizes: tuple[int, ...], sparsity: float, mode: str
) -> None:
    network, box = dense_network(sizes, seed), Box.full(sizes[0], -1.0, 0.75)
    exact = brute_force(network, box, np.ones(1))
    best = pruned_surrogate(network, box, sparsity=sparsity, mode=mode, gap=1e-5)
    assert best.status == "optimal"
    assert best.x is not None
    assert best.value == float(network(best.x)[0])
    assert best.value == pytest.approx(exact, rel=2e-5, abs=2e-5)
    assert best.bound is not None
    assert best.bound >= exact - 1e-9
    bounds = best.history.bound.dropna()
    assert (bounds >= exact - 1e-9).all()
    assert best.history.value.dropna().is_monotonic_increasing


@pytest.mark.parametrize("inner", ["auto", "relaxing_walk", "gradient_ascent", "sample_mip", "milp", Milp("partition")])
def test_any_inner_search(inner: Any, small: Network, brute_force: Optimum) -> None:
    exact = brute_force(small, BOX, np.ones(1))
    best = pruned_surrogate(small, BOX, inner=inner, rounds=6)
    assert best.value == pytest.approx(exact, rel=1e-4)
    assert best.bound is not None
    assert best.bound >= exact - 1e-9


@pytest.mark.parametrize(("inner", "package"), [("scip", "pyscipopt"), ("gurobi", "gurobipy")])
@pytest.mark.parametrize("mode", MODES)
def test_other_solvers(inner: str, package: str, mode: str, small: Network, brute_force: Optimum) -> None:
    pytest.importorskip(package)
    exact = brute_force(small, BOX, np.ones(1))
    best = pruned_surrogate(small, BOX, inner=inner, mode=mode, gap=1e-5, time_limit=60.0)
    assert best.status == "optimal"
    assert best.value == pytest.approx(exact, rel=1e-5)
    alone = maximize(small, BOX, method=Milp(solver=inner), gap=1e-5)
    assert alone.status == "optimal"
    assert alone.value == pytest.approx(exact, rel=1e-5)


def test_a_sparse_bound_is_no_bound() -> None:
    network = dense_network((2, 4, 1), 3)
    claims = Claims()
    best = pruned_surrogate(network, Box.full(2, -1.0, 1.0), inner=claims, sparsity=(0.9, 0.5))
    sparse, denser, dense = claims.seen
    assert dense.networks[0].network is network
    counts = [problem.networks[0].network.n_relus for problem in (sparse, denser, dense)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert best.status == "limit"
    assert best.bound is not None
    assert best.value is not None
    assert best.bound >= best.value > -1e6


@pytest.mark.parametrize(("ending", "status"), [("infeasible", "limit"), ("interrupted", "interrupted")])
def test_only_an_interruption_ends_both(ending: str, status: str) -> None:
    claims = Claims(ending=ending)
    network = dense_network((2, 4, 1), 3)
    best = pruned_surrogate(network, Box.full(2, -1.0, 1.0), inner=claims, repair=False)
    assert best.status == status
    assert len(claims.seen) == (1 if ending == "interrupted" else 2)
    assert best.value is not None


def test_a_relay_offers_to_both() -> None:
    problem = over_box((3, 6, 5, 1), 1).with_bounds()
    sparse = stand_in(problem, Magnitude(), 0.5, None, np.random.default_rng(0))
    assert sparse.bounds is not None
    points = problem.box(0).sample(300, np.random.default_rng(1))
    dense, found = Incumbent(problem), []
    relay = Relay(sparse, dense=dense, found=found.append)
    assert relay.offer(points)
    assert dense.value == pytest.approx(problem.values(points).max())
    assert relay.value == pytest.approx(sparse.values(points).max())
    assert dense.v is not None
    assert relay.v is not None
    assert not np.array_equal(dense.v, relay.v)  # the networks rate them differently
    assert [v.tolist() for v in found] == [relay.v.tolist()]
    assert not relay.offer(points)
    assert len(found) == 1
    relay.prove(relay.value)
    assert not relay.goes_on()
    assert dense.goes_on()
    assert dense.bound == np.inf
    dense.stopped_by = "interrupted"
    assert not Relay(sparse, dense=dense, found=found.append).goes_on()


def test_a_relay_waits_for_better_dense_points() -> None:
    problem = over_box((3, 6, 5, 1), 1).with_bounds()
    dense = Incumbent(problem)
    relay = Relay(problem, dense=dense, found=lambda v: None, patience=0.3)
    assert relay.goes_on()
    time.sleep(0.2)
    dense.offer(problem.box(0).center)  # whoever finds it
    assert relay.goes_on()
    time.sleep(0.2)
    assert relay.goes_on()
    time.sleep(0.2)
    assert not relay.goes_on()
    assert dense.goes_on()


def test_repair_walks_from_points_that_are_rated_above_earlier_ones() -> None:
    problem = over_box((4, 12, 12, 1), 2).with_bounds()
    incumbent = Incumbent(problem)
    repair = Repair(problem, incumbent, np.random.default_rng(0))
    points = problem.box(0).sample(50, np.random.default_rng(1))
    points = points[np.argsort(problem.values(points))]
    repair(points[25])
    assert incumbent.value > problem.value(points[25])
    walked = len(repair.finish.walked)
    repair(points[3])
    assert len(repair.finish.walked) == walked == 1
    repair(points[-1])
    assert incumbent.value >= problem.value(points[-1])
    assert len(repair.finish.walked) == 2


def test_repair_leads_on() -> None:
    network, box = dense_network((4, 12, 12, 1), 2), Box.full(4, -1.0, 1.0)
    values = [pruned_surrogate(network, box, inner=Claims(), repair=repair).value for repair in (False, True)]
    assert None not in values
    assert values[0] < values[1]  # type: ignore[operator]


def test_repair_of_points_that_break_dense_rows() -> None:
    problem = two_networks(1).with_bounds()
    rng = np.random.default_rng(0)
    draws = problem.lower.clip(-2) + rng.random((200, problem.n)) * (
        problem.upper.clip(None, 2) - problem.lower.clip(-2)
    )
    outside = problem.inside(draws)[problem.violations(problem.inside(draws)) > 1e-3]
    assert outside.size
    incumbent = Incumbent(problem)
    repair = Repair(problem, incumbent, rng)
    for v in outside[:5]:
        repair(v)
    assert incumbent.v is not None
    assert problem.violations(incumbent.v[None])[0] <= 1e-6


def test_no_sparsity_is_the_dense_search() -> None:
    network, box = dense_network((3, 8, 6, 1), 5), Box.full(3, -1.0, 1.0)
    ours = pruned_surrogate(network, box, sparsity=0.0, repair=False)
    theirs = maximize(network, box, method="milp")
    assert ours.x is not None
    assert theirs.x is not None
    assert np.array_equal(ours.x, theirs.x)
    assert (ours.status, ours.value, ours.bound, ours.nodes) == (
        theirs.status,
        theirs.value,
        theirs.bound,
        theirs.nodes,
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_takes_the_same_way(mode: str) -> None:
    network, box = dense_network((3, 7, 5, 1), 6), Box.full(3, -1.0, 1.0)
    one, other = (pruned_surrogate(network, box, sparsity=0.5, mode=mode, seed=3) for _ in range(2))
    assert one.history.value.dropna().tolist() == other.history.value.dropna().tolist()
    assert one.nodes == other.nodes


def test_a_time_limit_is_shared() -> None:
    network = dense_network((12, 40, 40, 40, 1), 7)
    best = pruned_surrogate(network, Box.full(12, -1.0, 1.0), time_limit=2.0, sparsity=(0.9, 0.6))
    assert best.seconds < 6.0
    assert best.status == "time_limit"
    assert best.value is not None
    assert best.bound is not None
    assert best.bound > best.value


def test_a_polytope_and_methods_that_learn() -> None:
    network = dense_network((3, 8, 6, 2), 8)
    box, c = Box.full(3, -1.0, 1.0), np.array([1.0, -0.5])
    domain = Polytope(box, [[1.0, 1.0, 1.0]], [0.5])
    exact = maximize(network, domain, c, method="milp", gap=1e-5)
    X = box.sample(60, np.random.default_rng(0))
    for method, data in (("undecayed", None), ("undecayed", X), ("gradient", (X, (X[:, 0] > 0).astype(int)))):
        best = pruned_surrogate(network, domain, c, method=method, data=data, gap=1e-5)
        assert best.status == "optimal"
        assert best.value == pytest.approx(exact.value, rel=2e-5)
        assert best.x is not None
        assert best.x.sum() <= 0.5 + 1e-6


def test_gradients_of_no_loss() -> None:
    with pytest.raises(OptionError, match="every gradient is 0"):
        search(over_box((3, 4, 1), 0), PrunedSurrogate(method="gradient"))


def test_data_beside_several_networks_or_of_another_shape() -> None:
    with pytest.raises(OptionError, match="data are the samples of one network, and the model has 2"):
        search(two_networks(0), PrunedSurrogate(data=np.ones((4, 3))))
    with pytest.raises(ShapeError, match=r"\(samples, 3\)"):
        search(over_box((3, 4, 1), 0), PrunedSurrogate(data=np.ones((4, 2)), method="gradient"))


def test_several_networks_rows_and_whole_numbers() -> None:
    problem = two_networks(3)
    exact, ours = search(problem, Milp()), search(problem, PrunedSurrogate(sparsity=(0.5, 0.3)))
    assert exact.closed
    assert ours.closed
    assert ours.value == pytest.approx(exact.value, rel=1e-4)
    assert problem.violations(ours.v[None])[0] <= 1e-6  # type: ignore[index]


def test_side_by_side_each_begins_with_another_sparsity() -> None:
    chosen = PrunedSurrogate((0.9, 0.8, 0.5))
    assert [chosen.nth(j).sparsities for j in (0, 1, 5)] == [(0.9, 0.8, 0.5), (0.8, 0.5, 0.9), (0.5, 0.9, 0.8)]
    claims = Claims()
    network = dense_network((3, 6, 1), 2)
    with ThreadPoolExecutor(1) as pool:
        options = {"executor": pool, "searches": 2, "repair": False}
        best = pruned_surrogate(network, Box.full(3, -1.0, 1.0), inner=claims, sparsity=(0.8, 0.3), **options)
    assert best.value is not None
    weights = [sum(layer.nnz for layer in problem.networks[0].network.layers) for problem in claims.seen]
    assert weights[0] == weights[4] < weights[1] == weights[3] < weights[2] == weights[5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.5}, "sparsity is 1.5; it must be a number from 0 to 1"),
        ({"sparsity": (0.5, "half")}, "sparsity is 'half'"),
        ({"sparsity": "0.5"}, "sparsity is '0.5'"),
        ({"sparsity": ()}, "sparsity is empty"),
        ({"method": "scissors"}, "unknown pruning method 'scissors'"),
        ({"mode": "watch"}, "mode is 'watch'; it must be one of 'observe', 'cut', 'reoptimize'"),
        ({"mode": "cut", "inner": "auto"}, "mode is 'cut', which takes patterns out of a model"),
        ({"repair": 1}, "repair is 1"),
        ({"inner": "cplex"}, r"inner is 'cplex'; it must be one of 'highs', 'scip', 'gurobi', 'auto'"),
        ({"inner": "pruned_surrogate"}, "inner is 'pruned_surrogate' itself"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PrunedSurrogate(**options)
    with pytest.raises(OptionError, match="solver is 'cplex'"):
        Milp(solver="cplex")


def design(network: Network, demand: float) -> pyo.ConcreteModel:
    """Whole lots, a choice of inputs, a budget, an output that is asked for and one that earns."""
    model = decisions(4.0)
    model.nn = ReLUBlock(network, inputs=model.x)
    model.demand = pyo.Constraint(expr=model.nn.outputs[1] + model.lots >= demand)
    model.cost = pyo.Objective(expr=model.nn.outputs[0] + 0.3 * model.lots + 7.0, sense=pyo.maximize)
    return model


@pytest.mark.parametrize(
    ("sparsity", "mode", "sense"),
    [
        (0.4, "observe", pyo.minimize),
        (0.8, "observe", pyo.maximize),
        (0.4, "cut", pyo.maximize),
        (0.8, "cut", pyo.minimize),
        (0.4, "reoptimize", pyo.minimize),
        (0.8, "reoptimize", pyo.maximize),
        (1.0, "reoptimize", pyo.minimize),
    ],
)
def test_a_whole_model(make_network: MakeNetwork, sparsity: float, mode: str, sense: Any) -> None:
    network = make_network((4, 9, 7, 2), 3)
    exact, model = design(network, 0.5), design(network, 0.5)
    exact.cost.sense = model.cost.sense = sense
    pyo.SolverFactory("omlt_ext.highs").solve(exact, gap=0.0)
    results = pyo.SolverFactory("omlt_ext.pruned_surrogate").solve(model, sparsity=sparsity, mode=mode, gap=1e-5)
    assert results.solver.termination_condition == Termination.optimal
    assert pyo.value(model.cost) == pytest.approx(pyo.value(exact.cost), rel=2e-5)
    assert model.nn.get_error() < 1e-9
    assert pyo.value(model.demand.body) >= 0.5 - 1e-6
    low, high = results.problem.lower_bound, results.problem.upper_bound
    assert low - 1e-6 <= pyo.value(exact.cost) <= high + 1e-6


def test_what_only_the_sparse_model_cannot_reach(make_network: MakeNetwork) -> None:
    """A demand that no sparse network meets says nothing of the dense one; one that the dense cannot meet, all."""
    network = make_network((4, 9, 7, 2), 3)
    model = design(network, 0.0)
    model.goal = pyo.Objective(expr=model.nn.outputs[1] + model.lots, sense=pyo.maximize)
    model.cost.deactivate()
    most = pyo.value(model.goal) if pyo.SolverFactory("omlt_ext.highs").solve(model) else 0.0
    tight, impossible = design(network, most - 0.05), design(network, most + 0.1)
    solver = pyo.SolverFactory("omlt_ext.pruned_surrogate")
    results = solver.solve(tight, sparsity=1.0)
    assert results.solver.termination_condition == Termination.optimal
    assert pyo.value(tight.demand.body) >= most - 0.05 - 1e-6
    results = solver.solve(impossible, sparsity=0.8, load_solutions=False)
    assert results.solver.termination_condition == Termination.infeasible


def test_a_chain_of_networks(make_network: MakeNetwork) -> None:
    exact, model = (chain(make_network((2, 5, 2), 1), make_network((3, 4, 1), 2)) for _ in range(2))
    pyo.SolverFactory("omlt_ext.highs").solve(exact, gap=0.0)
    for mode in MODES:
        results = pyo.SolverFactory("omlt_ext.pruned_surrogate").solve(model, sparsity=0.3, mode=mode, gap=1e-5)
        pyo.assert_optimal_termination(results)
        assert pyo.value(model.cost) == pytest.approx(pyo.value(exact.cost), rel=2e-5, abs=2e-5)


def test_a_network_of_ones_own_stands_in(small: Network, brute_force: Optimum) -> None:
    other = dense_network((3, 2, 1), 9)
    claims = Claims()
    pruned_surrogate(small, BOX, pruned=other, inner=claims, sparsity=(0.9, 0.5), repair=False)
    assert [problem.networks[0].network for problem in claims.seen] == [other, small]
    best = pruned_surrogate(small, BOX, pruned=[other], mode="cut", gap=1e-5)
    assert best.status == "optimal"
    assert best.value == pytest.approx(brute_force(small, BOX, np.ones(1)), rel=2e-5)
    for wrong, message in (
        ([other, other], "pruned has 2 networks, and the model has 1"),
        ([], "pruned has 0 networks, and the model has 1"),
        (dense_network((2, 2, 1), 9), r"pruned\[0\] has \(2, 1\) inputs and outputs; .* has \(3, 1\)"),
        ("other.onnx", "pruned is 'other.onnx'; it must be a Network"),
        (0.5, "pruned is 0.5; it must be a Network"),
        (prune(dense_network((3, 2, 1), 0)), r"pruned is PrunedNetwork\(.*; it must be a Network, such as prune"),
    ):
        with pytest.raises(OptionError, match=message):
            pruned_surrogate(small, BOX, pruned=wrong)


@pytest.mark.parametrize("mode", MODES)
def test_ctrl_c_keeps_what_there_is(mode: str) -> None:
    network, box = dense_network((8, 24, 24, 24, 1), 7), Box.full(8, -1.0, 1.0)
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    best = pruned_surrogate(network, box, sparsity=0.5, mode=mode, time_limit=120.0)
    timer.join()
    assert best.status == "interrupted"
    assert best.seconds < 60.0
    assert best.x is not None
    assert best.value == float(network(best.x)[0])


def test_networks_without_relus_stay() -> None:
    network = Network([Layer([[1.0, -2.0]], [0.5], relu=False)])
    best = pruned_surrogate(network, Box([-1, -1], [1, 1]), sparsity=0.9)
    assert (best.status, best.value) == ("optimal", 3.5)
