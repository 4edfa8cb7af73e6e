"""The tree over the signs of ReLUs: the optimum by enumeration, bounds that hold inside every node, odd targets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_problems import dense_network, over_box, patterns, region_value

from omlt_ext import Box, Layer, Network, Polytope, tighten_bounds
from omlt_ext.domain import Floats
from omlt_ext.propagation.backend import open_backend
from omlt_ext.search import Problem, relu_tree
from omlt_ext.search.refinement import refined, tightened
from omlt_ext.search.relu_tree import ReluTree
from omlt_ext.search.target import Target

BATCHES = 20_000  # more than any test needs


class Search:
    """A tree driven as a search drives it: the best point so far decides what is enough."""

    def __init__(self, target: Target, *, gap: float = 1e-6, best: float = -np.inf, **options: object) -> None:
        self.target, self.gap, self.best = target, gap, best
        self.tree = ReluTree(target, tighten_bounds(target.network, target.domain), **options)  # type: ignore[arg-type]

    @property
    def enough(self) -> float:
        return -(self.best + self.gap * max(1.0, abs(self.best))) if self.best > -np.inf else np.inf

    def offer(self, points: Floats) -> float:
        domain = self.target.domain
        inside = np.ones(len(points), dtype=bool)
        if isinstance(domain, Polytope):
            inside = (points @ domain.A.T <= domain.b + 1e-9).all(axis=1)
        if inside.any():
            self.best = max(self.best, float(self.target.network(points[inside]).max()))
        return self.enough

    def run(self) -> Search:
        for _ in range(BATCHES):
            if self.tree.done or self.tree.bound <= -self.enough:
                return self
            before = self.tree.bound
            self.tree.grow(self.enough, self.offer)
            assert self.tree.bound <= before
        raise AssertionError("the tree does not end")

    def check(self, value: float) -> None:
        """The optimum is found, and proved."""
        slack = 1e-6 * max(1.0, abs(value))
        assert self.best <= value + slack
        assert self.best >= value - 3 * slack
        assert value - slack <= self.tree.bound <= value + 3 * slack


def single(network: Network, domain: Box | Polytope) -> Target:
    return Target.linear(network, domain, np.ones(network.n_outputs))


def enumerated(problem: Problem) -> float:
    return max(region_value(problem, pattern) for pattern in patterns(problem))


@pytest.mark.parametrize("sizes", [(2, 6, 1), (3, 3, 3, 1), (2, 2, 2, 2, 2)])
@pytest.mark.parametrize("seed", range(12))
def test_the_optimum_by_enumeration(sizes: tuple[int, ...], seed: int) -> None:
    problem = over_box(sizes, seed)
    Search(Target.linear(problem.networks[0].network, problem.box(0), problem.d)).run().check(enumerated(problem))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(2, 5, 1), (3, 3, 2, 1), (1, 3, 3, 1), (2, 2, 2, 2, 1)]))
def test_whole_weights_with_ties_and_dead_neurons(seed: int, sizes: tuple[int, ...]) -> None:
    """Weights of -1, 0 and 1: values that coincide, rows without weights, neurons that touch zero at a corner."""
    rng = np.random.default_rng(seed)
    layers = [
        Layer(rng.integers(-1, 2, (m, n)).astype(float), rng.integers(-1, 2, m).astype(float), k < len(sizes) - 2)
        for k, (n, m) in enumerate(pairwise(sizes))
    ]
    lower = rng.integers(-1, 1, sizes[0]).astype(float)
    box = Box(lower, lower + rng.integers(0, 3, sizes[0]))  # some widths are zero
    problem = Problem.of_network(Network(layers), box, np.ones(1))
    Search(single(Network(layers), box)).run().check(enumerated(problem))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_polytopes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network, box = dense_network((3, 3, 3, 1), seed), Box.full(3, -1.0, 1.0)
    A = rng.normal(size=(2, 3))
    domain = Polytope(box, A, A @ box.sample(1, rng)[0] + 0.1)
    Search(single(network, domain)).run().check(enumerated(Problem.of_network(network, domain, np.ones(1))))


def test_optima_of_larger_networks_are_bounded_by_samples_and_found_again(make_network: Callable[..., Network]) -> None:
    """With the optimum known from the start, and with nothing known, the same value is proved."""
    for seed in range(6):
        network, box = make_network((6, 12, 12, 1), seed), Box.full(6, -1.0, 1.0)
        first = Search(single(network, box)).run()
        again = Search(single(network, box), best=first.best).run()
        assert again.best == pytest.approx(first.best, rel=2e-6)
        assert again.tree.nodes <= first.tree.nodes
        assert network(box.sample(20_000, np.random.default_rng(seed))).max() <= first.tree.bound


@pytest.mark.parametrize("kind", ["box", "polytope"])
def test_the_value_of_a_node_is_below_its_points(
    kind: str, make_network: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relu_tree, "LADDER", ())
    inside = 0
    for seed in range(8):
        network, box = make_network((6, 16, 16, 1), seed), Box.full(6, -1.0, 1.0)
        points = box.sample(20_000, np.random.default_rng(seed))
        domain: Box | Polytope = box
        if kind == "polytope":
            domain = Polytope(box, [[1.0, -1.0, 0.5, 0.0, 1.0, 0.0]], [0.25])
            points = points[points @ domain.A[0] <= domain.b[0]]
        search = Search(single(network, domain))
        for _ in range(7):
            if not search.tree.done:
                search.tree.grow(np.inf, lambda points: np.inf)  # nothing is known, so nothing is closed
        head, target = search.tree.root.head, search.target.network
        z = target.pre_activations(points)
        z = np.concatenate([z[k][:, layer.at] for k, layer in enumerate(head.slopes)], axis=1)
        t = target(points)[:, 0]
        values, _, signs = search.tree.pool.take(10**6)
        assert values.size > 50
        for value, sign in zip(values, signs, strict=True):
            here = (sign * z >= 0.0).all(axis=1)
            inside += int(here.sum())
            assert (-t[here] >= value).all()
    assert inside > 10_000


def test_tighter_bounds_on_the_way_keep_the_optimum(
    make_network: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = 0
    for seed in range(4):
        network, box = make_network((6, 16, 16, 1), seed), Box.full(6, -1.0, 1.0)
        monkeypatch.setattr(relu_tree, "LADDER", ())
        plain = Search(single(network, box)).run()
        monkeypatch.setattr(relu_tree, "LADDER", (2, 4, 8))
        laddered = Search(single(network, box)).run()
        begun += laddered.tree.planted > 0
        assert laddered.best == pytest.approx(plain.best, rel=2e-6)
        assert laddered.tree.bound == pytest.approx(plain.tree.bound, rel=4e-6)
    assert begun > 1


def test_refined_bounds_nest_and_hold(make_network: Callable[..., Network]) -> None:
    network, box = make_network((5, 12, 12, 10, 2), 1), Box.full(5, -1.0, 1.0)
    before = tighten_bounds(network, box)
    steps = refined(network, before, 16)
    while True:
        try:
            assert next(steps) > 0
        except StopIteration as end:
            after = end.value
            break
    assert 0.05 < tightened(before, after) < 1.0
    for k, z in enumerate(network.pre_activations(box.sample(50_000, np.random.default_rng(0)))):
        assert (before.lower[k] <= after.lower[k]).all()
        assert (after.upper[k] <= before.upper[k]).all()
        assert (z >= after.lower[k]).all()
        assert (z <= after.upper[k]).all()


def test_targets_with_nothing_to_split() -> None:
    box = Box([-1.0, 0.5], [2.0, 0.5])
    plane = Network([Layer([[1.0, 2.0]], [0.5], relu=False)])
    Search(single(plane, box)).run().check(3.5)
    stable = Network([Layer([[1.0, 0.0], [-1.0, 0.0]], [5.0, -5.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
    Search(single(stable, box)).run().check(7.0)
    constant = Network([Layer([[1.0, 0.0]], [0.0], relu=True), Layer([[0.0]], [3.0], relu=False)])
    Search(single(constant, box)).run().check(3.0)
    convex = Network([Layer([[1.0, 0.0]], [0.0], relu=True), Layer([[-2.0]], [0.0], relu=False)])
    Search(single(convex, box)).run().check(0.0)
    linear = Network([Layer([[1.0, 1.0]], [0.0], relu=False), Layer([[2.0]], [1.0], relu=False)])
    triangle = Polytope(Box.full(2, 0.0, 1.0), [[1.0, 1.0]], [0.5])
    Search(single(linear, triangle)).run().check(2.0)
    point = Box([0.25, -0.5], [0.25, -0.5])
    Search(single(dense_network((2, 8, 8, 1), 3), point)).run().check(
        float(dense_network((2, 8, 8, 1), 3)(point.center)[0])
    )


def test_rows_that_hold_together() -> None:
    """f(x) = max(0, x) - max(0, -x) = x, t = min(0.3 - x, 0.5 - x, 0.5 + x)."""
    f = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, -1.0]], [0.0], relu=False)])
    rows = np.array([[0.0], [1.0], [-1.0]]), np.array([[1.0], [0.0], [0.0]]), np.array([0.3, 0.5, 0.5])
    Search(Target.least(f, Box([-1.0], [1.0]), *rows)).run().check(0.4)


def test_an_empty_polytope_that_propagation_does_not_see() -> None:
    """Rows no two of which contradict each other: the bound falls without an end, nothing is found."""
    A = np.array([[1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [-1.0, 0.0, -1.0]])
    domain = Polytope(Box.full(3, -1.0, 1.0), A, np.array([-0.1, -0.1, -0.1]))
    search = Search(single(dense_network((3, 5, 1), 0), domain)).run()
    assert search.best == -np.inf


def test_a_small_memory_gives_the_same_optimum(make_network: Callable[..., Network]) -> None:
    network, box = make_network((8, 20, 20, 1), 1), Box.full(8, -1.0, 1.0)
    plenty = Search(single(network, box), gap=1e-4).run()
    little = Search(single(network, box), gap=1e-4, limit_bytes=1)
    little.tree.pool.limit = 200
    little.run()
    assert little.best == pytest.approx(plenty.best, rel=2e-4)
    assert little.tree.bound == pytest.approx(plenty.tree.bound, rel=4e-4)


def test_the_same_again(make_network: Callable[..., Network]) -> None:
    network, box = make_network((8, 16, 16, 1), 2), Box.full(8, -1.0, 1.0)
    one, two = (Search(single(network, box)).run() for _ in range(2))
    assert (one.best, one.tree.bound, one.tree.nodes) == (two.best, two.tree.bound, two.tree.nodes)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["box", "polytope"])
def test_by_torch(kind: str) -> None:
    pytest.importorskip("torch")
    problem = over_box((3, 4, 3, 1), 5)
    domain: Box | Polytope = problem.box(0)
    if kind == "polytope":
        domain = Polytope(problem.box(0), [[1.0, 1.0, 1.0]], [0.5])
        problem = Problem.of_network(problem.networks[0].network, domain, np.ones(1))
    target = single(problem.networks[0].network, domain)
    search = Search(target, backend=open_backend("torch")).run()
    search.check(enumerated(problem))
