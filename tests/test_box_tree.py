"""The tree over boxes: optima against enumeration, bounds at every batch, polytopes, rows, limits of memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_problems import dense_network, patterns, region_value

from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.domain import Polytope
from omlt_ext.search import Problem
from omlt_ext.search.box_tree import BoxTree, cut
from omlt_ext.search.target import Target

GAP = 1e-5


class Best:
    """The best point offered; `enough` as a search has it, or without any incumbent."""

    def __init__(self, target: Target, *, told: bool = True) -> None:
        self.target, self.told = target, told
        self.value, self.x, self.outside = -np.inf, None, 0

    @property
    def enough(self) -> float:
        return -(self.value + GAP) if self.told else np.inf

    def offer(self, points: np.ndarray) -> float:
        domain = self.target.domain
        box = domain.box if isinstance(domain, Polytope) else domain
        assert box.contains(points, 1e-12)
        if isinstance(domain, Polytope):
            inside = (points @ domain.A.T <= domain.b).all(axis=1)
            self.outside += int((~inside).sum())
            points = points[inside]
        values = self.target.network(points)[:, 0]
        if values.size and values.max() > self.value:
            self.value, self.x = float(values.max()), points[values.argmax()]
        return self.enough


def solved(target: Target, batches: int = 10_000, **options: int) -> tuple[Best, BoxTree]:
    """The tree grown until it is done."""
    best, tree = Best(target), BoxTree(target, tighten_bounds(target.network, target.domain, "crown"), **options)
    for _ in range(batches):
        if tree.done:
            return best, tree
        tree.grow(best.enough, best.offer)
    raise AssertionError(f"not done after {tree.nodes} boxes: {best.value}, {tree.bound}")


def enumerated(network: Network, domain: Box | Polytope) -> float:
    problem = Problem.of_network(network, domain)
    return max(region_value(problem, pattern) for pattern in patterns(problem))


@pytest.mark.parametrize("seed", range(40))
def test_optimum_over_a_box(seed):
    sizes = [(1, 4, 1), (2, 5, 1), (3, 3, 3, 1), (2, 2, 2, 2, 1)][seed % 4]
    network, box = dense_network(sizes, seed), Box.full(sizes[0], -1.0, 0.75)
    best, tree = solved(Target.linear(network, box, np.ones(1)))
    optimum = enumerated(network, box)
    assert best.value == pytest.approx(optimum, abs=2 * GAP)
    assert best.value <= tree.bound <= optimum + 2 * GAP


@pytest.mark.parametrize("seed", range(12))
def test_optimum_over_a_polytope(seed):
    rng = np.random.default_rng(seed)
    network, box = dense_network((2, 5, 1), seed), Box.full(2, -1.0, 1.0)
    domain = Polytope(box, rng.normal(size=(2, 2)), [0.3, 0.3])
    best, tree = Best(target := Target.linear(network, domain, np.ones(1))), None
    optimum = enumerated(network, domain)
    best.value = optimum - GAP  # a heuristic's: boxes along the border of the polytope rarely hold it in a corner
    tree = BoxTree(target, tighten_bounds(target.network, domain, "dual"))
    while not tree.done:
        before = tree.bound
        tree.grow(-(best.value + 1e-3), best.offer)
        assert optimum - 1e-9 <= tree.bound <= before
        assert tree.nodes < 20_000
    assert tree.bound <= optimum + 1e-3
    assert best.value <= optimum + 1e-9


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), relu_output=st.booleans())
def test_no_point_lies_above_the_bound_of_any_batch(seed, relu_output):
    rng = np.random.default_rng(seed)
    network = dense_network((3, 6, 5, 2), seed, relu_output=relu_output)
    target = Target.linear(network, Box.full(3, -1, 1), rng.normal(size=2), rng.normal(size=3), 0.5)
    largest = target.network(target.domain.sample(2000, rng)).max()
    tree, best = BoxTree(target, tighten_bounds(target.network, target.domain, "crown")), Best(target, told=False)
    for _ in range(8):
        before = tree.bound
        tree.grow(best.enough, best.offer)
        assert max(largest, best.value) <= tree.bound <= before


@pytest.mark.parametrize("seed", range(10))
def test_the_least_of_rows(seed):
    rng = np.random.default_rng(seed)
    network, box = dense_network((2, 4, 3), seed), Box.full(2, -1, 1)
    target = Target.least(network, box, rng.normal(size=(3, 2)), rng.normal(size=(3, 3)), rng.normal(size=3))
    best, tree = solved(target)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), axis=-1).reshape(-1, 2)
    assert target.network(grid).max() <= tree.bound
    assert tree.bound - best.value <= 2 * GAP
    assert target.network(best.x)[0] == pytest.approx(best.value)


def test_each_part_of_the_box_is_proved_by_a_row_of_its_own():
    # x >= 0.1 and x <= -0.1 for a linear f(x) = x: t = min(x - 0.1, -x - 0.1) <= -0.1, without any ReLU to lose by.
    network = Network([Layer([[1.0]], [0.0], relu=False)])
    rows = np.zeros((2, 1)), np.array([[-1.0], [1.0]]), np.array([-0.1, -0.1])
    best, tree = solved(Target.least(network, Box([-1.0], [1.0]), *rows))
    assert best.value == pytest.approx(-0.1, abs=GAP)
    assert tree.bound == pytest.approx(-0.1, abs=2 * GAP)


@pytest.mark.parametrize(
    ("weight", "bias", "box", "value"),
    [
        ([[1.0, 1.0]], [0.5], Box([0.0, 0.25], [0.0, 0.25]), 0.75),  # a point
        ([[1.0, -1.0]], [0.0], Box([0.0, -1.0], [0.0, 1.0]), 1.0),  # an input of no width
        ([[0.0, 0.0]], [0.0], Box.full(2, -1, 1), 0.0),  # constant
        ([[1.0, 1.0]], [-5.0], Box.full(2, -1, 1), 0.0),  # a dead neuron
    ],
)
def test_degenerate_cases(weight, bias, box, value):
    network = Network([Layer(weight, bias, relu=True), Layer([[1.0]], [0.0], relu=False)])
    best, tree = solved(Target.linear(network, box, np.ones(1)), batches=20)
    assert best.value == pytest.approx(value)
    assert best.value <= tree.bound <= value + 2 * GAP


def test_an_input_of_no_width_is_never_halved():
    network = dense_network((4, 8, 8, 1), 3)
    box = Box([-1, 0.3, -1, -0.2], [1, 0.3, 1, -0.2])
    target = Target.linear(network, box, np.ones(1))
    _, tree = solved(target)
    # The same search in the plane of the free inputs takes as many boxes.
    plane = [
        Layer(network.layers[0].weight[:, [0, 2]], network.layers[0].pre_activation(box.lower * [0, 1, 0, 1]), True)
    ]
    _, flat = solved(Target.linear(Network([*plane, *network.layers[1:]]), Box.full(2, -1, 1), np.ones(1)))
    assert tree.nodes == flat.nodes > 10


def test_boxes_that_no_number_divides_are_leaves():
    low = np.array([1.0, 1.0])
    high = np.nextafter(low, 2.0)
    network = Network(
        [Layer([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)]
    )
    target = Target.linear(network, Box(low, high), np.ones(1))
    tree, best = BoxTree(target, tighten_bounds(target.network, target.domain, "crown")), Best(target, told=False)
    for _ in range(5):
        tree.grow(np.inf, best.offer)
    assert tree.done
    assert tree.nodes == 1
    assert 2.0**-52 <= tree.bound < 1e-12


def test_an_empty_polytope_has_no_points():
    network = dense_network((2, 4, 1), 0)
    domain = Polytope(Box.full(2, 0, 1), [[1.0, 1.0]], [-0.5])
    target = Target.linear(network, domain, np.ones(1))
    tree = BoxTree(target, tighten_bounds(target.network, domain.box, "crown"))
    tree.grow(np.inf, lambda points: pytest.fail("a point of nothing"))
    assert tree.done
    assert tree.bound == -np.inf


def test_little_memory_changes_the_way_and_no_bound():
    target = Target.linear(dense_network((8, 20, 20, 1), 7), Box.full(8, -1, 1), np.ones(1))
    ended = []
    for limit in (2**31, 1):
        best, most = Best(target), 0
        tree = BoxTree(target, tighten_bounds(target.network, target.domain, "crown"), limit_bytes=limit)
        while tree.nodes < 15_000:
            tree.grow(best.enough, best.offer)
            most = max(most, len(tree.pool))
        ended.append((tree.bound, best.value, most))
    (bound, value, most), (small_bound, small_value, fewest) = ended
    assert max(value, small_value) <= min(bound, small_bound)
    assert most > 4000
    assert fewest < 3000  # 1024, and a batch for each level


def test_the_same_tree_again():
    target = Target.linear(dense_network((3, 10, 10, 1), 5), Box.full(3, -1, 1), np.ones(1))
    (best, tree), (other, again) = solved(target), solved(target)
    assert (best.value, tree.bound, tree.nodes, tree.work) == (other.value, again.bound, again.nodes, again.work)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_cut_keeps_every_point(seed):
    rng = np.random.default_rng(seed)
    A = rng.integers(-2, 3, size=(3, 3)) * 0.1
    domain = Polytope(Box.full(3, -1, 1), A, rng.choice([-0.1, 0.0, 0.1, 0.3], size=3))
    ends = np.sort(rng.integers(-10, 11, size=(2, 5, 3)) / 10, axis=0)
    lower, upper = cut(ends[0], ends[1], domain)
    grid = np.array(list(itertools.product(np.arange(-10, 11) / 10, repeat=3)))
    inside = grid[(grid @ domain.A.T <= domain.b - 1e-12).all(axis=1)]
    for low, high, left, right in zip(*ends, lower, upper, strict=True):
        mine = inside[((inside >= low) & (inside <= high)).all(axis=1)]
        assert ((mine >= left) & (mine <= right)).all()
        assert (left >= low).all()
        assert (right <= high).all()


def test_cut_without_coefficients():
    domain = Polytope(Box.full(1, 0, 1), [[0.0], [0.0]], [0.0, -1.0])
    lower, upper = cut(np.zeros((1, 1)), np.ones((1, 1)), domain)
    assert lower[0, 0] > upper[0, 0]
