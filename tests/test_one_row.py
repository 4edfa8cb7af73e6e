"""CROWN over a box and one row: points of the polytope, the LP's value where one layer is all there is, l1 balls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from search_problems import dense_network

from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.domain import Polytope
from omlt_ext.propagation.crown import crown
from omlt_ext.propagation.one_row import crown_one_row, multipliers
from omlt_ext.verification.ball import L1Ball


def random_polytope(n: int, rng: np.random.Generator) -> Polytope:
    lower = rng.uniform(-1, 0, n)
    box = Box(lower, lower + rng.uniform(0, 2, n) * (rng.random(n) < 0.8))
    a = np.round(rng.normal(size=(1, n)), 1) * (rng.random(n) < 0.8)
    return Polytope(box, a, a @ box.sample(1, rng)[0] + rng.choice([0.0, 0.1]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_point_of_the_polytope_is_outside(seed):
    rng = np.random.default_rng(seed)
    network, domain = dense_network((4, 8, 7, 3), seed), random_polytope(4, rng)
    before = crown(network, domain)
    after = crown_one_row(network, before)
    points = domain.box.sample(2000, rng)
    points = points[points @ domain.A[0] <= domain.b[0]]
    for k, z in enumerate(network.pre_activations(points)):
        assert (before.lower[k] <= after.lower[k]).all()
        assert (after.upper[k] <= before.upper[k]).all()
        assert (z >= after.lower[k] - 1e-12).all()
        assert (z <= after.upper[k] + 1e-12).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_layer_reaches_the_lp(seed):
    rng = np.random.default_rng(seed)
    domain, weight = random_polytope(4, rng), np.round(rng.normal(size=(3, 4)), 1)
    network = Network([Layer(weight, np.zeros(3), relu=True)])
    found = crown_one_row(network, crown(network, domain))
    ends = np.column_stack([domain.box.lower, domain.box.upper])
    if not domain.A[0] @ np.where(domain.A[0] > 0, *ends.T) < domain.b[0]:
        return  # a corner at most is left
    for j, row in enumerate(weight):
        for sign, bound in ((1, found.lower[0][j]), (-1, -found.upper[0][j])):
            best = linprog(sign * row, domain.A, domain.b, bounds=ends)
            assert best.status == 0
            assert bound <= best.fun + 1e-9
            assert bound >= best.fun - 1e-6


def test_an_l1_ball_has_the_dual_norm():
    ball, rng = L1Ball(np.full(5, 0.5), 0.75), np.random.default_rng(0)
    weight = rng.normal(size=(4, 5))
    network = ball.before(Network([Layer(weight, np.zeros(4), relu=True)]))
    found = crown_one_row(network, crown(network, ball.domain(ball.box())))
    reach = 0.75 * np.abs(weight).max(axis=1)
    assert found.upper[1] == pytest.approx(weight @ ball.center + reach)
    assert found.lower[1] == pytest.approx(weight @ ball.center - reach)


def test_a_deep_network_gains_over_a_ball():
    ball, network = L1Ball(np.full(8, 0.5), 0.5), dense_network((8, 12, 12, 2), 3)
    lifted, domain = ball.before(network), ball.domain(ball.box())
    plain, within = crown(lifted, domain), crown_one_row(lifted, crown(lifted, domain))
    dual = tighten_bounds(lifted, domain, "dual")
    width = [float((b.upper[-1] - b.lower[-1]).sum()) for b in (plain, within, dual)]
    assert width[1] < 0.5 * width[0]
    assert width[1] < 1.5 * width[2]


def test_what_the_row_cannot_say():
    """A row that always holds, a row that never does, and a row of zeros."""
    network, box = dense_network((3, 4, 1), 0), Box.full(3, 0, 1)
    for row, side in (([1.0, 1.0, 1.0], 4.0), ([1.0, 1.0, 1.0], -1.0), ([0.0, 0.0, 0.0], 1.0)):
        plain = crown(network, box)
        domain = Polytope(box, [row], [side])
        found = crown_one_row(network, crown(network, domain))
        assert found.upper[-1] == pytest.approx(plain.upper[-1])
        assert found.lower[-1] == pytest.approx(plain.lower[-1])
    assert multipliers(np.array([[-1.0, 0.0, 2.0]]), Polytope(box, [[0.0, 0.0, 0.0]], [1.0])).tolist() == [0.0]
