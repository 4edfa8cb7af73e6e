"""No-good cuts take out one pattern each, and the region of a pattern is that of the sparse networks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_problems import over_box, patterns, region_value, two_networks

from omlt_ext.errors import OptionError
from omlt_ext.formulations import SOS1, BigM
from omlt_ext.heuristics.milp import start_of
from omlt_ext.heuristics.no_good import NoGoods, within
from omlt_ext.heuristics.stand_in import stand_in
from omlt_ext.pruning.magnitude import Magnitude
from omlt_ext.search import Problem
from omlt_ext.solvers import HighsSolver


def columns_at(cuts: NoGoods, problem: Problem, v: np.ndarray) -> np.ndarray:
    x = np.zeros(cuts.model.n_columns)
    at, values = start_of(cuts.model, problem, v)
    x[at] = values
    return x


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_cut_holds_wherever_the_pattern_is_another(seed: int) -> None:
    problem = over_box((2, 4, 3, 1), seed).with_bounds()
    cuts = NoGoods(problem, BigM())
    points = problem.box(0).sample(60, np.random.default_rng(seed))
    out = points[:5]
    for v in out:
        cuts.take_out(v)
    model = cuts.restrict(problem.model(BigM()))
    assert model.n_rows == cuts.model.n_rows + len({cuts.at(v).tobytes() for v in out})
    taken = [cuts.at(v).tolist() for v in out]
    for v in points:
        broken = model.violation(columns_at(cuts, problem, v)) > 1e-9
        assert broken == (cuts.at(v).tolist() in taken)
        assert cuts.allow(v) == (not broken)


def test_solving_again_counts_the_regions() -> None:
    problem = over_box((2, 3, 2, 1), 11).with_bounds()
    cuts = NoGoods(problem, BigM())
    best = []
    for _ in range(2**5 + 1):
        result = HighsSolver(cuts.restrict(problem.model(BigM()))).solve(gap=0.0)
        if result.status == "infeasible":
            break
        assert result.x is not None
        cuts.see(cuts.model, result.x)
        best.append(result.value)
        cuts.patterns[cuts.last.tobytes()] = cuts.last  # type: ignore[union-attr, assignment]
    regions = [region_value(problem, pattern) for pattern in patterns(problem)]
    regions = sorted((value for value in regions if value > -np.inf), reverse=True)
    assert best == pytest.approx(regions, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_within_its_own_pattern_a_problem_has_the_value_of_the_region(seed: int) -> None:
    problem = over_box((2, 4, 3, 1), seed).with_bounds()
    for v in problem.box(0).sample(4, np.random.default_rng(seed)):
        pattern = (problem.networks[0].network.pattern(v),)
        result = HighsSolver(within(problem, problem, pattern).model(BigM())).solve(gap=0.0)
        assert result.value == pytest.approx(region_value(problem, pattern), abs=1e-5)


def test_within_a_sparse_pattern_the_dense_networks_count() -> None:
    problem = two_networks(2).with_bounds()
    sparse = stand_in(problem, Magnitude(), 0.4, None, np.random.default_rng(0))
    v = problem.inside(np.mean(problem.finite_ends(), axis=0))
    pattern = tuple(placed.network.pattern(v[placed.inputs]) for placed in sparse.networks)
    inside = within(problem, sparse, pattern)
    assert inside.bounds is problem.bounds
    draws = v + np.random.default_rng(1).normal(size=(200, problem.n))
    same = np.array(
        [
            all(
                np.array_equal(own, other)
                for placed, part in zip(sparse.networks, pattern, strict=True)
                for own, other in zip(placed.network.pattern(w[placed.inputs]), part, strict=True)
            )
            for w in draws
        ]
    )
    assert same.any()
    assert not same.all()
    more = np.arange(problem.n_rows, inside.n_rows)
    kept = (inside.row_lower[more] - 1e-9 <= (inside.R[more] @ draws.T).T).all(axis=1)
    assert (kept == same).all()
    assert np.array_equal(inside.values(draws), problem.values(draws))


def test_formulations_without_binaries() -> None:
    with pytest.raises(OptionError, match="'sos1' has no binaries for neurons"):
        NoGoods(over_box((2, 4, 1), 0).with_bounds(), SOS1())
