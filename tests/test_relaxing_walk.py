"""Relax and walk: against enumeration, its rules one by one, and on problems with more than a box."""

import os
import signal
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Box, Layer, Network, OmltExtError
from omlt_ext.domain import Polytope
from omlt_ext.errors import OptionError
from omlt_ext.heuristics import maximize
from omlt_ext.heuristics.relaxation import Relaxation, Relaxed, Restriction
from omlt_ext.heuristics.relaxing_walk import RelaxingWalk, relaxing_walk
from omlt_ext.heuristics.starts import Picking, relaxation_starts
from omlt_ext.heuristics.walk import Rules, Walks, beyond
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.problem import Placed, Problem

Optimum = Callable[..., float]
MakeNetwork = Callable[..., Network]

METHODS = {
    "default": RelaxingWalk(),
    "published": RelaxingWalk.published(),
    "random_flips": RelaxingWalk.random_flips(),
    "uniform_starts": RelaxingWalk.uniform_starts(),
    "all_retries": RelaxingWalk(crossing="step", retries=("all_tight", "random", "random"), cap=None),
    "current": RelaxingWalk(xi="current", delta=0.1, misses=5, stop_gain=1e-3, steps=100),
    "border": RelaxingWalk(retries=(), nodes=100),
}


def incumbent_of(problem: Problem, v: np.ndarray | None = None) -> Incumbent:
    incumbent = Incumbent(problem)
    if v is not None:
        incumbent.offer(v)
    return incumbent


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("sizes", "seed", "c"),
    [((1, 6, 1), 0, [1.0]), ((2, 5, 1), 1, [2.0]), ((2, 4, 4, 2), 2, [1.0, -1.0]), ((2, 3, 3, 3, 1), 4, [-1.0])],
)
def test_finds_the_optimum_of_tiny_networks(
    name: str, sizes: tuple[int, ...], seed: int, c: list[float], make_network: MakeNetwork, brute_force: Optimum
) -> None:
    network, box = make_network(sizes, seed), Box.full(sizes[0], -1.0, 0.75)
    truth = brute_force(network, box, np.array(c))
    result = maximize(network, box, c, method=METHODS[name], rounds=15, gap=1e-5)
    assert result.x is not None
    assert box.contains(result.x)
    assert result.value == float(np.array(c) @ network(result.x))
    assert result.value == pytest.approx(truth, rel=1e-6, abs=1e-6)
    assert result.bound >= truth - 1e-9  # type: ignore[operator]


@pytest.mark.parametrize("c", [[1.0, 0.0, 0.0], [0.3, -1.0, 2.0], [0.0, 0.0, 0.0]])
def test_every_kind_of_neuron(c: list[float], every_state_network: tuple[Network, Box], brute_force: Optimum) -> None:
    network, box = every_state_network
    result = relaxing_walk(network, box, c, rounds=40)
    assert result.value == pytest.approx(brute_force(network, box, np.array(c)), abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_result(name: str, make_network: MakeNetwork) -> None:
    network = make_network((6, 12, 12, 1), 5)
    first, again = (maximize(network, (-1, 1), method=METHODS[name], rounds=4, seed=3) for _ in range(2))
    assert np.array_equal(first.x, again.x)  # type: ignore[arg-type]
    assert np.array_equal(first.history.value, again.history.value, equal_nan=True)


def test_more_rounds_find_no_less(make_network: MakeNetwork) -> None:
    network = make_network((6, 20, 20, 1), 2)
    values = [relaxing_walk(network, (-1, 1), rounds=rounds).value for rounds in (1, 3, 9)]
    assert all(a <= b for a, b in pairwise(values))  # type: ignore[operator]
    assert values[0] > network(np.zeros(6))[0]  # type: ignore[operator]


@given(
    sizes=st.lists(st.integers(1, 8), min_size=2, max_size=4), seed=st.integers(0, 2**20), crossing=st.integers(0, 2)
)
@settings(max_examples=40, deadline=None)
def test_values_grow_along_a_walk(sizes: list[int], seed: int, crossing: int, make_network: MakeNetwork) -> None:
    network = make_network(tuple(sizes), seed)
    problem = Problem.of_network(network, Box.full(sizes[0], -1.0, 1.0), np.ones(sizes[-1]))
    rng, incumbent = np.random.default_rng(seed), incumbent_of(problem)
    rules = Rules((("step", "random", "all_tight")[crossing],), 0.01, 0.0, None, True, 0)
    walks = Walks(problem, incumbent, rules, rng)
    x = rng.uniform(-1.0, 1.0, sizes[0])
    entered = walks.enter(x)
    assert entered is not None
    pattern, here = entered
    assert here.value >= problem.value(x) - 1e-9 * (1 + abs(here.value))
    values = [here.value]
    while (found := next(walks._better(x, pattern, here), None)) is not None:
        x, pattern, here = found
        values.append(here.value)
    assert all(a < b for a, b in pairwise(values))
    assert incumbent.value == pytest.approx(max(values))
    assert len(values) <= len(walks.visited)


def test_steps_end_a_walk(make_network: MakeNetwork) -> None:
    problem = Problem.of_network(make_network((8, 30, 30, 1), 1), Box.full(8, -1.0, 1.0))
    for steps in (1, 2, 3):
        walks = Walks(
            problem, incumbent_of(problem), Rules(("step",), 0.01, 0.0, steps, True, 0), np.random.default_rng(0)
        )
        x = np.zeros(8)
        entered = walks.enter(x)
        assert entered is not None
        walks.walk(x, *entered)
        assert len(walks.visited) == steps


def test_stop_gain_ends_a_walk_earlier(make_network: MakeNetwork) -> None:
    network = make_network((8, 30, 30, 1), 1)
    short, long = (relaxing_walk(network, (-1, 1), rounds=1, stop_gain=gain, retries=()) for gain in (10.0, 0.0))
    assert short.value < long.value  # type: ignore[operator]


def test_no_region_is_solved_twice(make_network: MakeNetwork) -> None:
    problem = Problem.of_network(make_network((3, 8, 1), 1), Box.full(3, -1.0, 1.0))
    walks = Walks(problem, incumbent_of(problem), Rules(("step",), 0.01, 0.0, None, True, 0), np.random.default_rng(0))
    assert walks.enter(np.zeros(3)) is not None
    assert walks.enter(np.zeros(3)) is None
    again = Walks(problem, incumbent_of(problem), Rules(("step",), 0.01, 0.0, None, False, 0), np.random.default_rng(0))
    assert again.enter(np.zeros(3)) is not None
    assert again.enter(np.zeros(3)) is not None


class Recording(Relaxation):
    """A relaxation that remembers what it was asked and what it answered."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.asked: list[list[Restriction]] = []
        self.solved: list[Relaxed | None] = []

    def solve(self, restrictions: Any = (), *, time_limit: float | None = None) -> Relaxed | None:
        self.asked.append(list(restrictions))
        self.solved.append(super().solve(restrictions, time_limit=time_limit))
        return self.solved[-1]


def recorded(network: Network, picking: Picking, starts: int) -> Recording:
    problem = Problem.of_network(network, Box.full(network.n_inputs, -1.0, 1.0))
    relaxation = Recording(problem)
    found = relaxation_starts(relaxation, picking, incumbent_of(problem), np.random.default_rng(0))
    for _, _ in zip(range(starts), found, strict=False):
        pass
    return relaxation


def test_restrictions_accumulate_layer_by_layer(make_network: MakeNetwork) -> None:
    network = make_network((4, 6, 6, 6, 1), 3)
    relaxation = recorded(network, Picking(0.05, "first", None, None), 40)
    assert relaxation.asked[0] == []
    first = relaxation.solved[0]
    assert first is not None
    signs = network.pattern(first.v)
    kept: list[Restriction] = []
    layers = set()
    for restrictions, solved in zip(relaxation.asked[1:], relaxation.solved[1:], strict=True):
        if len(restrictions) == 1:
            kept = []  # a new round
        assert restrictions[:-1] == kept
        new = restrictions[-1]
        assert new.active != signs[new.layer][new.neuron]
        assert all(old.layer <= new.layer for old in kept)
        assert (new.layer, new.neuron) not in {(old.layer, old.neuron) for old in kept}
        layers.add(new.layer)
        kept = restrictions if solved is not None else kept
    assert layers == {0, 1, 2}  # the layers after the first are restricted too


def test_cap_and_misses_end_layers_and_rounds(make_network: MakeNetwork) -> None:
    network = make_network((4, 6, 6, 1), 3)
    capped = recorded(network, Picking(0.05, "first", 2, None), 30)
    longest = max(capped.asked, key=len)
    assert [restriction.layer for restriction in longest].count(0) <= 2
    assert {restriction.layer for restriction in longest} == {0, 1}
    missed = recorded(network, Picking(0.05, "first", None, 1), 30)
    after = [len(b) for b, solved in zip(missed.asked[1:], missed.solved, strict=False) if solved is None]
    assert after
    assert set(after) == {1}  # every miss begins a new round


def test_current_pattern_is_what_is_turned(make_network: MakeNetwork) -> None:
    network = make_network((4, 8, 8, 1), 6)
    relaxation = recorded(network, Picking(0.05, "current", None, None), 12)
    last = relaxation.solved[0]
    for restrictions, solved in zip(relaxation.asked[1:], relaxation.solved[1:], strict=True):
        last = relaxation.solved[0] if len(restrictions) == 1 else last
        new = restrictions[-1]
        assert last is not None
        assert new.active != network.pattern(last.v)[new.layer][new.neuron]
        last = solved if solved is not None else last


def test_network_without_open_neurons_is_one_region() -> None:
    network = Network([Layer([[1.0, 2.0]], [5.0], relu=True), Layer([[2.0]], [0.0], relu=False)])
    result = relaxing_walk(network, (-1, 1))
    assert result.status == "optimal"
    assert result.value == pytest.approx(16.0)


def polytope_of(network: Network, seed: int) -> Polytope:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(4, network.n_inputs))
    return Polytope(Box.full(network.n_inputs, -1.0, 1.0), A, A @ np.full(network.n_inputs, 0.1) + 0.3)


@pytest.mark.parametrize("name", METHODS)
def test_polytope(name: str, make_network: MakeNetwork) -> None:
    network = make_network((3, 8, 8, 1), 2)
    domain = polytope_of(network, 1)
    exact = maximize(network, domain, method="milp", gap=1e-5)
    result = maximize(network, domain, method=METHODS[name], rounds=12)
    assert result.x is not None
    assert domain.contains(result.x, 1e-6)
    assert result.value == pytest.approx(exact.value, rel=1e-4, abs=1e-4)


@given(seed=st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_a_step_keeps_to_rows_and_bounds(seed: int, make_network: MakeNetwork) -> None:
    network = make_network((5, 4, 1), seed)
    problem = Problem.of_network(network, polytope_of(network, seed))
    rng = np.random.default_rng(seed)
    walks = Walks(problem, incumbent_of(problem), Rules(("step",), 0.01, 0.0, None, True, 0), rng)
    x = np.full(5, 0.1)
    entered = walks.enter(x)
    assert entered is not None
    best = entered[1].v
    moved = beyond(problem, x, best, 0.5)
    assert problem.violations(moved[None])[0] <= 1e-7
    free = Problem.of_network(network, Box(problem.lower, problem.upper))
    plain = best + 0.5 * (best - x)
    assert beyond(free, x, best, 0.5) == pytest.approx(np.where(np.abs(plain) <= 1.0, plain, best))


def with_outputs() -> Problem:
    """max y_1 + 0.2 v_2 where y = (relu(v_0) + relu(-v_1), relu(v_0 - v_1)), y_0 <= 1, v_2 + y_1 <= 3.4, v_2 whole."""
    hidden = Layer([[1.0, 0.0], [0.0, -1.0], [1.0, -1.0]], np.zeros(3), relu=True)
    network = Network([hidden, Layer([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.zeros(2), relu=False)])
    return Problem(
        networks=(Placed(network, np.array([0, 1]), slice(0, 2)),),
        c=np.array([0.0, 0.0, 0.2]),
        d=np.array([0.0, 1.0]),
        offset=0.0,
        R=sparse.csr_array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        S=sparse.csr_array([[1.0, 0.0], [0.0, 1.0]]),
        row_lower=np.array([-np.inf, -np.inf]),
        row_upper=np.array([1.0, 3.4]),
        lower=np.array([-2.0, -2.0, 0.0]),
        upper=np.array([2.0, 2.0, 10.0]),
        integer=np.array([False, False, True]),
    )


@pytest.mark.parametrize("name", METHODS)
def test_rows_with_outputs_and_a_whole_column(name: str) -> None:
    """y_1 <= y_0 <= 1 wherever v_0 >= 0 >= v_1, and y_1 <= v_0 - v_1 elsewhere: y_1 = 1 and v_2 = 2 are best."""
    problem = with_outputs()
    incumbent = incumbent_of(problem)
    METHODS[name].search(problem, incumbent, np.random.default_rng(0), rounds=10)
    assert incumbent.v is not None
    assert problem.violations(incumbent.v[None])[0] <= 1e-6
    assert incumbent.value == pytest.approx(1.4)


def narrow(network: Network, x: np.ndarray, width: float) -> Problem:
    """max sum of x where every output lies within `width` of f(x): most regions have no feasible point."""
    n, m = network.n_inputs, network.n_outputs
    y = network(x)
    return Problem(
        networks=(Placed(network, np.arange(n), slice(0, m)),),
        c=np.ones(n),
        d=np.zeros(m),
        offset=0.0,
        R=sparse.csr_array((m, n)),
        S=sparse.csr_array(np.eye(m)),
        row_lower=y - width,
        row_upper=y + width,
        lower=np.full(n, -1.0),
        upper=np.full(n, 1.0),
        integer=np.zeros(n, dtype=bool),
    )


@pytest.mark.parametrize("seed", range(6))
def test_starts_without_a_feasible_point_are_repaired(seed: int, make_network: MakeNetwork) -> None:
    network = make_network((5, 12, 12, 2), seed, scale=0.6)
    problem = narrow(network, np.random.default_rng(seed).uniform(-1, 1, 5), 0.02)
    incumbent = incumbent_of(problem)
    RelaxingWalk().search(problem, incumbent, np.random.default_rng(0), rounds=10)
    assert incumbent.v is not None
    assert problem.violations(incumbent.v[None])[0] <= 1e-6


def test_the_first_walk_starts_from_the_best_point_known(make_network: MakeNetwork) -> None:
    network = make_network((5, 12, 12, 2), 3, scale=0.6)
    x = np.random.default_rng(3).uniform(-1, 1, 5)
    problem = narrow(network, x, 0.02)
    local = Walks(problem, incumbent_of(problem), Rules((), 0.01, 0.0, 1, True, 0), np.random.default_rng(0)).enter(x)
    assert local is not None
    incumbent = incumbent_of(problem, x)
    RelaxingWalk(steps=1).search(problem, incumbent, np.random.default_rng(0), rounds=1)
    assert incumbent.value == pytest.approx(local[1].value)


@pytest.mark.parametrize("domain", [Polytope(Box.full(3, 0, 1), [[1.0, 1.0, 1.0]], [-1.0])])
def test_empty_domain(domain: Polytope, make_network: MakeNetwork) -> None:
    result = relaxing_walk(make_network((3, 5, 1), 0), domain)
    assert (result.x, result.value, result.status) == (None, None, "infeasible")


def test_a_domain_that_is_empty_by_less_than_the_tolerance_of_points(make_network: MakeNetwork) -> None:
    rows = Polytope(Box([0], [1]), [[1.0], [-1.0]], [0.5, -0.5 - 5e-7])  # 0.5 is a point, to 1e-6; HiGHS sees none
    result = relaxing_walk(make_network((1, 5, 1), 0), rows, rounds=3)
    assert result.x is not None
    assert result.status == "limit"
    assert result.x[0] == pytest.approx(0.5, abs=2e-6)


@pytest.mark.parametrize("time_limit", [0, 0.01, 1.0])
def test_time_limit(time_limit: float, make_network: MakeNetwork) -> None:
    network = make_network((40, 80, 80, 1), 0, scale=0.2)
    result = relaxing_walk(network, (-1, 1), time_limit=time_limit)
    assert result.status == "time_limit"
    assert result.x is not None
    assert result.seconds < time_limit + 3.0


def test_ctrl_c_returns_the_best_so_far(make_network: MakeNetwork) -> None:
    network = make_network((40, 80, 80, 1), 0, scale=0.2)
    timer = threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    result = relaxing_walk(network, (-1, 1), time_limit=60)
    timer.join()
    assert result.status == "interrupted"
    assert result.x is not None
    assert result.seconds < 20


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"starts": "luck"}, "starts is 'luck'; it must be one of 'relaxation', 'uniform'"),
        ({"crossing": "jump"}, "crossing is 'jump'"),
        ({"crossing": 3}, "crossing is 3"),
        ({"retries": ("step", "jump")}, "retries is 'jump'"),
        ({"retries": "jump"}, "retries is 'jump'"),
        ({"xi": None}, "xi is None"),
        ({"epsilon": 0.0}, "epsilon is 0.0; it must be a number above 0"),
        ({"epsilon": np.nan}, "epsilon is nan"),
        ({"delta": "a"}, "delta is 'a'"),
        ({"stop_gain": -0.1}, "stop_gain is -0.1; it must be a number of at least 0"),
        ({"cap": 0}, "cap is 0; it must be a whole number of at least 1"),
        ({"nodes": None}, "nodes is None"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"memory": "no"}, "memory is 'no'; it must be True or False"),
        ({"step": 1}, "has no option 'step'; it has starts, "),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], says: str, make_network: MakeNetwork) -> None:
    error: type[OmltExtError] = OptionError
    with pytest.raises(error, match=says):
        relaxing_walk(make_network((2, 3, 1), 0), (0, 1), **options)


def test_variants_have_the_published_rules() -> None:
    published = RelaxingWalk.published(epsilon=0.001)
    assert (published.crossing, published.retries, published.epsilon) == ("step", (), 0.001)
    assert not published.warm
    assert (published.memory, published.cap, published.xi, published.delta) == (False, None, "first", 0.05)
    assert RelaxingWalk.random_flips().crossing == "random"
    assert RelaxingWalk.uniform_starts().starts == "uniform"
    with pytest.raises(TypeError, match="'speed'"):
        RelaxingWalk.published(speed=1)
