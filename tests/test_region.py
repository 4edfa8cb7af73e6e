"""The best point of a linear region: against one LP with every row, and regions together against the optimum."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from search_problems import dense_network, over_box, patterns, region_value, two_networks

from omlt_ext import Box, Layer, Network, Polytope
from omlt_ext.heuristics import region as region_module
from omlt_ext.heuristics.region import Local, Regions
from omlt_ext.search import Problem

Optimum = Callable[..., float]


def check(regions: Regions, pattern: object, local: Local | None, truth: float, tolerance: float = 1e-7) -> None:
    """What holds for every answer: the value of one LP with all rows, at a feasible point of this very region."""
    problem = regions.problem
    if truth == -np.inf:
        assert local is None
        return
    assert local is not None
    assert local.value == problem.value(local.v)
    assert local.value == pytest.approx(truth, rel=tolerance, abs=tolerance)
    assert problem.violations(local.v[None, :])[0] <= 1e-7
    for placed, part, tight in zip(problem.networks, pattern, local.tight, strict=True):  # type: ignore[call-overload]
        zs = placed.network.pre_activations(local.v[placed.inputs])
        for z, layer, active, near in zip(zs, placed.network.layers, part, tight, strict=True):
            size = 1.0 + np.abs(z).max()
            assert (np.where(active, z, -z)[layer.relu] >= -1e-8 * size).all()
            assert not near[~layer.relu].any()
            assert near[layer.relu & (np.abs(z) <= 1e-12 * size)].all()
            assert (np.abs(z[near]) <= 1e-5 * size).all()


@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=5),
    seed=st.integers(0, 2**20),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    relu_output=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_region_of_a_point(sizes: list[int], seed: int, scale: float, relu_output: bool) -> None:
    problem = over_box(tuple(sizes), seed, scale=scale, relu_output=relu_output)
    regions, rng = Regions(problem), np.random.default_rng(seed)
    for v in rng.uniform(-1.0, 0.75, size=(4, problem.n)):  # one after the other: each starts from the one before
        pattern = regions.pattern(v)
        local = regions.solve(pattern)
        assert local is not None
        check(regions, pattern, local, region_value(problem, pattern))
        assert local.value >= problem.value(v) - 1e-9 * (1 + abs(local.value))


@pytest.mark.parametrize(("sizes", "seed"), [((2, 5, 1), 1), ((2, 4, 3, 1), 2), ((3, 4, 4, 1), 3)])
def test_all_regions_together_hold_the_optimum(sizes: tuple[int, ...], seed: int, brute_force: Optimum) -> None:
    problem = over_box(sizes, seed)
    regions, values = Regions(problem), []
    for pattern in patterns(problem):
        local = regions.solve(pattern)
        check(regions, pattern, local, region_value(problem, pattern))
        values.append(-np.inf if local is None else local.value)
    assert -np.inf in values  # most patterns have no region
    truth = brute_force(problem.networks[0].network, problem.box(0), np.ones(1))
    assert max(values) == pytest.approx(truth, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_rows_integers_and_two_networks(seed: int) -> None:
    problem = two_networks(seed)
    regions, rng = Regions(problem), np.random.default_rng(seed)
    found = 0
    for _ in range(12):
        v = np.concatenate([rng.uniform(-1, 1, 2), rng.uniform(-2, 2, 1), rng.integers(0, 3, 1), [0.0], [1.0]])
        pattern = regions.pattern(v)
        fixed = regions.solve(pattern, whole=v)
        check(regions, pattern, fixed, region_value(problem, pattern, v))
        decided = regions.solve(pattern)
        check(regions, pattern, decided, region_value(problem, pattern), 1e-5)
        if fixed is not None:
            assert decided is not None
            assert decided.value >= fixed.value - 1e-9
            assert fixed.v[problem.integer].tolist() == v[problem.integer].tolist()
        found += decided is not None
    assert found >= 3


def test_few_sign_rows_are_written_where_few_bind(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = over_box((20, 60, 60, 1), 5)
    v = np.random.default_rng(5).uniform(-1.0, 0.75, 20)
    regions = Regions(problem)
    pattern = regions.pattern(v)
    many = regions.solve(pattern)
    check(regions, pattern, many, region_value(problem, pattern))
    monkeypatch.setattr("omlt_ext.heuristics.sign_rows.BATCH", 1)
    one = Regions(problem).solve(pattern)
    assert many is not None
    assert one is not None
    assert one.value == pytest.approx(many.value, rel=1e-9)


def test_flipping_what_is_tight_never_loses(make_network: Callable[..., Network]) -> None:
    problem = Problem.of_network(make_network((6, 20, 20, 1), 3), Box.full(6, -1, 1))
    regions = Regions(problem)
    pattern, values = regions.pattern(np.zeros(6)), []
    for _ in range(6):
        local = regions.solve(pattern)
        assert local is not None
        values.append(local.value)
        flipped = (tuple(p ^ t for p, t in zip(pattern[0], local.tight[0], strict=True)),)
        pattern = flipped
    assert (np.diff(values) >= -1e-9).all()
    assert values[-1] > values[0]


def test_a_region_of_one_point_and_one_without() -> None:
    network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
    regions = Regions(Problem.of_network(network, Box([-1], [1])))
    line = (np.array([True]),)
    both = regions.solve(((np.array([True, True]), *line),))
    assert both is not None
    assert (abs(both.v[0]), both.value) == (0.0, 0.0)
    assert both.tight[0][0].all()
    apart = Network([Layer([[1.0], [-1.0]], [-0.5, -0.5], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
    assert Regions(Problem.of_network(apart, Box([-1], [1]))).solve(((np.array([True, True]), *line),)) is None


def test_constant_neurons_decide_by_their_bias() -> None:
    network = Network([Layer([[0.0], [1.0]], [-1.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
    regions = Regions(Problem.of_network(network, Box([-1], [1])))
    line = (np.array([True]),)
    assert regions.solve(((np.array([True, True]), *line),)) is None
    local = regions.solve(((np.array([False, True]), *line),))
    assert local is not None
    assert local.value == 1.0
    assert not local.tight[0][0][0]


def test_every_kind_of_neuron(every_state_network: tuple[Network, Box], brute_force: Optimum) -> None:
    network, box = every_state_network
    c = np.array([0.3, -1.0, 2.0])
    regions = Regions(Problem.of_network(network, box, c))
    values = []
    for v in box.sample(60, np.random.default_rng(0)):
        pattern = regions.pattern(v)
        local = regions.solve(pattern)
        check(regions, pattern, local, region_value(regions.problem, pattern))
        values.append(local.value)  # type: ignore[union-attr]
    assert max(values) == pytest.approx(brute_force(network, box, c))


def test_polytope_and_sparse_weights_and_uneven_box() -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(30, 12)) * (rng.random((30, 12)) < 0.2)
    network = Network(
        [Layer(sparse.csr_array(weight), rng.normal(size=30), relu=True), Layer(rng.normal(size=(1, 30)), [0.0], False)]
    )
    box = Box(-(10.0 ** rng.integers(-3, 4, 12)), 10.0 ** rng.integers(-3, 4, 12))
    problem = Problem.of_network(network, Polytope(box, rng.normal(size=(3, 12)), np.full(3, 5.0)))
    regions = Regions(problem)
    for v in box.sample(5, rng):
        pattern = regions.pattern(v)
        check(regions, pattern, regions.solve(pattern), region_value(problem, pattern))


def test_no_time_and_no_limit_to_the_objective() -> None:
    problem = over_box((3, 5, 1), 0)
    regions = Regions(problem)
    pattern = regions.pattern(np.zeros(3))
    assert regions.solve(pattern, time_limit=0.0) is None
    assert regions.solve(pattern) is not None
    free = two_networks(0)
    endless = Problem(
        **{name: getattr(free, name) for name in ("networks", "c", "d", "offset", "lower", "upper", "integer")},
        R=sparse.csr_array((0, free.n)),
        S=sparse.csr_array((0, 3)),
        row_lower=np.empty(0),
        row_upper=np.empty(0),
    )
    assert Regions(endless).solve(Regions(endless).pattern(np.zeros(free.n)), whole=np.zeros(free.n)) is None


def test_keys_tell_patterns_apart_and_work_repeats() -> None:
    problem = over_box((4, 12, 12, 1), 2)
    rng = np.random.default_rng(0)
    points = rng.uniform(-1.0, 0.75, size=(30, 4))
    first, second = Regions(problem), Regions(problem)
    keys: dict[bytes, object] = {}
    for v in points:
        pattern = first.pattern(v)
        other = keys.setdefault(first.key(pattern), pattern)
        assert all(np.array_equal(a, b) for a, b in zip(other[0], pattern[0], strict=True))  # type: ignore[index]
        one, two = first.solve(pattern), second.solve(pattern)
        assert one is not None
        assert two is not None
        assert np.array_equal(one.v, two.v)
    assert len(keys) > 5
    assert region_module.OPTIONS["parallel"] == "off"


def test_network_that_reads_a_column_twice_is_dense_network() -> None:
    problem = two_networks(3)
    v = np.array([0.5, -0.25, 1.0, 1.0, 0.0, 0.0])
    twice = problem.networks[0].network(v[[0, 1, 1]])
    assert problem.outputs(v)[:2] == pytest.approx(twice)
    assert dense_network((3, 3, 2), 3)(v[[0, 1, 1]]) == pytest.approx(twice)
