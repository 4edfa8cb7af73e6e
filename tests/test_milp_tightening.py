"""The MILP rung: exact ranges, and what is proved of them when a solve or the run is cut short."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from omlt_ext import Bounds, Box, Layer, Network, tighten_bounds
from omlt_ext.domain import Polytope
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.errors import FormulationError
from omlt_ext.formulations import BigM
from omlt_ext.tightening import strong
from omlt_ext.tightening.effort import Effort
from omlt_ext.tightening.strong import Search, milp_rung
from omlt_ext.tightening.task import Outcome, Task

MakeNetwork = Callable[..., Network]
BruteForce = Callable[..., float]
GAP = 1e-5


def task_of(network: Network, domain: Box | Polytope, effort: Effort | None = None, start: str = "dual") -> Task:
    bounds = tighten_bounds(network, domain, start)
    return Task(network, bounds, effort or Effort("milp", gap=GAP), np.empty((0, network.n_inputs)), None)


def check_valid(network: Network, domain: Box | Polytope, found: Outcome) -> None:
    box = domain if isinstance(domain, Box) else domain.box
    x = box.sample(20000, np.random.default_rng(7))
    x = x if isinstance(domain, Box) else x[(x @ domain.A.T <= domain.b).all(axis=1)]
    z = network.pre_activations(x)[-1]
    assert (z >= found.lower).all()
    assert (z <= found.upper).all()


@pytest.mark.parametrize("seed", range(3))
def test_exact(make_network: MakeNetwork, brute_force: BruteForce, seed: int) -> None:
    network, box = make_network((3, 6, 5, 3), seed, scale=0.6), Box.full(3, -1, 1)
    found = milp_rung(task_of(network, box))
    assert found.finished
    for j, row in enumerate(np.eye(3)):
        low, high = (brute_force(network, box, row, maximize=most) for most in (False, True))
        assert low - 1e-4 <= found.lower[j] <= low + 1e-9
        assert high + 1e-4 >= found.upper[j] >= high - 1e-9


def test_every_state_of_a_neuron(every_state_network: tuple[Network, Box], brute_force: BruteForce) -> None:
    network, box = every_state_network
    two = Network(network.layers[:2])
    found = milp_rung(task_of(two, box))
    linear = Network([network.layers[0], Layer(network.layers[1].weight, network.layers[1].bias, relu=False)])
    for j, row in enumerate(np.eye(3)):
        low, high = (brute_force(linear, box, row, maximize=most) for most in (False, True))
        assert max(found.lower[j], low - 1e-4) <= low + 1e-9  # -inf where a sample attains the known bound
        assert min(found.upper[j], high + 1e-4) >= high - 1e-9


def test_over_a_polytope(make_network: MakeNetwork) -> None:
    network, box = make_network((2, 8, 6, 2), 1), Box.full(2, -1, 1)
    domain = Polytope(box, [[1.0, 1.0], [-1.0, 2.0]], [0.3, 0.5])
    found, whole = milp_rung(task_of(network, domain)), milp_rung(task_of(network, box))
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 801)] * 2), axis=-1).reshape(-1, 2)
    z = network(grid[(grid @ domain.A.T <= domain.b).all(axis=1)])
    assert (z.min(axis=0) >= found.lower).all()
    assert (z.max(axis=0) <= found.upper).all()
    np.testing.assert_allclose([found.lower, found.upper], [z.min(axis=0), z.max(axis=0)], atol=0.05)
    assert (found.upper - found.lower).sum() < (whole.upper - whole.lower).sum()
    assert all(domain.contains(x) for x in found.points)


def test_time_limited_solves_give_dual_bounds_never_incumbents(make_network: MakeNetwork) -> None:
    network, box = make_network((12, 30, 30, 2), 0, scale=0.4), Box.full(12, -1, 1)
    task = task_of(network, box, Effort("milp", seconds_per_solve=0.4))
    found = milp_rung(task)
    assert found.finished
    exact = network(found.points)  # the best points of the run itself
    assert (exact >= found.lower).all()
    assert (exact <= found.upper).all()
    check_valid(network, box, found)
    gap = found.upper - found.lower - (exact.max(axis=0) - exact.min(axis=0))
    assert (gap > 0.1).all()  # far from solved: an incumbent in place of a bound would have no gap


def test_a_deadline_that_has_passed(make_network: MakeNetwork) -> None:
    task = replace(task_of(make_network((4, 10, 10, 3), 0), Box.full(4, -1, 1)), deadline=0.0)
    found = milp_rung(task)
    assert not found.finished
    assert (found.lower == -np.inf).all()


def test_the_sign_is_all_that_is_asked_for(make_network: MakeNetwork) -> None:
    network, box = make_network((3, 8, 8, 12), 3, relu_output=True), Box.full(3, -1, 1)
    exact = milp_rung(task_of(network, box))
    middle = 0.5 * (exact.lower + exact.upper)
    width = exact.upper - exact.lower
    # Shifted so that some lie above 0, some below, some on both sides, none of which intervals of "dual" decide.
    shift = np.resize([0.51, -0.51, 0.0], 12) * width - middle
    top = Layer(network.layers[2].weight, network.layers[2].bias + shift, relu=True)
    shifted = Network([*network.layers[:2], top])
    task = task_of(shifted, box, Effort("milp", stop_at_sign=True, gap=GAP))
    open_ = (task.bounds.lower[-1] < 0) & (task.bounds.upper[-1] > 0)
    assert open_.sum() >= 6
    found = milp_rung(task)
    kind = np.resize([1, -1, 0], 12)
    assert (found.lower[open_ & (kind == 1)] >= 0.0).all()
    assert (found.upper[open_ & (kind == -1)] <= 0.0).all()
    assert (found.lower[kind == 0] == -np.inf).all()  # samples show both signs: nothing to decide
    assert (found.seconds[kind == 0] == 0.0).all()
    check_valid(shifted, box, found)


def test_points_of_one_solve_close_others(make_network: MakeNetwork) -> None:
    """Two neurons that are the same, and one that is the opposite: half of the rows never get a solve."""
    network, box = make_network((3, 8, 6, 1), 2), Box.full(3, -1, 1)
    top = network.layers[2]
    three = Layer(top.weight * [[1.0], [1.0], [-1.0]], top.bias * [1.0, 1.0, -1.0], relu=False)
    network = Network([*network.layers[:2], three])
    single = milp_rung(task_of(Network([*network.layers[:2], top]), box))
    bounds = tighten_bounds(network, box, "dual")
    # Bounds that are already exact, to the tolerance of the solver, for all but the first neuron.
    low, high = single.lower[0], single.upper[0]
    lower = np.array([bounds.lower[2][0], low, -high])
    upper = np.array([bounds.upper[2][0], high, -low])
    known = Bounds.of(network, box, [*bounds.lower[:2], lower], [*bounds.upper[:2], upper])
    found = milp_rung(Task(network, known, Effort("milp", gap=1e-3), np.empty((0, 3)), None))
    assert found.seconds[0] > 0.0
    assert (found.seconds[1:] == 0.0).all()
    assert (found.lower[1:] == -np.inf).all()
    assert found.lower[0] == pytest.approx(low, abs=2e-3 * (high - low))


def test_given_points_start_the_search(make_network: MakeNetwork) -> None:
    network, box = make_network((3, 8, 6, 2), 2), Box.full(3, -1, 1)
    first = milp_rung(task_of(network, box))
    again = replace(task_of(network, box), points=first.points)
    search = Search(again)
    search.offer(again.points)
    assert np.isfinite(search.value).all()
    np.testing.assert_allclose(search.value, np.concatenate([first.lower, -first.upper]), atol=1e-3)


def test_a_bound_that_a_point_refutes_is_dropped(make_network: MakeNetwork) -> None:
    network, box = make_network((3, 8, 6, 2), 2), Box.full(3, -1, 1)
    search = Search(task_of(network, box))
    search.offer(box.center[None, :])
    search.proven[:] = search.value - [1.0, -1.0, 1.0, -1.0]
    search.offer(box.center[None, :])
    assert (np.isfinite(search.proven) == [True, False, True, False]).all()


def test_the_formulation_is_a_choice(make_network: MakeNetwork) -> None:
    network, box = make_network((3, 6, 2), 0), Box.full(3, -1, 1)
    with pytest.raises(FormulationError, match="hexagon"):
        milp_rung(task_of(network, box, Effort("milp", formulation="hexagon")))


def test_the_formulation_is_used(make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []

    class Noted:
        name = "noted"

        def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
            encoded.append(layer)
            return BigM().encode(layer, bounds)

    monkeypatch.setattr(strong, "formulation", lambda name: Noted())
    network = make_network((3, 6, 5, 2), 0)
    milp_rung(task_of(network, Box.full(3, -1, 1)))
    assert len(encoded) == 2


def test_without_an_unstable_neuron_it_is_an_lp() -> None:
    hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [5.0, -5.0], relu=True)
    network = Network([hidden, Layer([[2.0, 3.0]], [1.0], relu=False)])
    found = milp_rung(task_of(network, Box.full(2, -1, 1), start="interval"))
    np.testing.assert_allclose([found.lower, found.upper], [[7.0], [15.0]])


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm signal")
def test_ctrl_c_keeps_what_there_is(make_network: MakeNetwork) -> None:
    network, box = make_network((12, 40, 40, 6), 0, scale=0.4), Box.full(12, -1, 1)
    task = task_of(network, box)

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        found = milp_rung(task)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert not found.finished
    check_valid(network, box, found)


def test_the_same_task_gives_the_same_bits(make_network: MakeNetwork) -> None:
    network, box = make_network((4, 10, 8, 3), 0, scale=0.6), Box.full(4, -1, 1)
    one, other = (milp_rung(task_of(network, box)) for _ in range(2))
    np.testing.assert_array_equal(one.lower, other.lower)
    np.testing.assert_array_equal(one.upper, other.upper)
    np.testing.assert_array_equal(one.points, other.points)
