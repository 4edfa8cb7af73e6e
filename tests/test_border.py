"""The border MIP: against the best of all regions that meet at the point."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_problems import over_box, region_value, two_networks

from omlt_ext.heuristics.border import border_mip
from omlt_ext.heuristics.region import Local, Regions
from omlt_ext.search import Problem

Optimum = Callable[..., float]
Pattern = tuple[np.ndarray, ...]


def around(problem: Problem, local: Local, pattern: tuple[Pattern, ...]) -> float:
    """The best value over every region whose pattern differs from `pattern` in tight neurons alone."""
    at = [(b, k, j) for b, part in enumerate(local.tight) for k, mask in enumerate(part) for j in np.flatnonzero(mask)]
    best = -np.inf
    for bits in itertools.product((False, True), repeat=len(at)):
        flipped = [[active.copy() for active in part] for part in pattern]
        for (b, k, j), bit in zip(at, bits, strict=True):
            flipped[b][k][j] = bit
        best = max(best, region_value(problem, tuple(map(tuple, flipped))))
    return best


@given(
    sizes=st.sampled_from([(2, 5, 1), (3, 6, 5, 1), (4, 5, 5, 4, 1), (2, 8, 3)]),
    seed=st.integers(0, 2**20),
    scale=st.sampled_from([0.05, 1.0, 20.0]),
    bounded=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_best_of_all_regions_around_a_point(sizes: tuple[int, ...], seed: int, scale: float, bounded: bool) -> None:
    problem = over_box(sizes, seed, scale=scale)
    problem = problem.with_bounds() if bounded else problem
    regions = Regions(problem)
    pattern = regions.pattern(np.random.default_rng(seed).uniform(-1.0, 0.75, problem.n))
    local = regions.solve(pattern)
    assert local is not None
    truth = around(problem, local, pattern)
    better = border_mip(problem, regions, local, pattern, nodes=1000)
    if better is None:
        assert truth == pytest.approx(local.value, rel=1e-6, abs=1e-6)
    else:
        assert better.value > local.value
        assert better.value == problem.value(better.v)
        assert better.value == pytest.approx(truth, rel=1e-6, abs=1e-6)


def test_it_goes_on_where_one_region_ends_and_says_where_nothing_is_better() -> None:
    problem = over_box((4, 8, 8, 1), 7).with_bounds()
    regions = Regions(problem)
    pattern = regions.pattern(np.random.default_rng(0).uniform(-1.0, 0.75, 4))
    local = regions.solve(pattern)
    assert local is not None
    values = []
    while local is not None:
        values.append(local.value)
        last, pattern = local, regions.pattern(local.v)
        local = border_mip(problem, regions, local, pattern, nodes=1000)
    assert len(values) >= 3
    assert (np.diff(values) > 0.0).all()
    assert around(problem, last, pattern) == pytest.approx(values[-1], rel=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_rows_integers_and_two_networks(seed: int) -> None:
    problem = two_networks(seed)
    regions, rng, compared = Regions(problem), np.random.default_rng(seed), 0
    for _ in range(10):
        v = np.concatenate([rng.uniform(-1, 1, 2), rng.uniform(-2, 2, 1), rng.integers(0, 3, 1), [0.0], [1.0]])
        pattern = regions.pattern(v)
        local = regions.solve(pattern)
        if local is None:
            continue
        compared += 1
        truth = around(problem, local, pattern)
        better = border_mip(problem, regions, local, pattern, nodes=1000)
        value = local.value if better is None else better.value
        assert value == pytest.approx(truth, rel=1e-5, abs=1e-5)
        if better is not None:
            assert problem.violations(better.v[None, :])[0] <= 1e-6
    assert compared >= 3


def test_all_neurons_free_is_the_whole_problem(brute_force: Optimum) -> None:
    problem = over_box((3, 5, 4, 1), 11).with_bounds()
    regions = Regions(problem)
    truth = brute_force(problem.networks[0].network, problem.box(0), np.ones(1))
    pattern = regions.pattern(np.zeros(3))
    local = regions.solve(pattern)
    assert local is not None
    assert local.value < truth - 1e-3
    better = border_mip(problem, regions, local, pattern, nodes=10_000, nearest=9)
    assert better is not None
    assert better.value == pytest.approx(truth, rel=1e-6)
    wide = border_mip(problem, regions, local, pattern, nodes=10_000, border=1e9)
    assert wide is not None
    assert wide.value == pytest.approx(truth, rel=1e-6)


def test_no_time() -> None:
    problem = over_box((3, 6, 1), 1).with_bounds()
    regions = Regions(problem)
    pattern = regions.pattern(np.zeros(3))
    local = regions.solve(pattern)
    assert local is not None
    assert border_mip(problem, regions, local, pattern, nodes=10, time_limit=0.0) is None
