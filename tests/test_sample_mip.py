"""Sample-MIP: against enumeration on tiny networks; options, limits, and models with rows and whole numbers."""

import inspect
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
from search_problems import over_box, patterns, region_value, two_networks

from omlt_ext import Box, Network, OmltExtError, Polytope
from omlt_ext.errors import OptionError
from omlt_ext.heuristics.nearest import Nearest
from omlt_ext.heuristics.sample_mip import SampleMip, sample_mip
from omlt_ext.heuristics.starts import uniform_starts
from omlt_ext.search import Incumbent, Problem, maximize

Optimum = Callable[..., float]
MakeNetwork = Callable[..., Network]


@pytest.mark.parametrize(("sizes", "seed"), [((1, 6, 1), 0), ((2, 5, 1), 1), ((3, 4, 3, 1), 3), ((2, 3, 3, 3, 1), 4)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("mip", [True, False])
def test_optimum_is_that_of_enumeration(
    sizes: tuple[int, ...], seed: int, sign: float, mip: bool, make_network: MakeNetwork, brute_force: Optimum
) -> None:
    network, box, c = make_network(sizes, seed), Box.full(sizes[0], -1.0, 0.75), np.array([sign])
    result = sample_mip(network, box, c, rounds=40 if mip else 3000, mip=mip)
    assert result.x is not None
    assert box.contains(result.x)
    assert result.value == float(c @ network(result.x))
    assert result.value == pytest.approx(brute_force(network, box, c), rel=1e-6, abs=1e-6)


def test_mips_find_more_from_the_same_samples(make_network: MakeNetwork) -> None:
    network = make_network((8, 20, 20, 1), 5)
    with_mips, without = (sample_mip(network, (-1, 1), rounds=3, seed=1, mip=mip) for mip in (True, False))
    assert with_mips.value > without.value + 1e-3  # type: ignore[operator]
    more = sample_mip(network, (-1, 1), rounds=3, seed=1, nearest=8)
    assert more.value >= with_mips.value - 1e-9  # type: ignore[operator]


def test_same_seed_same_result(make_network: MakeNetwork) -> None:
    network = make_network((6, 20, 20, 1), 6)
    first, second, other = (sample_mip(network, (-1, 1), rounds=4, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.x, second.x)  # type: ignore[arg-type]
    assert first.value == second.value
    assert list(first.history.value.dropna()) != list(other.history.value.dropna())


def test_ratio_says_where_mips_follow(make_network: MakeNetwork) -> None:
    network = make_network((6, 14, 14, 1), 2)
    none, some = (sample_mip(network, (-1, 1), rounds=6, seed=1, ratio=ratio) for ratio in (0.0, 1e9))
    assert some.value > none.value + 1e-3  # type: ignore[operator]


def test_it_ends_without_a_limit_and_by_the_limit(make_network: MakeNetwork) -> None:
    network = make_network((3, 10, 1), 1)
    assert sample_mip(network, (-1, 1)).status in ("limit", "optimal")
    large = make_network((50, 150, 150, 1), 1, scale=0.2)
    result = sample_mip(large, (-1, 1), time_limit=0.7)
    assert result.status == "time_limit"
    assert result.seconds < 4.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_integers_and_two_networks(seed: int) -> None:
    problem = two_networks(seed)
    incumbent = Incumbent(problem)
    SampleMip().search(problem, incumbent, np.random.default_rng(0), rounds=25)
    truth = max(region_value(problem, pattern) for pattern in patterns(problem))
    assert incumbent.v is not None
    assert problem.violations(incumbent.v[None, :])[0] <= 1e-6
    assert incumbent.value == pytest.approx(truth, rel=1e-5, abs=1e-5)


def test_tiny_polytope(make_network: MakeNetwork) -> None:
    network, rng = make_network((5, 8, 1), 0), np.random.default_rng(0)
    center = rng.uniform(-0.5, 0.5, 5)
    rows = np.concatenate([np.eye(5), -np.eye(5)])
    tiny = Polytope(Box.full(5, -1, 1), rows, np.concatenate([center, -center]) + 1e-3)
    result = sample_mip(network, tiny, rounds=10)
    assert result.x is not None
    assert tiny.contains(result.x, 1e-6)
    around = Box.ball(center, 1e-3)
    assert result.value == pytest.approx(maximize(network, around, method="milp").value, abs=1e-5)


def test_nearest_moves_as_little_as_an_lp_says() -> None:
    problem = two_networks(0)
    nearest, rng = Nearest(problem), np.random.default_rng(0)
    for v in islice(uniform_starts(problem, rng), 10):
        moved = nearest(v, None)
        assert moved is not None
        activity = problem.R @ moved
        own = ~problem.on_outputs
        assert (activity[own] <= problem.row_upper[own] + 1e-6).all()
        assert (activity[own] >= problem.row_lower[own] - 1e-6).all()
        again = nearest(moved, None)
        assert again is not None
        assert again == pytest.approx(moved, abs=1e-6)
    box = over_box((3, 4, 1), 0)
    v = next(uniform_starts(box, rng))
    assert np.array_equal(Nearest(box)(v, None), v)  # type: ignore[arg-type]


def test_nothing_to_be_found() -> None:
    problem = two_networks(0)
    low = problem.row_lower.copy()
    low[0], high = 50.0, problem.row_upper.copy()
    high[0] = np.inf
    fields = {name: getattr(problem, name) for name in inspect.signature(Problem).parameters}
    empty = Problem(**fields | {"row_lower": low, "row_upper": high})
    incumbent = Incumbent(empty)
    SampleMip().search(empty, incumbent, np.random.default_rng(0), rounds=3)
    assert incumbent.v is None


@pytest.mark.parametrize(
    "options",
    [{"mip": 1}, {"ratio": -1.0}, {"ratio": float("nan")}, {"border": "x"}, {"nearest": -1}, {"nodes": 0}, {"hops": 1}],
)
def test_options_that_cannot_be(options: dict[str, object], make_network: MakeNetwork) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sample_mip(make_network((2, 3, 1), 0), (-1, 1), **options)
    assert issubclass(OptionError, OmltExtError)
