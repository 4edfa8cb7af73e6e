"""Interval arithmetic: known numbers, exact cases, outward rounding against rationals, bad input."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Bounds, Box, Layer, Network
from omlt_ext.errors import BoundsError, ShapeError
from omlt_ext.propagation import interval


def test_known_numbers():
    network = Network(
        [Layer([[1, -2], [3, 1]], [1, -1], relu=[True, False]), Layer([[1, 1], [-1, 2]], [0, 1], relu=False)]
    )
    bounds = interval(network, Box([-1, 0], [1, 2]))
    # z0 = x - 2y + 1 in [-4, 2], z1 = 3x + y - 1 in [-4, 4]; h0 in [0, 2], h1 = z1.
    np.testing.assert_allclose(bounds.lower[0], [-4, -4], rtol=1e-12)
    np.testing.assert_allclose(bounds.upper[0], [2, 4], rtol=1e-12)
    np.testing.assert_allclose(bounds.lower[1], [-4, -9], rtol=1e-12)
    np.testing.assert_allclose(bounds.upper[1], [6, 9], rtol=1e-12)
    assert (bounds.lower[1] <= [-4, -9]).all()
    assert (bounds.upper[1] >= [6, 9]).all()
    assert set(bounds.to_frame()["lower_method"]) == {"interval"}


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-330, 140))
def test_affine_layer_contains_its_exact_range_closely(kind, seed, exponent):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((6, 9)) * 10.0 ** rng.integers(-6, 7, (6, 9)) * (rng.random((6, 9)) < 0.7)
    b = rng.standard_normal(6) * (rng.random(6) < 0.7)
    lo = rng.standard_normal(9) * 10.0**exponent
    hi = np.where(rng.random(9) < 0.3, lo, lo + np.abs(rng.standard_normal(9)) * 10.0**exponent)
    bounds = interval(Network([Layer(kind(W), b, relu=True)]), Box(lo, hi))
    for i in range(6):
        terms = [[Fraction(w) * Fraction(x) for x in (low, high)] for w, low, high in zip(W[i], lo, hi, strict=True)]
        lower = Fraction(b[i]) + sum(min(pair) for pair in terms)
        upper = Fraction(b[i]) + sum(max(pair) for pair in terms)
        assert Fraction(bounds.lower[0][i]) <= lower
        assert Fraction(bounds.upper[0][i]) >= upper
        scale = abs(Fraction(b[i])) + sum(max(map(abs, pair)) for pair in terms)
        slack = scale * Fraction(1, 10**14) + Fraction(1, 10**300)
        assert lower - Fraction(bounds.lower[0][i]) <= slack
        assert Fraction(bounds.upper[0][i]) - upper <= slack


def test_ranges_that_touch_zero_stay_there():
    # All weights positive on [0, 1]: the ReLU is active, and rounding must not make it look unstable.
    network = Network([Layer([[0.1, 0.2, 0.7]], [0.0], relu=True), Layer([[-0.3]], [0.0], relu=True)])
    bounds = interval(network, Box.full(3, 0, 1))
    assert bounds.lower[0][0] == 0.0
    assert bounds.upper[1][0] == 0.0
    assert bounds.n_unstable == 0


def test_neuron_without_weights_is_its_bias():
    network = Network([Layer([[0.0, 0.0], [1.0, 0.0]], [0.1, 0.0], relu=True)])
    bounds = interval(network, Box.full(2, -1, 1))
    assert bounds.lower[0][0] == bounds.upper[0][0] == 0.1


def test_underflowing_products_are_paid_for():
    small = 2.0**-600
    network = Network([Layer([[small, small]], [0.0], relu=True)])
    bounds = interval(network, Box([-small, 0], [small, small]))
    assert bounds.lower[0][0] < 0 < bounds.upper[0][0]
    assert bounds.upper[0][0] < 1e-300


def test_given_bounds_are_propagated():
    network = Network([Layer([[1.0]], [0.0], relu=True), Layer([[2.0]], [0.0], relu=False)])
    known = Bounds.of(network, Box([-2], [2]), lower=[[-1], [-9]], upper=[[0.5], [9]])
    bounds = interval(network, Box([-1], [1]), known)
    assert bounds.upper[0][0] == 0.5
    assert bounds.upper[1][0] == pytest.approx(1.0, rel=1e-12)
    assert bounds.box.lower[0] == -1
    frame = bounds.to_frame()
    assert list(frame["upper_method"]) == ["given", "interval"]


@pytest.mark.parametrize("relu", [True, False])
def test_overflow_names_layer_and_neuron(relu):
    network = Network([Layer([[1.0], [1e200]], [0.0, 0.0], relu), Layer([[1.0, 0.0], [1.0, -1e200]], [0.0, 0.0], relu)])
    with pytest.raises(BoundsError, match=r"layer 1, neuron 1: .* overflow"):
        interval(network, Box([-1], [1]))


def test_box_of_another_size_is_refused():
    network = Network([Layer([[1.0, 1.0]], [0.0], relu=True)])
    with pytest.raises(ShapeError, match="3 coordinates, the network 2 inputs"):
        interval(network, Box.full(3, 0, 1))
