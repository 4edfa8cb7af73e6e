"""`auto`, the default of `maximize`: networks, polytopes and models with whole columns, its islands and its finish."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from search_problems import dense_network, over_box, patterns, region_value, two_networks

from omlt_ext import Box, Layer, Network, Polytope
from omlt_ext.heuristics import Auto, maximize
from omlt_ext.heuristics import auto as auto_module
from omlt_ext.heuristics.ascent import Ascent
from omlt_ext.heuristics.finish import Finish
from omlt_ext.heuristics.islands import ELITES, FAMOUS, ISLANDS, SIZE, STANDSTILL, Islands
from omlt_ext.search import Incumbent, Problem

Optimum = Callable[..., float]
MakeNetwork = Callable[..., Network]


def searched(problem: Problem, *, seed: int = 0, rounds: int | None = None, gap: float = 1e-6) -> Incumbent:
    incumbent = Incumbent(problem, gap)
    Auto().search(problem, incumbent, np.random.default_rng([seed, 0]), rounds)
    return incumbent


@pytest.mark.parametrize(("sizes", "seed"), [((2, 5, 1), 0), ((2, 4, 3, 1), 1), ((3, 4, 4, 2), 2), ((1, 8, 1), 3)])
def test_one_round_finds_the_optimum_of_tiny_networks(
    sizes: tuple[int, ...], seed: int, make_network: MakeNetwork, brute_force: Optimum
) -> None:
    network, box, c = make_network(sizes, seed), Box.full(sizes[0], -1.0, 0.75), np.ones(sizes[-1])
    result = maximize(network, box, c, rounds=1, gap=1e-5)
    truth = brute_force(network, box, c)
    assert result.value == pytest.approx(truth, rel=1e-7, abs=1e-7)
    assert result.bound >= truth - 1e-9  # type: ignore[operator]


@pytest.mark.parametrize("c", [[1.0, 0.0, 0.0], [0.3, -1.0, 2.0], [-0.3, 1.0, -2.0]])
def test_every_kind_of_neuron(c: list[float], every_state_network: tuple[Network, Box], brute_force: Optimum) -> None:
    network, box = every_state_network
    result = maximize(network, box, c, rounds=1)
    assert result.value == pytest.approx(brute_force(network, box, np.array(c)), abs=1e-6)


def test_climbs_and_walks_alone_find_optima(
    monkeypatch: pytest.MonkeyPatch, make_network: MakeNetwork, brute_force: Optimum
) -> None:
    monkeypatch.setattr(auto_module, "solve", lambda *args, **options: None)
    for seed in range(4):
        network, box = make_network((2, 6, 4, 1), seed), Box.full(2, -1.0, 0.75)
        found = searched(Problem.of_network(network, box), rounds=3)
        assert found.nodes == 0
        assert found.value == pytest.approx(brute_force(network, box, np.ones(1)), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("equation", [False, True])
def test_polytopes(equation: bool) -> None:
    network = dense_network((3, 4, 3, 1), 4)
    A, b = np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 1.0]]), np.array([0.4, 0.3])
    if equation:
        A, b = np.concatenate([A, -A[:1]]), np.append(b, -b[0])
    problem = Problem.of_network(network, Polytope(Box.full(3, -1.0, 1.0), A, b))
    truth = max(region_value(problem, pattern) for pattern in patterns(problem))
    found = searched(problem, rounds=4)
    assert found.value == pytest.approx(truth, rel=1e-6, abs=1e-6)
    assert found.bound >= truth - 1e-9
    assert found.v is not None
    assert problem.violations(found.v[None, :]) <= 1e-6


def test_a_polytope_without_a_point(make_network: MakeNetwork) -> None:
    nowhere = Polytope(Box.full(3, 0.0, 1.0), [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]], [1.0, -1.5])
    result = maximize(make_network((3, 5, 1), 0), nowhere)
    assert result.x is None
    assert result.status == "infeasible"


@pytest.mark.parametrize("time_limit", [None, 10.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_on_outputs_whole_columns_and_two_networks(seed: int, time_limit: float | None) -> None:
    problem = two_networks(seed)
    truth = max(region_value(problem, pattern) for pattern in patterns(problem))
    incumbent = Incumbent(problem, 1e-5, time_limit)
    Auto().search(problem, incumbent, np.random.default_rng(0), rounds=3)
    assert incumbent.value == pytest.approx(truth, rel=2e-5, abs=2e-5)
    assert incumbent.bound >= truth - 1e-9
    assert incumbent.v is not None
    assert problem.violations(incumbent.v[None, :]) <= 1e-6


def test_same_seed_same_way(make_network: MakeNetwork) -> None:
    network = make_network((6, 40, 40, 1), 5)
    first, second, other = (maximize(network, (-1, 1), rounds=6, seed=seed) for seed in (3, 3, 4))
    assert first.x is not None
    assert np.array_equal(first.x, second.x)  # type: ignore[arg-type]
    assert (first.value, first.bound, first.nodes) == (second.value, second.bound, second.nodes)
    assert list(first.history.value.dropna()) != list(other.history.value.dropna())


def test_more_rounds_find_no_less(make_network: MakeNetwork) -> None:
    network = make_network((12, 40, 40, 1), 6)
    values = [maximize(network, (-1, 1), rounds=rounds).value for rounds in (1, 3, 8)]
    assert values == sorted(values)  # type: ignore[type-var]


def test_without_a_limit_branch_and_bound_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_module, "FEW", 0)  # not before the islands have come to a standstill
    network = dense_network((2, 12, 8, 1), 0)
    result = maximize(network, (-1, 1), gap=1e-5)
    assert result.status == "optimal"
    assert result.nodes > 0
    assert result.gap <= 1e-5  # type: ignore[operator]


@pytest.mark.parametrize("time_limit", [0.0, 0.3, 1.0])
def test_time_limit(time_limit: float, make_network: MakeNetwork) -> None:
    network = make_network((50, 60, 60, 60, 1), 1)
    begin = time.perf_counter()
    result = maximize(network, (-1, 1), time_limit=time_limit)
    assert time.perf_counter() - begin < time_limit + 2.0
    assert result.status == "time_limit"
    assert result.value is not None


def few_generations(islands: Islands, count: int) -> list[int]:
    return [i for _ in range(count) for i in islands.generation()]


def test_islands_live_apart_and_are_given_up_when_they_stand_still(make_network: MakeNetwork) -> None:
    problem = Problem.of_network(make_network((4, 6, 1), 0), (-1, 1))  # easy: every island has its best point soon
    islands = Islands(problem, Ascent(problem), np.random.default_rng(0))
    assert islands.champions == []
    assert few_generations(islands, 1) == []
    assert sorted(islands.champions) == list(range(ISLANDS))
    assert all(elites.V.shape[0] <= min(SIZE, ELITES) for elites in islands.elites)
    assert [islands.elites[i].best for i in islands.champions] == sorted(
        (elites.best for elites in islands.elites), reverse=True
    )
    given_up = few_generations(islands, 3 * STANDSTILL)
    assert set(given_up) == set(range(ISLANDS))
    assert islands.given_up == len(given_up)
    assert 1 <= islands.hall.merits.size <= FAMOUS * len(given_up)
    assert islands.hall.best == pytest.approx(problem.value(islands.hall.V[0]), abs=1e-5)


def test_every_other_island_begins_anew_from_the_hall(make_network: MakeNetwork) -> None:
    problem = Problem.of_network(make_network((5, 8, 1), 1), (-1, 1))
    islands = Islands(problem, Ascent(problem), np.random.default_rng(0))
    from_hall: list[bool] = []
    while len(from_hall) < 4:
        for i in few_generations(islands, 1):
            known = {v.tobytes() for v in islands.hall.V}
            there = [v.tobytes() for v in islands.elites[i].V]
            assert known.issuperset(there)
            from_hall.append(len(there) > 0)
    assert from_hall[:4] == [False, True, False, True]


def test_what_a_walk_found_joins_the_hall(make_network: MakeNetwork) -> None:
    problem = Problem.of_network(make_network((4, 6, 1), 2), (-1, 1))
    incumbent = Incumbent(problem)
    islands = Islands(problem, Ascent(problem), np.random.default_rng(0))
    finish = Finish(problem, incumbent, np.random.default_rng(1))
    while islands.hall.merits.size == 0:
        for i in islands.generation():
            local = finish.walk(islands.best(i))
            islands.settle(i, local)
            if local is not None:
                assert islands.elites[i].best >= local.value
    assert islands.hall.best >= incumbent.value - 1e-6


def test_islands_stop_where_time_does(make_network: MakeNetwork) -> None:
    problem = Problem.of_network(make_network((4, 6, 1), 0), (-1, 1))
    islands = Islands(problem, Ascent(problem), np.random.default_rng(0))
    assert list(islands.generation(lambda: False)) == []
    assert islands.champions == [0]  # what was climbed until then is kept


def test_finish_solves_a_region_once_and_climbs_further(make_network: MakeNetwork) -> None:
    problem = Problem.of_network(make_network((4, 10, 10, 1), 3), (-1, 1)).with_bounds()
    incumbent = Incumbent(problem)
    finish = Finish(problem, incumbent, np.random.default_rng(0))
    x = np.full(4, 0.1)
    polished = finish.polish(x)
    assert polished is not None
    assert polished.value >= problem.value(x)
    assert incumbent.value == polished.value
    assert not finish.is_new(x)
    walked = finish.walk(x)
    assert walked is not None
    assert walked.value >= polished.value
    assert incumbent.value == walked.value
    assert finish.walk(x) is None


def test_finish_widens_small_problems_to_the_optimum() -> None:
    problem = over_box((2, 4, 3, 1), 1).with_bounds()
    truth = max(region_value(problem, pattern) for pattern in patterns(problem))
    incumbent = Incumbent(problem)
    finish = Finish(problem, incumbent, np.random.default_rng(0))
    assert finish.widens
    finish.walk(np.zeros(2))  # MIPs that free the ten nearest of seven neurons are the whole problem
    assert incumbent.value == pytest.approx(truth, rel=1e-7, abs=1e-7)


def test_finish_repairs_as_long_as_nothing_is_feasible() -> None:
    network = Network([Layer([[1.0]], [-0.3], relu=True)])
    problem = replace(  # max -x where relu(x - 0.3) >= 0.5: nothing in the region of x = 0.1, the best x is 0.8
        Problem.of_network(network, (-1, 1)),
        c=np.array([-1.0]),
        d=np.zeros(1),
        R=sparse.csr_array((1, 1)),
        S=sparse.csr_array(np.ones((1, 1))),
        row_lower=np.array([0.5]),
        row_upper=np.array([np.inf]),
    ).with_bounds()
    incumbent = Incumbent(problem)
    local = Finish(problem, incumbent, np.random.default_rng(0)).polish(np.array([0.1]))
    assert local is not None
    assert local.v == pytest.approx([0.8])
    assert incumbent.v == pytest.approx([0.8])
    assert Finish(problem, incumbent, np.random.default_rng(0)).polish(np.array([0.1])) is None


def test_whole_columns_are_part_of_what_was_seen() -> None:
    problem = replace(over_box((2, 3, 1), 0), integer=np.array([True, False])).with_bounds()
    finish = Finish(problem, Incumbent(problem), np.random.default_rng(0))
    at = np.array([[0.0, 0.1], [-1.0, 0.1]])
    assert len({finish._key(x) for x in at}) == 2
    assert all(finish.polish(x) is not None for x in at)


def test_a_region_is_another_one_with_other_whole_columns() -> None:
    # max y = relu(x + k) with x + k <= 1.5: the same pattern with k = 0 and k = 1, best at 1 and at 1.5
    network = Network([Layer([[1.0, 1.0]], [0.0], relu=True)])
    problem = replace(
        Problem.of_network(network, Polytope(Box.full(2, 0.0, 1.0), [[1.0, 1.0]], [1.5])),
        integer=np.array([False, True]),
    ).with_bounds()
    walks = Finish(problem, Incumbent(problem), np.random.default_rng(0)).walks
    values = [walks._solve(walks.regions.pattern(v), v) for v in np.array([[0.5, 0.0], [0.25, 1.0]])]
    assert [local.value for local in values if local] == pytest.approx([1.0, 1.5])
    pattern = walks.regions.pattern(np.array([0.5, 0.0]))
    assert walks._solve(pattern, np.array([0.1, 1.0])) is None  # as before
    assert walks._solve(pattern, None) is not None
    assert walks._solve(pattern, None) is None  # decided for all whole columns
    assert walks.regions.key(pattern, np.array([0.5, -0.0])) == walks.regions.key(pattern, np.array([0.5, 0.0]))


def test_ends_to_draw_points_between() -> None:
    inf = np.inf
    problem = replace(
        over_box((4, 3, 1), 0),
        lower=np.array([-1.0, 2.0, -inf, -inf]),
        upper=np.array([1.0, inf, 5.0, inf]),
    )
    lower, upper = problem.finite_ends()
    assert list(lower) == [-1.0, 2.0, 5.0, 0.0]
    assert list(upper) == [1.0, 2.0, 5.0, 0.0]
