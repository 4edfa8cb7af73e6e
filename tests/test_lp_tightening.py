"""The LP rung: the value of the LP over the triangles, never on its wrong side, whatever is cut short."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from triangle import triangle_lp

from omlt_ext import Bounds, Box, Layer, Network, tighten_bounds
from omlt_ext.domain import Polytope
from omlt_ext.tightening import lp
from omlt_ext.tightening.effort import Effort
from omlt_ext.tightening.lp import lp_rung
from omlt_ext.tightening.task import Task

MakeNetwork = Callable[..., Network]


def task_of(network: Network, domain: Box | Polytope, effort: Effort | None = None, start: str = "crown") -> Task:
    """Bound the last layer, all layers before it bounded by `start`."""
    bounds = tighten_bounds(network, domain, start)
    return Task(network, bounds, effort or Effort("lp"), np.empty((0, network.n_inputs)), None)


def check_against_the_lp(task: Task, tolerance: float = 1e-6) -> None:
    found = lp_rung(task)
    assert found.finished
    last = len(task.network.layers) - 1
    for j, row in enumerate(np.eye(task.network.n_outputs)):
        low, high = (sign * triangle_lp(task.network, task.bounds, last, sign * row) for sign in (1.0, -1.0))
        size = max(1.0, abs(low), abs(high))
        assert low - tolerance * size <= found.lower[j] <= low + 1e-8 * size
        assert high + tolerance * size >= found.upper[j] >= high - 1e-8 * size


def mixed(network: Network) -> Network:
    """The same network with every fourth hidden neuron linear."""
    hidden = [Layer(layer.weight, layer.bias, np.arange(layer.n_out) % 4 > 0) for layer in network.layers[:-1]]
    return Network([*hidden, network.layers[-1]])


def simplex_of(box: Box, share: float = 0.4) -> Polytope:
    """Two rows through a box: sum x below a part of its range, and x_0 below x_1."""
    A = np.ones((2, box.n))
    A[1] = 0.0
    A[1, :2] = 1.0, -1.0
    return Polytope(box, A, [box.lower.sum() + share * box.width.sum(), 0.0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [(3, 15, 4), (6, 12, 10, 3), (5, 8, 8, 8, 3), (120, 20, 15, 3)])
def test_equals_the_lp(make_network: MakeNetwork, sizes: tuple[int, ...], seed: int) -> None:
    check_against_the_lp(task_of(mixed(make_network(sizes, seed, scale=0.5)), Box.full(sizes[0], -1, 1)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [(4, 3), (4, 12, 3), (60, 12, 10, 3)])
def test_equals_the_lp_over_a_polytope(make_network: MakeNetwork, sizes: tuple[int, ...], seed: int) -> None:
    network = mixed(make_network(sizes, seed, scale=0.5))
    check_against_the_lp(task_of(network, simplex_of(Box.full(sizes[0], -1, 1))))


def test_one_lp_with_everything_in_it_says_the_same(make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a row ends with when nothing before has settled it."""
    task = task_of(make_network((60, 20, 15, 5), 1, scale=0.5), Box.full(60, -1, 1))
    small = lp_rung(task)
    monkeypatch.setattr(lp, "ROUNDS", 1)
    whole = lp_rung(task)
    np.testing.assert_allclose(small.lower, whole.lower, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(small.upper, whole.upper, rtol=1e-7, atol=1e-7)
    check_against_the_lp(task)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    inputs=st.integers(1, 60),
    hidden=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    scale=st.sampled_from([1e-6, 0.3, 1.0, 50.0]),
    polytope=st.booleans(),
)
def test_contains_every_sample(
    make_network: MakeNetwork, seed: int, inputs: int, hidden: list[int], scale: float, polytope: bool
) -> None:
    rng = np.random.default_rng(seed)
    network = make_network((inputs, *hidden, 3), seed, scale=scale)
    box = Box(*np.sort(rng.normal(size=(2, inputs)), axis=0))
    A = rng.normal(size=(2, inputs))
    domain = Polytope(box, A, A @ box.center + 0.2 * np.abs(A) @ box.width) if polytope else box
    x = box.sample(2000, rng)
    x = x if isinstance(domain, Box) else x[(x @ domain.A.T <= domain.b).all(axis=1)]
    task = task_of(network, domain, start="dual")
    found = lp_rung(task)
    z = network.pre_activations(x)[-1]
    slack = 1e-12 * np.abs(z).max(initial=1.0)
    assert (z >= found.lower - slack).all()
    assert (z <= found.upper + slack).all()
    assert all(domain.contains(point, 1e-12) for point in found.points)


def test_tighter_than_dual_ascent_with_few_steps(make_network: MakeNetwork) -> None:
    network = make_network((30, 40, 40, 5), 2, scale=0.3)
    task = task_of(network, Box.full(30, 0, 1), start="dual")
    found, known = lp_rung(task), task.bounds
    assert (found.lower >= known.lower[-1] - 1e-9).all()
    assert (found.upper - found.lower).sum() < (known.upper[-1] - known.lower[-1]).sum()


def test_no_unstable_neuron_needs_no_column_but_the_inputs() -> None:
    network = Network(
        [Layer([[1.0, 1.0], [1.0, -1.0]], [5.0, -5.0], relu=True), Layer([[2.0, 3.0]], [1.0], relu=False)]
    )
    found = lp_rung(task_of(network, Box.full(2, -1, 1)))
    np.testing.assert_allclose([found.lower, found.upper], [[7.0], [15.0]])


def test_the_first_layer_over_a_box_is_left_to_intervals(make_network: MakeNetwork) -> None:
    found = lp_rung(task_of(make_network((4, 6), 0), Box.full(4, -1, 1)))
    assert found.finished
    assert (found.lower == -np.inf).all()
    assert (found.upper == np.inf).all()


def test_sparse_and_dense_weights_agree(make_network: MakeNetwork) -> None:
    network = make_network((20, 16, 16, 4), 5)
    thin = [layer.weight * (np.abs(layer.weight) > 1.2) for layer in network.layers]
    for before, W in zip(network.layers, thin, strict=True):
        assert 0 < np.count_nonzero(W) < before.weight.size
    dense = Network([Layer(W, y.bias, y.relu) for W, y in zip(thin, network.layers, strict=True)])
    stored = Network([Layer(sparse.csr_array(W), y.bias, y.relu) for W, y in zip(thin, network.layers, strict=True)])
    box = Box.full(20, -1, 1)
    one, other = lp_rung(task_of(dense, box)), lp_rung(task_of(stored, box))
    np.testing.assert_allclose(one.lower, other.lower, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(one.upper, other.upper, rtol=1e-7, atol=1e-7)
    check_against_the_lp(task_of(stored, box))


def test_a_row_of_zeros_is_its_bias(make_network: MakeNetwork) -> None:
    network = make_network((4, 8, 2), 3)
    top = Layer(network.layers[1].weight * [[1.0], [0.0]], network.layers[1].bias, relu=False)
    found = lp_rung(task_of(Network([network.layers[0], top]), Box.full(4, -1, 1)))
    np.testing.assert_allclose([found.lower[1], found.upper[1]], top.bias[1], atol=1e-12)


@pytest.mark.parametrize("scale", [1e5, 1e15, 1e30])
def test_large_numbers_give_valid_bounds(make_network: MakeNetwork, scale: float) -> None:
    """Single precision overflows on the way at 1e30."""
    network = make_network((5, 10, 8, 2), 4)
    first = Layer(scale * network.layers[0].weight, scale * network.layers[0].bias, relu=True)
    large, box = Network([first, *network.layers[1:]]), Box.full(5, -1, 1)
    found = lp_rung(task_of(large, box))
    z = large.pre_activations(box.sample(5000, np.random.default_rng(0)))[-1]
    assert (z >= found.lower).all()
    assert (z <= found.upper).all()
    if scale == 1e5:
        check_against_the_lp(task_of(large, box), tolerance=1e-5)


def test_a_deadline_that_has_passed(make_network: MakeNetwork) -> None:
    task = replace(task_of(make_network((4, 10, 3), 0), Box.full(4, -1, 1)), deadline=0.0)
    found = lp_rung(task)
    assert not found.finished
    assert (found.lower == -np.inf).all()
    assert (found.upper == np.inf).all()


def test_no_time_for_a_solve_leaves_valid_bounds(make_network: MakeNetwork) -> None:
    network, box = make_network((40, 30, 30, 3), 0, scale=0.3), Box.full(40, -1, 1)
    hurried, free = (lp_rung(task_of(network, box, Effort("lp", seconds_per_solve=s))) for s in (0.0, None))
    assert hurried.finished
    assert np.isfinite(hurried.lower).all()
    assert (hurried.lower <= free.lower + 1e-7).all()
    z = network.pre_activations(box.sample(2000, np.random.default_rng(0)))[-1]
    assert (z >= hurried.lower).all()
    assert (z <= hurried.upper).all()


def test_a_sign_that_is_decided_ends_the_work(make_network: MakeNetwork) -> None:
    network = make_network((6, 20, 12), 1, relu_output=True)
    shifted = Layer(network.layers[1].weight, np.linspace(-60, 60, 12), relu=True)
    network, box = Network([network.layers[0], shifted]), Box.full(6, -1, 1)
    task = task_of(network, box, Effort("lp", stop_at_sign=True))
    low, high = task.bounds.lower[-1], task.bounds.upper[-1]
    decided = (low >= 0) | (high <= 0)
    assert decided.any()
    assert not decided.all()
    found = lp_rung(task)
    assert (found.lower[decided] == -np.inf).all()
    assert (found.lower[~decided] > -np.inf).all()
    active = found.lower >= 0.0
    assert (found.upper[active & ~decided] == np.inf).all()  # the lower bound came first and was enough


def test_what_a_point_attains_is_not_solved(make_network: MakeNetwork) -> None:
    network, box = make_network((4, 10, 3), 0), Box.full(4, -1, 1)
    bounds = tighten_bounds(network, box, "crown")
    x = box.center
    z = network(x)
    tight = Bounds.of(network, box, [bounds.lower[0], z], [bounds.upper[0], bounds.upper[1]])
    found = lp_rung(Task(network, tight, Effort("lp"), x[None, :], None))
    assert (found.lower == -np.inf).all()
    assert np.isfinite(found.upper).all()


def test_points_are_handed_on(make_network: MakeNetwork) -> None:
    network, box = make_network((8, 20, 3), 0), Box.full(8, -1, 1)
    for domain in (box, simplex_of(box)):
        found = lp_rung(task_of(network, domain))
        assert 0 < found.points.shape[0] <= 6
        assert all(domain.contains(x, 1e-12) for x in found.points)


def test_an_empty_polytope_bounds_nothing_and_does_not_fail(make_network: MakeNetwork) -> None:
    network, box = make_network((3, 6, 2), 0), Box.full(3, 0, 1)
    bounds = replace(tighten_bounds(network, box, "crown"), polytope=Polytope(box, [[1.0, 1.0, 1.0]], [-1.0]))
    found = lp_rung(Task(network, bounds, Effort("lp"), np.empty((0, 3)), None))
    assert found.finished
    assert found.points.shape == (0, 3)


@contextmanager
def interrupt_after(seconds: float) -> Iterator[None]:
    """Ctrl-C, by a real signal."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm signal")
def test_ctrl_c_keeps_what_there_is(make_network: MakeNetwork) -> None:
    network, box = make_network((200, 60, 60, 60, 200), 0, scale=0.2), Box.full(200, -1, 1)
    task = task_of(network, box)
    with interrupt_after(0.5):
        found = lp_rung(task)
    assert not found.finished
    z = network.pre_activations(box.sample(1000, np.random.default_rng(0)))[-1]
    assert (z >= found.lower).all()
    assert (z <= found.upper).all()


def test_the_same_task_gives_the_same_bits_also_elsewhere(make_network: MakeNetwork) -> None:
    task = task_of(make_network((30, 20, 20, 6), 0, scale=0.5), Box.full(30, -1, 1))
    one, other = lp_rung(task), lp_rung(pickle.loads(pickle.dumps(task)))
    np.testing.assert_array_equal(one.lower, other.lower)
    np.testing.assert_array_equal(one.upper, other.upper)
    assert (one.seconds > 0.0).all()
