"""`verify` with many disjuncts: over boxes of their own, with rows of their own, and some that are not for a batch."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from rational import Partition
from search_problems import dense_network

from omlt_ext import Box, Layer, Network
from omlt_ext.domain import Polytope
from omlt_ext.verification import Disjunct, Property, crude, verify
from omlt_ext.verification.roots import Roots


def mixed(network: Network, count: int, seed: int) -> list[Disjunct]:
    """Over boxes that some share; of one to three rows, some over inputs, some none; over polytopes."""
    rng = np.random.default_rng(seed)
    n, m = network.n_inputs, network.n_outputs
    found: list[Disjunct] = []
    for i in range(count):
        center = rng.uniform(-1, 1, n)
        domain: Box | Polytope = Box(center, center + rng.uniform(0, 0.3, n) * (rng.random(n) < 0.9))
        if i % 5 == 1:
            domain = found[-1].domain
        if i % 7 == 3:
            domain = Polytope(Box(center, center + 0.3), [[1.0] * n], [float(center.sum()) + 0.2])
        k = int(rng.integers(1, 4))
        Gy, far = rng.normal(size=(k, m)), rng.choice([0.1, 3.0], k)
        Gx = rng.normal(size=(k, n)) if i % 11 == 5 else np.zeros((k, n))
        found.append(Disjunct(domain, Gy, Gy @ network(center) + Gx @ center - far, Gx))
    return found


@pytest.mark.parametrize("relu_output", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_each_disjunct_gets_a_bound_that_holds(seed, relu_output):
    network = dense_network((2, 4, 3, 3), seed, relu_output=relu_output)
    parts = mixed(network, 60, seed)
    found = verify(network, Property(parts), time_limit=None)
    largest = [Partition(network, part.domain).largest_least(part.Gx, part.Gy, part.g) for part in parts]
    assert found.verdict == ("sat" if any(t is not None and t >= 0 for t in largest) else "unsat")
    for t, bound in zip(largest, found.disjuncts.bound, strict=True):
        assert t is None or t <= bound + 1e-7
    if found.counterexample is not None:
        assert largest[found.counterexample.disjunct] >= 0


@pytest.mark.parametrize("block", [1024, 7])
def test_a_batch_gives_the_bounds_of_crown(block, monkeypatch):
    monkeypatch.setattr(crude, "BLOCK", block)
    network = dense_network((3, 8, 8, 4), 5)
    parts = [part for part in mixed(network, 60, 5) if not part.Gx.any()]
    property = Property(parts)
    yielded = list(crude.crude_bounds(network, property, lambda: None))
    bounds = np.concatenate([values for _, values in yielded])
    assert np.concatenate([members for members, _ in yielded]).tolist() == list(range(len(parts)))
    same = 0
    for k, bound in enumerate(bounds):
        box = Disjunct(parts[k].box, parts[k].Gy, parts[k].g)
        roots = Roots(network, Property([box]), [0])
        roots.tighten("crown", None)
        assert bound >= roots.bound(0) - 1e-9  # which is the interval's, where that is better
        same += bound <= roots.bound(0) + 1e-9
    assert same >= 0.8 * len(bounds)


def test_no_exact_point_is_lost_by_the_rounding_of_rows():
    """Slacks that are 0 at one point of each box, but for the rounding of the rows' weights: none is proved."""
    rng = np.random.default_rng(2)
    network = Network(
        [
            Layer(rng.normal(size=(6, 2)), rng.normal(size=6), relu=True),
            Layer(rng.normal(size=(3, 6)), rng.normal(size=3), relu=False),
        ]
    )
    parts = []
    for _ in range(40):
        x, Gy = rng.uniform(-1, 1, 2), rng.normal(size=(1, 3))
        box = Box(x, x)
        # the largest number below the slack that makes it negative or 0 in exact arithmetic
        g = -float(Partition(network, box).largest_least(np.zeros((1, 2)), Gy, [0.0]))
        while Partition(network, box).largest_least(np.zeros((1, 2)), Gy, [g]) < 0:
            g = float(np.nextafter(g, np.inf))
        parts.append(Disjunct(box, Gy, [g]))
    for members, bounds in crude.crude_bounds(network, Property(parts), lambda: None):
        for k, bound in zip(members, bounds, strict=True):
            slack = Partition(network, parts[k].box).largest_least(parts[k].Gx, parts[k].Gy, parts[k].g)
            assert 0 <= slack <= Fraction(bound)


def test_few_boxes_a_ball_and_rows_over_inputs_are_not_for_a_batch():
    network = dense_network((2, 3, 2), 0)
    few = Property([Disjunct(Box.full(2, 0, 1 + i), Gy=[[1.0, 0.0]], g=[0.0]) for i in range(3)])
    assert list(crude.crude_bounds(network, few, lambda: None)) == []
    boxes = [Box.full(2, 0, 1 + i) for i in range(9)]
    inputs = Property([Disjunct(box, [[1.0, 0.0]], [0.0], [[1.0, 0.0]]) for box in boxes])
    assert list(crude.crude_bounds(network, inputs, lambda: None)) == []
    outputs = Property([Disjunct(box, [[1.0, 0.0]], [0.0]) for box in boxes])
    assert list(crude.crude_bounds(network, outputs, lambda: 0.0)) == []
    assert len(list(crude.crude_bounds(network, outputs, lambda: None))) == 1


def test_boxes_that_no_float_holds_together_are_bounded_one_by_one():
    network = Network([Layer([[1e5], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
    boxes = [Box([0.0], [float(i)]) for i in range(1, 9)] + [Box([1e303], [1.5e303])]
    far = Property([Disjunct(box, [[1.0]], [-1.0]) for box in boxes])  # f(x) <= -1
    assert verify(network, far).verdict == "unsat"


def test_a_batch_looks_at_the_clock(monkeypatch):
    monkeypatch.setattr(crude, "NUMBERS", 1024)
    monkeypatch.setattr(crude, "WORTH", 1)
    network = dense_network((3, 8, 8, 4), 5)
    property = Property([part for part in mixed(network, 300, 5) if not part.Gx.any()])
    whole = list(crude.crude_bounds(network, property, lambda: None))
    assert len(whole) > 4
    left = iter([9.0, 9.0, 9.0, 9.0])
    some = list(crude.crude_bounds(network, property, lambda: next(left, 0.0)))
    assert 0 < len(some) < len(whole)
    for (members, bounds), (same, others) in zip(some, whole, strict=False):
        assert (members == same).all()
        assert (bounds == others).all()
