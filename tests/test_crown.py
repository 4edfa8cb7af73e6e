"""CROWN: numbers by hand, a plain loop for comparison, exact points that rounding must not lose, chunks, storage."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Bounds, Box, Layer, Network
from omlt_ext.propagation import crown, interval
from omlt_ext.propagation.crown import affine_error, backward, relax
from omlt_ext.propagation.interval import Range, activation_range
from omlt_ext.propagation.interval import given as range_of


def dense_network(rng: np.random.Generator, widths: list[int], relu_share: float = 1.0) -> Network:
    """Random weights U(+-1/sqrt(fan_in)); a share of the hidden neurons are ReLUs; linear outputs."""
    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        scale = 1 / np.sqrt(n_in)
        relu = rng.random(n_out) < relu_share if len(layers) < len(widths) - 2 else False
        layers.append(Layer(rng.uniform(-scale, scale, (n_out, n_in)), rng.uniform(-scale, scale, n_out), relu))
    return Network(layers)


def pieces(network: Network, bounds: Bounds):
    """The relaxations and rounding weights of every layer under given bounds."""
    relaxations, errors = [], []
    p, q = bounds.box.lower, bounds.box.upper
    for k, layer in enumerate(network.layers):
        errors.append(affine_error(layer, p, q))
        relaxations.append(relax(layer, range_of(bounds, k)))
        p, q = activation_range(layer, range_of(bounds, k))
    return relaxations, errors


def test_the_worked_example_of_the_deeppoly_paper():
    # Singh et al. 2019, figures 3 and 4: x3 = x1 + x2, x4 = x1 - x2; x7 = x5 + x6, x8 = x5 - x6; x11 = x9 + x10 + 1.
    rotate = [[1, 1], [1, -1]]
    network = Network(
        [Layer(rotate, [0, 0], True), Layer(rotate, [0, 0], True), Layer([[1, 1], [0, 1]], [1, 0], False)]
    )
    bounds = crown(network, Box.full(2, -1, 1))
    for k, (lower, upper) in enumerate([([-2, -2], [2, 2]), ([0, -2], [3, 2]), ([1, 0], [5.5, 2])]):
        np.testing.assert_allclose(bounds.lower[k], lower, atol=1e-12)
        np.testing.assert_allclose(bounds.upper[k], upper, atol=1e-12)
    assert bounds.stable_active[1][0]
    # x8 and x12 tie with their intervals; rounding says who wins.
    assert bounds.to_frame()["upper_method"].iloc[[0, 1, 2, 4]].tolist() == ["interval", "interval", "crown", "crown"]


def test_skip_connection_through_a_linear_neuron():
    # y = relu(x) - x on [-1, 1]: relu(x) <= (x + 1)/2 gives y <= (1 - x)/2 <= 1, alpha = 0 gives y >= -x >= -1.
    network = Network([Layer([[1], [1]], [0, 0], relu=[True, False]), Layer([[1, -1]], [0], relu=False)])
    box = Box([-1], [1])
    bounds = crown(network, box)
    assert bounds.lower[1][0] == pytest.approx(-1, rel=1e-12)
    assert bounds.upper[1][0] == pytest.approx(1, rel=1e-12)
    assert interval(network, box).upper[1][0] == pytest.approx(2, rel=1e-12)


def test_lower_slope_follows_the_smaller_area():
    # y = relu(x) - x/2 on [-1, 2]: u > -l, so relu(x) >= x and y >= x/2 >= -1/2. On [-2, 1]: relu(x) >= 0, y >= -1/2.
    network = Network([Layer([[1], [1]], [0, 0], relu=[True, False]), Layer([[1, -0.5]], [0], relu=False)])
    assert crown(network, Box([-1], [2])).lower[1][0] == pytest.approx(-0.5, rel=1e-12)
    assert crown(network, Box([-2], [1])).lower[1][0] == pytest.approx(-0.5, rel=1e-12)


def plain_crown(network: Network, box: Box, sign: int) -> list[float]:
    """Lower bounds (sign 1) or upper bounds (sign -1) of a network with one hidden layer, one number at a time."""
    first, last = network.layers
    values = []
    for row, bias in zip(last.dense_weight(), last.bias, strict=True):
        coefficients, constant = [0.0] * box.n, sign * bias
        for j, (w, b) in enumerate(zip(first.dense_weight(), first.bias, strict=True)):
            low = b + sum(min(a * p, a * q) for a, p, q in zip(w, box.lower, box.upper, strict=True))
            high = b + sum(max(a * p, a * q) for a, p, q in zip(w, box.lower, box.upper, strict=True))
            a = sign * row[j]
            if not first.relu[j] or low >= 0:
                slope, shift = 1.0, 0.0
            elif high <= 0:
                slope, shift = 0.0, 0.0
            elif a >= 0:
                slope, shift = float(high > -low), 0.0
            else:
                slope, shift = high / (high - low), -high * low / (high - low)
            constant += a * (slope * b + shift)
            coefficients = [c + a * slope * v for c, v in zip(coefficients, w, strict=True)]
        value = constant + sum(min(c * p, c * q) for c, p, q in zip(coefficients, box.lower, box.upper, strict=True))
        values.append(sign * value)
    return values


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_one_hidden_layer_agrees_with_a_plain_loop(seed, share):
    rng = np.random.default_rng(seed)
    network = dense_network(rng, [3, 7, 4], share)
    box = Box.ball(rng.standard_normal(3), rng.random(3))
    bounds, naive = crown(network, box), interval(network, box)
    np.testing.assert_allclose(bounds.lower[1], np.maximum(naive.lower[1], plain_crown(network, box, 1)), atol=1e-12)
    np.testing.assert_allclose(bounds.upper[1], np.minimum(naive.upper[1], plain_crown(network, box, -1)), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_stable_networks_contain_their_exact_range(seed):
    # With every hidden neuron active the network is affine and CROWN's value is its exact minimum, up to rounding:
    # without the error terms about half of these comparisons fail.
    rng = np.random.default_rng(seed)
    widths, layers = [6, 8, 5, 4], []
    for n_in, n_out in itertools.pairwise(widths):
        weight = rng.standard_normal((n_out, n_in)) * 10.0 ** rng.integers(-3, 4, (n_out, n_in))
        layers.append(Layer(weight, np.full(n_out, 1e9 * 1e5 ** len(layers)) + rng.random(n_out), relu=len(layers) < 2))
    network = Network(layers)
    box = Box.ball(rng.standard_normal(6), rng.random(6))
    bounds = interval(network, box)
    assert all(active.all() for active in bounds.stable_active[:2])
    C = rng.standard_normal((10, 4))
    values = backward(network, 2, C, *pieces(network, bounds), box)
    exact = np.array([[Fraction(v) for v in row] for row in C])
    constant = np.array([Fraction(0)] * 10)
    for layer in reversed(layers):
        constant = constant + exact @ np.array([Fraction(v) for v in layer.bias])
        exact = exact @ np.array([[Fraction(v) for v in row] for row in layer.weight])
    for value, row, start in zip(values, exact, constant, strict=True):
        ends = zip(row, box.lower, box.upper, strict=True)
        minimum = start + sum(min(a * Fraction(p), a * Fraction(q)) for a, p, q in ends)
        assert Fraction(value) <= minimum
        assert minimum - Fraction(value) <= abs(minimum) * Fraction(1, 10**9)


@pytest.mark.parametrize("hidden", [False, True])
def test_terms_that_vanish_beside_a_large_one_are_paid_for(hidden):
    # 1 + 3000 r with r just under half a unit in the last place of 1: the sum of floats loses many of the r. They are
    # lost in the value over the box where they stand in the inputs, in A = D W where they stand in a hidden layer.
    weight = np.r_[1.0, np.full(3000, 0.99 * 2.0**-53)]
    if hidden:
        layers = [Layer(np.ones((3001, 1)), np.zeros(3001), relu=True), Layer([weight], [0.0], relu=False)]
    else:
        layers = [Layer([weight], [0.0], relu=False)]
    network = Network(layers)
    box = Box.full(network.n_inputs, 0, 1)
    value = backward(network, len(layers) - 1, np.array([[-1.0]]), *pieces(network, interval(network, box)), box)[0]
    exact = -sum(Fraction(w) for w in weight)
    assert Fraction(value) <= exact
    assert exact - Fraction(value) <= Fraction(1, 10**11)


@settings(max_examples=200, deadline=None)
@given(
    low=st.floats(max_value=0, exclude_max=True, allow_infinity=False),
    high=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)
def test_the_upper_line_covers_the_relu(low, high):
    layer = Layer([[1.0]], [0.0], relu=True)
    with np.errstate(over="ignore"):
        line = relax(layer, Range.by("given", np.array([low]), np.array([high])))
    if np.isinf(line.t[0]):  # only just below the largest number
        assert low < -1e308
        return
    s, t, p, q = (Fraction(float(v)) for v in (line.s[0], line.t[0], low, high))
    assert s * p + t >= 0
    assert s * q + t >= q
    if 1e-290 < high / 2 - low / 2 < 0.8e308:  # beyond, u - l overflows or is subnormal: valid, but looser
        assert s - q / (q - p) <= Fraction(1, 2**50)
        assert t + p * q / (q - p) <= -p * Fraction(1, 2**50) + Fraction(1, 2**1073)
    assert line.alpha[0] == (high > -low)


@pytest.mark.parametrize("exponent", [-300, -30, 0, 30, 300])
def test_bounds_hold_where_the_relaxation_is_attained(exponent):
    # y = relu(x) - a x with 0 < a < 1: the relaxation is attained at x = u when s > a and at x = l when s < a, so the
    # exact value there tests the rounding of slope, intercept and sums at once.
    rng = np.random.default_rng(7)
    n = 300
    lo, hi = -rng.random(n) * 10.0**exponent, rng.random(n) * 10.0**exponent
    a = rng.random(n)
    eye = sparse.eye(n, format="csr")
    first = Layer(sparse.vstack([eye, eye]), np.zeros(2 * n), relu=np.arange(2 * n) < n)
    network = Network([first, Layer(sparse.hstack([eye, -sparse.diags(a)]), np.zeros(n), relu=False)])
    bounds = crown(network, Box(lo, hi))
    for j in range(n):
        low, high, slope = Fraction(lo[j]), Fraction(hi[j]), Fraction(a[j])
        upper = max(-slope * low, high - slope * high)
        assert Fraction(bounds.upper[1][j]) >= upper
        assert Fraction(bounds.upper[1][j]) - upper <= (high - low) * Fraction(1, 10**12) + Fraction(1, 10**304)


def test_any_lower_slope_gives_a_valid_bound():
    rng = np.random.default_rng(3)
    network = dense_network(rng, [4, 20, 20, 3])
    box = Box.full(4, -1, 1)
    bounds = crown(network, box)
    relaxations, errors = pieces(network, bounds)
    C = np.concatenate([np.eye(3), -np.eye(3), [[1.0, -1.0, 0.0]]])
    lowest = (network(box.sample(20_000, rng)) @ C.T).min(axis=0)
    default = backward(network, 2, C, relaxations, errors, box)
    np.testing.assert_allclose(default[:3], np.minimum(default[:3], bounds.lower[2]))
    best = default
    for _ in range(20):
        moved = [
            replace(r, alpha=np.where(r.magnitude > 0, rng.random((len(C), r.s.size)), r.s)) for r in relaxations[:2]
        ]
        values = backward(network, 2, C, moved, errors, box)
        assert (values <= lowest).all()
        assert (values > -np.inf).all()
        best = np.maximum(best, values)
    assert (best > default).any()  # slopes matter: the closed form is not the best choice everywhere


def test_chunks_and_storage_do_not_change_the_bounds():
    rng = np.random.default_rng(5)
    weights = [
        rng.standard_normal((n_out, n_in)) * (rng.random((n_out, n_in)) < 0.3)
        for n_in, n_out in ((9, 30), (30, 25), (25, 6))
    ]
    relu = [rng.random(len(w)) < 0.8 for w in weights]
    dense = Network([Layer(w, np.ones(len(w)), r) for w, r in zip(weights, relu, strict=True)])
    csr = Network([Layer(sparse.csr_array(w), np.ones(len(w)), r) for w, r in zip(weights, relu, strict=True)])
    mixed = Network([csr.layers[0], dense.layers[1], csr.layers[2]])
    box = Box.full(9, -1, 1)
    whole = crown(dense, box)
    for other in (crown(dense, box, chunk_bytes=1), crown(csr, box), crown(mixed, box, chunk_bytes=8000)):
        for k in range(3):
            np.testing.assert_allclose(other.lower[k], whole.lower[k], rtol=1e-11, atol=1e-11)
            np.testing.assert_allclose(other.upper[k], whole.upper[k], rtol=1e-11, atol=1e-11)


def test_work_arrays_stay_near_the_budget():
    network = dense_network(np.random.default_rng(0), [100, 500, 500, 500])
    weight = 500 * 500 * 8
    tracemalloc.start()
    crown(network, Box.full(100, 0, 1), chunk_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 + 4 * weight  # the whole layer at once would take 1000 x 500 x 8 x 4 bytes = 8 weights


def test_overflow_in_the_backward_pass_leaves_the_interval_bound():
    # The coefficient 1e200 * 1e200 of the neuron that is always 0 overflows going backward; its interval does not.
    first = Layer([[1e200], [1.0]], [-1.1e200, 0.0], relu=True)
    network = Network([first, Layer([[1e200, 1.0]], [0.0], relu=False)])
    box = Box([-1], [1])
    bounds = crown(network, box)
    assert bounds.upper[1][0] == pytest.approx(1.0)
    wide = Network([Layer([[1e-150]], [0.0], relu=False), Layer([[1e200]], [0], False), Layer([[1e250]], [0], False)])
    bounds = crown(wide, Box([-1e-5], [1e-5]))
    assert bounds.upper[2][0] == pytest.approx(1e295)
    assert bounds.to_frame()["upper_method"].iloc[2] == "interval"
