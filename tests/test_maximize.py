"""`maximize`: against enumeration of activation patterns, with valid bounds however early it is stopped."""

import inspect
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext import Box, Layer, Network, OmltExtError, plugins
from omlt_ext.draft import Draft
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.errors import BoundsError, FormulationError, NetworkError, OptionError, ShapeError
from omlt_ext.formulations import BigM
from omlt_ext.heuristics import (
    GradientAscent,
    Milp,
    RelaxingWalk,
    SampleMip,
    gradient_ascent,
    maximize,
    relaxing_walk,
    sample_mip,
)
from omlt_ext.search import SearchResult
from omlt_ext.search.maximize import KEYWORDS

Optimum = Callable[..., float]
MakeNetwork = Callable[..., Network]


def check_result(result: SearchResult, network: Network, box: Box, c: np.ndarray) -> None:
    """What holds for every result: x in the box, the value is the network's own, the bound is not below it."""
    assert result.x is not None
    assert result.value is not None
    assert result.bound is not None
    assert box.contains(result.x)
    assert result.value == float(c @ network(result.x))
    assert result.bound >= result.value


@pytest.mark.parametrize(
    ("sizes", "seed", "c"),
    [
        ((1, 6, 1), 0, [1.0]),
        ((2, 5, 1), 1, [2.0]),
        ((2, 4, 4, 2), 2, [1.0, -1.0]),
        ((3, 4, 3, 3), 3, [0.5, 0.0, -2.0]),
        ((2, 3, 3, 3, 1), 4, [-1.0]),
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_optimum_is_that_of_enumeration(
    sizes: tuple[int, ...], seed: int, c: list[float], sign: float, make_network: MakeNetwork, brute_force: Optimum
) -> None:
    network, box = make_network(sizes, seed), Box.full(sizes[0], -1.0, 0.75)
    objective = sign * np.array(c)
    truth = brute_force(network, box, objective)
    result = maximize(network, box, objective, gap=1e-5)
    check_result(result, network, box, objective)
    assert result.status == "optimal"
    assert result.gap is not None
    assert result.gap <= 1e-5
    assert result.value == pytest.approx(truth, rel=1.1e-5, abs=1.1e-5)
    assert result.bound >= truth - 1e-9


@pytest.mark.parametrize("effort", ["interval", "crown"])
@pytest.mark.parametrize("c", [[1.0, 0.0, 0.0], [0.3, -1.0, 2.0], [-0.3, 1.0, -2.0], [0.0, 0.0, 0.0]])
def test_every_kind_of_neuron(
    effort: str, c: list[float], every_state_network: tuple[Network, Box], brute_force: Optimum
) -> None:
    network, box = every_state_network
    result = maximize(network, box, c, effort=effort)
    check_result(result, network, box, np.array(c))
    assert result.status == "optimal"
    assert result.value == pytest.approx(brute_force(network, box, np.array(c)), abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("time_limit", [0, 1e-4, 0.01])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_bound_is_valid_when_there_is_no_time(
    time_limit: float, sign: float, make_network: MakeNetwork, brute_force: Optimum
) -> None:
    network, box, c = make_network((2, 4, 4, 2), 2), Box.full(2, -1.0, 0.75), sign * np.array([1.0, -1.0])
    result = maximize(network, box, c, time_limit=time_limit)
    check_result(result, network, box, c)
    truth = brute_force(network, box, c)
    assert result.value <= truth + 1e-9 <= result.bound + 2e-9  # type: ignore[operator]


@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    seed=st.integers(0, 2**20),
    low=st.floats(-3, 1),
    width=st.floats(0, 3),
    scale=st.sampled_from([1e-6, 1e-2, 1.0, 1e3]),
    time_limit=st.sampled_from([0.0, None]),
)
@settings(max_examples=40, deadline=None)
def test_no_sampled_point_is_above_the_bound(
    sizes: list[int],
    seed: int,
    low: float,
    width: float,
    scale: float,
    time_limit: float | None,
    make_network: MakeNetwork,
) -> None:
    network, box = make_network(tuple(sizes), seed, scale=scale), Box.full(sizes[0], low, low + width)
    rng = np.random.default_rng(seed)
    c = rng.normal(size=network.n_outputs)
    result = maximize(network, box, c, time_limit=time_limit)
    check_result(result, network, box, c)
    sampled = network(box.sample(500, rng)) @ c
    assert sampled.max() <= result.bound + 1e-12 * (1 + abs(result.bound))  # type: ignore[operator, arg-type]
    if time_limit is None:
        assert result.status == "optimal"
        assert sampled.max() <= result.value + 1.1e-4 * max(1.0, abs(result.value))  # type: ignore[operator, arg-type]


def test_same_seed_same_result(make_network: MakeNetwork) -> None:
    network = make_network((4, 10, 10, 1), 5)
    first, second = (maximize(network, (-1, 1), seed=7) for _ in range(2))
    assert first.x is not None
    assert np.array_equal(first.x, second.x)  # type: ignore[arg-type]
    assert (first.value, first.bound, first.nodes) == (second.value, second.bound, second.nodes)


def test_affine_network_needs_no_tree() -> None:
    network = Network([Layer([[1.0, -2.0], [0.5, 1.0]], [3.0, 0.0], relu=[True, False])])
    result = maximize(network, ([0.0, 0.0], [1.0, 1.0]), [1.0, 1.0])
    assert (result.status, result.nodes) == ("optimal", 0)
    assert result.value == pytest.approx(4.5)
    assert result.x == pytest.approx([1.0, 0.0])


def test_history_starts_with_the_first_bound_and_ends_with_the_result(make_network: MakeNetwork) -> None:
    result = maximize(make_network((5, 15, 15, 1), 3), (-1, 1))
    history = result.history
    assert list(history.columns) == ["seconds", "value", "bound"]
    assert len(history) >= 3
    assert history.seconds.is_monotonic_increasing
    assert history.value.dropna().is_monotonic_increasing
    assert history.bound.is_monotonic_decreasing
    assert np.isfinite(history.bound.iloc[0])
    assert tuple(history.iloc[-1]) == (result.seconds, result.value, result.bound)


def test_time_limit_covers_everything(make_network: MakeNetwork) -> None:
    network = make_network((20, 60, 60, 60, 1), 0, scale=0.2)
    result = maximize(network, (-1, 1), time_limit=0.5)
    check_result(result, network, Box.full(20, -1, 1), np.ones(1))
    assert result.status == "time_limit"
    assert 0.4 < result.seconds < 3.0


def test_ctrl_c_returns_the_best_so_far(make_network: MakeNetwork) -> None:
    network = make_network((20, 60, 60, 60, 1), 0, scale=0.2)
    timer = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    result = maximize(network, (-1, 1), time_limit=30)
    timer.join()
    check_result(result, network, Box.full(20, -1, 1), np.ones(1))
    assert result.status == "interrupted"
    assert result.seconds < 10


@pytest.mark.parametrize(("time_limit", "says"), [(0.5, "/0.5 s, value "), (None, " s, value "), (0, "0.0 s")])
def test_progress_is_a_bar_and_changes_nothing(
    time_limit: float | None, says: str, make_network: MakeNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    network = make_network((4, 10, 10, 1), 5)
    quiet = maximize(network, (-1, 1), time_limit=time_limit)
    assert capsys.readouterr() == ("", "")
    shown = maximize(network, (-1, 1), time_limit=time_limit, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    if time_limit is None:
        assert (shown.value, shown.bound) == (quiet.value, quiet.bound)


def test_minimum_is_the_maximum_of_the_negative(make_network: MakeNetwork, brute_force: Optimum) -> None:
    network, box = make_network((2, 5, 1), 1), Box.full(2, -1, 1)
    result = maximize(network, box, [-1.0], gap=1e-5)
    least = brute_force(network, box, np.ones(1), maximize=False)
    assert result.value == pytest.approx(-least, rel=1.1e-5, abs=1.1e-5)


def test_a_box_may_be_one_point(make_network: MakeNetwork) -> None:
    network, x = make_network((3, 4, 1), 1), np.array([0.1, -0.2, 0.3])
    result = maximize(network, Box(x, x))
    assert result.status == "optimal"
    assert np.array_equal(result.x, x)  # type: ignore[arg-type]
    assert result.value == network(x)[0]


def test_formulation_by_name_or_as_an_object(make_network: MakeNetwork) -> None:
    network = make_network((3, 8, 1), 1)
    by_name, by_object = (maximize(network, (-1, 1), formulation=choice) for choice in ("bigm", BigM()))
    assert by_name.value == by_object.value


def test_found_by_name() -> None:
    assert plugins.load(plugins.HEURISTICS, "milp") is Milp


@dataclass(frozen=True)
class CutsOff:
    """A wrong formulation, as someone's plug-in might be: it leaves unstable neurons no value above `most`."""

    most: float
    name: str = "cuts_off"

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        draft = Draft(layer, bounds)
        j = draft.unstable
        draft.add_columns("sigma", j, 0.0, 1.0, integer=True)
        draft.add_rows("cut", j, [(draft.h[j], 1.0)], upper=self.most)
        return draft.encoding()


@pytest.mark.parametrize("most", [0.0, -1.0])  # a bound that is too low; no feasible point
def test_bound_that_the_network_refutes_is_left_out(
    most: float, make_network: MakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network([Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
    result = maximize(network, (-1, 1), formulation=CutsOff(most))
    assert result.status == "limit"
    assert result.value == pytest.approx(2.0)
    assert result.bound == pytest.approx(3.0)  # CROWN's
    assert "the solver's bound is left out" in caplog.text


NET = Network([Layer([[1.0, -1.0], [1.0, 1.0]], [0.0, 0.5], relu=True), Layer(np.eye(2), [0.0, 0.0], relu=False)])


@pytest.mark.parametrize(
    ("domain", "objective", "options", "error", "says"),
    [
        (None, [1, 0], {}, BoundsError, "expected a Box"),
        ((0, np.inf), [1, 0], {}, BoundsError, "input 0"),
        ((1, 0), [1, 0], {}, BoundsError, "above upper bound"),
        ((0, 1e308), [1, 0], {}, BoundsError, "layer 0, neuron 1"),
        (Box([0], [1]), [1, 0], {}, ShapeError, "1 coordinates, the network 2 inputs"),
        ((0, 1), None, {}, ShapeError, "2 outputs; give an objective"),
        ((0, 1), [1], {}, ShapeError, r"must be \(2,\)"),
        ((0, 1), 1.0, {}, ShapeError, r"must be \(2,\)"),
        ((0, 1), [1, np.nan], {}, OptionError, r"objective\[1\] is nan"),
        ((0, 1), ["a", 1], {}, OptionError, "must be numbers"),
        ((0, 1), [1e308, 1e308], {}, BoundsError, "scale the objective"),
        ((0, 1), [1, 0], {"method": "luck"}, OptionError, "'auto', .*'milp'"),
        ((0, 1), [1, 0], {"effort": "heroic"}, OptionError, "'interval'"),
        ((0, 1), [1, 0], {"formulation": "hexagon"}, FormulationError, "bigm"),
        ((0, 1), [1, 0], {"time_limit": -1}, OptionError, "time_limit is -1"),
        ((0, 1), [1, 0], {"time_limit": np.nan}, OptionError, "time_limit is nan"),
        ((0, 1), [1, 0], {"time_limit": "60"}, OptionError, "time_limit is '60'"),
        ((0, 1), [1, 0], {"gap": -0.1}, OptionError, "gap is -0.1"),
        ((0, 1), [1, 0], {"gap": None}, OptionError, "gap is None"),
        ((0, 1), [1, 0], {"seed": -1}, OptionError, "seed is -1"),
        ((0, 1), [1, 0], {"seed": 0.5}, OptionError, "seed is 0.5"),
    ],
)
def test_bad_input_is_named(
    domain: object, objective: object, options: dict[str, object], error: type[OmltExtError], says: str
) -> None:
    with pytest.raises(error, match=says):
        maximize(NET, domain, objective, **options)  # type: ignore[arg-type]


def test_only_networks() -> None:
    with pytest.raises(NetworkError, match="load_network"):
        maximize([([[1.0]], [0.0])], (0, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("search", "method"),
    [(relaxing_walk, RelaxingWalk(delta=0.2)), (gradient_ascent, GradientAscent(steps=20)), (sample_mip, SampleMip())],
)
def test_each_method_as_a_function_takes_its_own_options_and_those_of_maximize(
    search: Callable[..., SearchResult], method: RelaxingWalk | GradientAscent | SampleMip, make_network: MakeNetwork
) -> None:
    network, box = make_network((4, 8, 8, 1), 2), Box.full(4, -1.0, 1.0)
    with ThreadPoolExecutor(2) as executor:
        general = {"rounds": 2, "seed": 3, "gap": 1e-3, "effort": "interval", "executor": executor, "searches": 2}
        direct = search(network, box, [1.0], **general, **asdict(method), time_limit=60, progress=False)
        other = maximize(network, box, [1.0], method=method, **general)  # type: ignore[arg-type]
    assert direct.value == other.value
    assert (direct.bound, direct.status) == (other.bound, other.status)
    with pytest.raises(OptionError, match=r"has no option 'speed'; it has .*, time_limit, rounds, seed, .*progress"):
        search(network, box, speed=3)


def test_the_general_keywords_are_those_of_maximize() -> None:
    named = {name for name, p in inspect.signature(maximize).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert set(KEYWORDS) == named - {"method", "formulation"}
