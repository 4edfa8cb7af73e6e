"""Gradient ascent: slopes against differences, projections against a solver, optima against enumeration."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import minimize

from omlt_ext import Box, Layer, Network, Polytope
from omlt_ext.errors import OptionError
from omlt_ext.heuristics import Milp
from omlt_ext.heuristics.ascent import Ascent
from omlt_ext.heuristics.elites import Elites
from omlt_ext.heuristics.gradient_ascent import GradientAscent, gradient_ascent
from omlt_ext.heuristics.projection import Projection
from omlt_ext.heuristics.slopes import Slopes, Units
from omlt_ext.search import Placed, Problem, maximize
from omlt_ext.search.incumbent import Incumbent

Optimum = Callable[..., float]
MakeNetwork = Callable[..., Network]


def mixed_network(seed: int) -> Network:
    """A CSR layer first, linear neurons in the middle, a ReLU among the outputs."""
    rng = np.random.default_rng(seed)
    first = sparse.csr_array(np.where(rng.random((8, 5)) < 0.3, rng.normal(size=(8, 5)), 0.0))
    second = Layer(rng.normal(size=(6, 8)), rng.normal(size=6), relu=rng.random(6) < 0.5)
    third = Layer(rng.normal(size=(3, 6)), rng.normal(size=3), relu=[False, True, False])
    return Network([Layer(first, rng.normal(size=8), relu=True), second, third])


def with_rows(seed: int) -> Problem:
    """Two networks, one input read by both and twice by one, own columns, rows with outputs and a whole column."""
    rng = np.random.default_rng(seed)
    first, second = mixed_network(seed), mixed_network(seed + 1)
    n, m = 10, 6
    return Problem(
        networks=(Placed(first, np.array([0, 3, 1, 4, 1]), slice(0, 3)), Placed(second, np.arange(4, 9), slice(3, 6))),
        c=rng.normal(size=n),
        d=rng.normal(size=m),
        offset=1.5,
        R=sparse.csr_array(rng.normal(size=(3, n))),
        S=sparse.csr_array(np.vstack([rng.normal(size=(2, m)), np.zeros((1, m))])),
        row_lower=np.array([-1.0, -np.inf, -3.0]),
        row_upper=np.array([np.inf, 1.0, 3.0]),
        lower=np.append(np.full(n - 1, -1.0), 0.0),
        upper=np.append(np.full(n - 1, 2.0), 3.0),
        integer=np.arange(n) == n - 1,
    )


@pytest.mark.parametrize("seed", range(4))
def test_slopes_are_those_of_differences(seed: int) -> None:
    problem = with_rows(seed)
    slopes = Slopes(problem, single=False)
    U = np.random.default_rng(seed).random((problem.n, 7))
    slopes.weigh(U)
    F, charge, G = slopes(U, 0.7)
    V = slopes.units.leave(U)
    assert problem.values(V) == pytest.approx(F)
    r = (problem.R @ V.T + problem.S @ problem.outputs(V).T)[:2]
    broken = np.maximum(np.maximum(problem.row_lower[:2, None] - r, r - problem.row_upper[:2, None]), 0.0)
    assert slopes.weights @ broken == pytest.approx(charge)
    assert (charge > 0.0).any()
    step = 1e-7
    for j in range(problem.n):
        ends = [slopes(U + sign * step * (np.arange(problem.n) == j)[:, None], 0.7) for sign in (1.0, -1.0)]
        high, low = (value - 0.7 * charged for value, charged, _ in ends)
        assert G[j] == pytest.approx((high - low) / (2 * step), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_single_precision_is_near_double(seed: int) -> None:
    problem = Problem.of_network(mixed_network(seed), (-1, 2), [1.0, 0.5, -2.0])
    U = np.random.default_rng(seed).random((5, 20))
    single, double = Slopes(problem), Slopes(problem, single=False)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    for near, exact in zip(single(U.astype(np.float32)), double(U), strict=True):
        assert near.dtype == np.float32
        assert near == pytest.approx(exact, rel=1e-4, abs=1e-4)


def test_numbers_beyond_single_precision_are_climbed_in_double() -> None:
    network = Network([Layer([[1e25, -1e25]], [0.0], relu=True), Layer([[1e10]], [0.0], relu=False)])
    ascent = Ascent(Problem.of_network(network, ([0, 0], [2, 2])))
    assert ascent.slopes.dtype is np.float64
    assert ascent.climb(np.array([[1.0, 0.5]]), 40) == pytest.approx(np.array([[2.0, 0.0]]))
    far = Network([Layer([[1e-30, 0.0]], [0.0], relu=True)])
    ascent = Ascent(Problem.of_network(far, Box([0, 0], [1e38, 1])))  # wide, but small in units of the box
    assert ascent.slopes.dtype is np.float32
    assert ascent.climb(np.array([[1e37, 0.5]]), 40) == pytest.approx(np.array([[1e38, 0.5]]))


def test_a_plateau_is_left() -> None:
    network = Network([Layer([[1.0, 1.0]], [-1.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
    problem = Problem.of_network(network, (0, 1))
    assert Slopes(problem)(np.zeros((2, 1), dtype=np.float32))[2].any() is np.False_
    assert Ascent(problem).climb(np.zeros((1, 2)), 60) == pytest.approx(np.ones((1, 2)))


def test_climbing_ends_above_the_start_and_in_the_box(make_network: MakeNetwork) -> None:
    network, box = make_network((6, 20, 20, 1), 3), Box(-np.arange(1.0, 7.0), [2, 1, 0, -1, 3, -6])  # one fixed
    V = box.sample(50, np.random.default_rng(0))
    climbed = Ascent(Problem.of_network(network, box)).climb(V, 60)
    assert box.contains(climbed)
    assert (climbed[:, 5] == -6.0).all()
    before, after = network(V)[:, 0], network(climbed)[:, 0]
    assert (after >= before - 1e-5 * np.abs(before)).all()
    assert np.median(after) > np.median(before) + 1.0


def polytope_problem(n: int, rows: int, seed: int) -> Problem:
    """Rows that cut through a box of unequal sides around a point inside."""
    rng = np.random.default_rng(seed)
    lower = rng.normal(size=n) - 1.0
    upper = lower + 0.2 + 2.0 * rng.random(n)
    A = rng.normal(size=(rows, n))
    b = A @ ((lower + upper) / 2) + 0.2 * rng.random(rows)
    return Problem.of_network(Network([Layer(np.ones((1, n)), [0.0], relu=True)]), Polytope(Box(lower, upper), A, b))


@given(n=st.integers(1, 12), rows=st.integers(1, 4), seed=st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_projections_are_the_nearest_points(n: int, rows: int, seed: int) -> None:
    problem = polytope_problem(n, rows, seed)
    projection = Projection(problem, Units(problem))
    P = np.random.default_rng(seed).normal(size=(n, 5)) * 2.0
    U = projection(P, 5000)
    A, b = projection.A.toarray(), projection.high[:, 0]
    assert (A @ U - b[:, None]).max() <= 1e-9
    assert (U >= 0.0).all()
    assert (U <= 1.0).all()
    assert projection.anchor is not None
    for p, u in zip(P.T, U.T, strict=True):
        row = {"type": "ineq", "fun": lambda x: b - A @ x, "jac": lambda x: -A}
        truth = minimize(
            lambda x, p=p: ((x - p) ** 2).sum() / 2,
            projection.anchor[:, 0],
            jac=lambda x, p=p: x - p,
            bounds=[(0, 1)] * n,
            constraints=[row],
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        if truth.status == 0:
            assert ((u - p) ** 2).sum() / 2 <= truth.fun + 1e-7


def test_equations_ranges_and_columns_without_ends() -> None:
    """x + y = 1, -1 <= y + 2 z <= 1, 0 <= x <= 1: the nearest points by hand."""
    network = Network([Layer([[1.0, 1.0, 1.0]], [0.0], relu=True)])
    problem = replace(
        Problem.of_network(network, Box.full(3, 0, 1)),
        R=sparse.csr_array([[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]]),
        S=sparse.csr_array((2, 1)),
        row_lower=np.array([1.0, -1.0]),
        row_upper=np.array([1.0, 1.0]),
        lower=np.array([0.0, -np.inf, -np.inf]),
        upper=np.array([1.0, np.inf, 5.0]),
    )
    units = Units(problem)
    found = units.leave(Projection(problem, units)(units.enter(np.array([[0.5, 0.5, 0.25], [3.0, 4.0, 2.0]])), 5000))
    assert found[0] == pytest.approx([0.5, 0.5, 0.25])
    assert found[1] == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)
    one_row = replace(problem, R=problem.R[:1], S=problem.S[:1], row_lower=np.ones(1), row_upper=np.ones(1))
    found = units.leave(Projection(one_row, units)(units.enter(np.array([[3.0, 4.0, 2.0], [0.0, -3.0, 2.0]]))))
    assert found == pytest.approx(np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0]]))


def test_what_comes_near_is_drawn_inside() -> None:
    problem = polytope_problem(20, 8, 0)
    projection = Projection(problem, Units(problem))
    near = projection(np.random.default_rng(0).normal(size=(20, 50)) * 2.0, 30)
    assert (projection.A @ near - projection.high).max() > 1e-6
    assert (projection.A @ projection.draw(near) - projection.high).max() <= 1e-12


@pytest.mark.parametrize("as_two_rows", [False, True])
def test_equations_do_not_draw_points_together(as_two_rows: bool, make_network: MakeNetwork) -> None:
    A = np.random.default_rng(0).normal(size=(3, 20))
    b = A.sum(axis=1) / 2
    rows = (np.vstack([A, -A]), np.append(b, -b)) if as_two_rows else (A, b)
    problem = Problem.of_network(make_network((20, 8, 1), 0), Polytope(Box.full(20, 0, 1), *rows))
    problem = problem if as_two_rows else replace(problem, row_lower=problem.row_upper)
    climbed = Ascent(problem).climb(np.random.default_rng(1).random((30, 20)), 20)
    assert problem.violations(climbed).max() <= 1e-6
    apart = np.abs(climbed[:, None] - climbed[None]).max(axis=2) + np.eye(30)
    assert apart.min() > 1e-3


@pytest.mark.parametrize(
    ("sizes", "seed", "c"),
    [
        ((1, 6, 1), 0, [1.0]),
        ((2, 5, 1), 1, [-2.0]),
        ((2, 4, 4, 2), 2, [1.0, -1.0]),
        ((3, 4, 3, 3), 3, [0.5, 0.0, -2.0]),
    ],
)
def test_optimum_is_that_of_enumeration(
    sizes: tuple[int, ...], seed: int, c: list[float], make_network: MakeNetwork, brute_force: Optimum
) -> None:
    network, box = make_network(sizes, seed), Box.full(sizes[0], -1.0, 0.75)
    result = gradient_ascent(network, box, c, rounds=3, starts=64)
    assert result.value == pytest.approx(brute_force(network, box, np.array(c)), rel=1e-7, abs=1e-7)
    assert result.x is not None
    assert box.contains(result.x)


@pytest.mark.parametrize("c", [[1.0, 0.0, 0.0], [0.3, -1.0, 2.0], [-0.3, 1.0, -2.0], [0.0, 0.0, 0.0]])
def test_every_kind_of_neuron(c: list[float], every_state_network: tuple[Network, Box], brute_force: Optimum) -> None:
    network, box = every_state_network
    result = gradient_ascent(network, box, c, rounds=2, starts=64)
    assert result.value == pytest.approx(brute_force(network, box, np.array(c)), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("rows", [1, 3])
def test_polytopes_are_kept_to_and_reached(rows: int, make_network: MakeNetwork) -> None:
    network, box = make_network((3, 12, 8, 1), 4), Box.full(3, -1, 1)
    rng = np.random.default_rng(rows)
    polytope = Polytope(box, rng.normal(size=(rows, 3)), np.full(rows, 0.1))
    truth = maximize(network, polytope, method="milp", gap=1e-5)
    result = gradient_ascent(network, polytope, rounds=4)
    assert result.x is not None
    assert polytope.contains(result.x, 1e-6)
    assert result.value == pytest.approx(truth.value, rel=2e-5)
    climbed = Ascent(Problem.of_network(network, polytope)).climb(box.sample(40, rng), 50)
    assert polytope.contains(climbed, 1e-9)  # before any LP


@pytest.mark.parametrize("seed", [3, 7])
def test_a_whole_model_with_rows_on_outputs_and_whole_columns(seed: int, make_network: MakeNetwork) -> None:
    """max y_0 - y_1 / 2 + k - |x_0| with y_0 + y_1 <= 2, y_1 >= k, k whole, and a column for |x_0|."""
    network = make_network((3, 8, 6, 2), seed)
    problem = Problem(
        networks=(Placed(network, np.arange(3), slice(0, 2)),),
        c=np.array([0.0, 0.0, 0.0, 1.0, -1.0]),
        d=np.array([1.0, -0.5]),
        offset=2.0,
        R=sparse.csr_array([[0, 0, 0, 0, 0], [0, 0, 0, -1.0, 0], [1.0, 0, 0, 0, -1.0], [-1.0, 0, 0, 0, -1.0]]),
        S=sparse.csr_array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]),
        row_lower=np.array([-np.inf, 0.0, -np.inf, -np.inf]),
        row_upper=np.array([2.0, np.inf, 0.0, 0.0]),
        lower=np.array([-1.0, -1.0, -1.0, 0.0, -np.inf]),
        upper=np.array([1.0, 1.0, 1.0, 5.0, np.inf]),
        integer=np.array([False, False, False, True, False]),
    )
    exact, found = Incumbent(problem, 1e-6), Incumbent(problem, 0.0)
    Milp().search(problem.with_bounds(), exact, np.random.default_rng(0))
    GradientAscent().search(problem, found, np.random.default_rng(0), rounds=6)
    assert found.v is not None
    assert problem.violations(found.v[None, :])[0] <= 1e-6
    assert found.value == pytest.approx(exact.value, rel=1e-4)


def test_same_seed_same_result(make_network: MakeNetwork) -> None:
    network = make_network((8, 20, 20, 1), 5)
    first, second = (gradient_ascent(network, (-1, 1), rounds=3, seed=7, starts=32) for _ in range(2))
    assert first.x is not None
    assert np.array_equal(first.x, second.x)  # type: ignore[arg-type]
    assert np.array_equal(first.history.value, second.history.value, equal_nan=True)


def test_it_ends_by_itself(make_network: MakeNetwork) -> None:
    network = make_network((4, 10, 10, 1), 5)
    result = gradient_ascent(network, (-1, 1), starts=32, patience=3)
    assert result.status == "limit"
    assert result.value == pytest.approx(maximize(network, (-1, 1), method="milp", gap=1e-5).value, rel=2e-5)


def test_time_limit_covers_everything(make_network: MakeNetwork) -> None:
    network = make_network((200, 300, 300, 300, 1), 0, scale=0.1)
    result = gradient_ascent(network, (-1, 1), time_limit=0.7)
    assert result.status == "time_limit"
    assert result.value == network(result.x)[0]
    assert 0.6 < result.seconds < 3.0


def test_ctrl_c_returns_the_best_so_far(make_network: MakeNetwork) -> None:
    network = make_network((20, 60, 60, 60, 1), 0, scale=0.2)
    timer = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    result = gradient_ascent(network, (-1, 1), time_limit=30)
    timer.join()
    assert result.status == "interrupted"
    assert result.value == network(result.x)[0]
    assert result.seconds < 10


@pytest.mark.parametrize(
    "network",
    [
        Network([Layer(np.zeros((2, 3)), [0.0, -1.0], relu=True), Layer([[1.0, 1.0]], [0.5], relu=False)]),
        Network([Layer(-np.ones((2, 3)), [-1.0, -1.0], relu=True), Layer([[1.0, 1.0]], [0.5], relu=False)]),
        Network([Layer(sparse.csr_array((1, 3)), [0.5], relu=False)]),
    ],
)
def test_dead_networks(network: Network) -> None:
    assert gradient_ascent(network, (0, 1), rounds=2).value == 0.5


def test_a_box_of_one_point(make_network: MakeNetwork) -> None:
    network, x = make_network((3, 4, 1), 1), np.array([0.1, -0.2, 0.3])
    result = gradient_ascent(network, Box(x, x), rounds=2)
    assert np.array_equal(result.x, x)  # type: ignore[arg-type]


def test_blocks_do_not_change_what_is_found(make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network((30, 40, 40, 1), 2)
    ascent = Ascent(Problem.of_network(network, (0, 1)))
    monkeypatch.setattr("omlt_ext.heuristics.ascent.BYTES", 1.0)
    assert ascent.block == 16
    V = np.random.default_rng(0).random((40, 30))
    climbed = ascent.climb(V, 40)
    assert (network(climbed)[:, 0] >= network(V)[:, 0] - 1e-5).all()
    assert climbed[32:] == pytest.approx(ascent.climb(V[32:], 40), abs=1e-4)


def test_elites_are_the_best_that_differ() -> None:
    problem = Problem.of_network(Network([Layer([[1.0, 1.0]], [0.0], relu=True)]), (0, 1))
    elites = Elites(problem, 3)
    V = np.array([[0.1, 0.1], [0.9, 0.9], [0.9, 0.90001], [0.5, 0.5], [0.2, 0.2], [np.nan, 0.0]])
    elites.add(V, np.append(V[:5].sum(axis=1), np.nan))
    assert elites.V[:, 0] == pytest.approx([0.9, 0.5, 0.2])
    near, far = elites.starts(100, 0.25, np.random.default_rng(0))
    assert (near.shape, far.shape) == ((75, 2), (25, 2))
    assert ((near >= 0.0) & (near <= 1.0)).all()
    assert np.unique(near, axis=0).shape[0] > 40


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"starts": 0}, "starts is 0"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"polish": -1}, "polish is -1"),
        ({"fresh": 2}, "fresh is 2"),
        ({"fresh": "half"}, "fresh is 'half'"),
        ({"speed": 3}, "no option 'speed'; it has starts"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], says: str, make_network: MakeNetwork) -> None:
    with pytest.raises(OptionError, match=says):
        gradient_ascent(make_network((2, 3, 1)), (0, 1), **options)  # type: ignore[arg-type]


def test_columns_without_ends_are_drawn_near_what_ends_there_are() -> None:
    network = Network([Layer([[1.0, 1.0, 1.0, 1.0]], [0.0], relu=True)])
    problem = replace(
        Problem.of_network(network, (0, 1)),
        lower=np.array([2.0, -np.inf, -np.inf, -1e308]),
        upper=np.array([np.inf, 5.0, np.inf, 1e308]),
    )
    elites = Elites(problem, 2)
    assert list(elites.low) == [2.0, 4.0, -1.0, -1.0]
    assert list(elites.high) == [3.0, 5.0, 1.0, 1.0]
    climbed = Ascent(problem).climb(np.array([[2.5, 0.0, 0.0, 0.0]]), 50)
    assert climbed[0, 1] > 1.0
    assert (climbed[0, [0, 2, 3]] > [3.5, 1.0, 1.0]).all()
