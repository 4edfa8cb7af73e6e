"""Feasibility-based propagation: known ranges, nothing lost, exact rationals, CSR as dense, empty ranges."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Bounds, Box, Layer, Network, Polytope, tighten_bounds
from omlt_ext.bounds import METHODS
from omlt_ext.errors import BoundsError, InfeasibleError, ShapeError
from omlt_ext.propagation.feasibility import activity, contract, propagate_back

INF = np.inf
MakeNetwork = Callable[..., Network]


def back(network: Network, box: Box, low: object, high: object, **keywords: int) -> Bounds:
    return propagate_back(network, tighten_bounds(network, box, "interval"), low, high, **keywords)


def test_one_linear_layer_is_exact() -> None:
    network = Network([Layer([[2.0, -1.0]], [1.0], relu=False)])
    tight = back(network, Box([0, 0], [4, 2]), 5.0, 6.0)  # 4 <= 2 x - y <= 5
    np.testing.assert_allclose(tight.box.lower, [2, 0], atol=1e-12)
    np.testing.assert_allclose(tight.box.upper, [3.5, 2], atol=1e-12)
    np.testing.assert_allclose([tight.lower[0][0], tight.upper[0][0]], [5, 6], rtol=1e-14)
    assert tight.to_frame()["lower_method"].tolist() == ["feasibility"]


def test_through_a_relu() -> None:
    network = Network([Layer([[1.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    box = Box([-2], [3])
    below, above = back(network, box, -INF, 1.0), back(network, box, 0.5, INF)
    np.testing.assert_allclose([below.box.lower[0], below.box.upper[0]], [-2, 1], atol=1e-12)
    np.testing.assert_allclose([above.box.lower[0], above.box.upper[0]], [0.5, 3], atol=1e-12)
    assert below.n_unstable == 1
    assert above.stable_active[0].all()
    assert back(network, box, -INF, INF).box.lower[0] == -2  # nothing asked, nothing lost
    assert back(network, box, 0.0, INF).box.lower[0] == -2  # h >= 0 says nothing of z


def test_a_relu_at_the_output() -> None:
    network = Network([Layer([[1.0]], [0.0], relu=True)])
    assert back(network, Box([-2], [3]), -INF, 0.0).box.upper[0] == 0.0
    assert back(network, Box([-2], [3]), -5.0, 7.0).box.lower[0] == -2.0
    with pytest.raises(InfeasibleError, match="layer 0, neuron 0"):
        back(network, Box([-2], [3]), -INF, -1e-9)


def test_the_doctest_network_needs_several_layers(make_network: MakeNetwork) -> None:
    network = make_network((2, 6, 5, 1), 4)
    box = Box.full(2, -1, 1)
    x = box.sample(20000, np.random.default_rng(0))
    y = network(x)[:, 0]
    cut = float(np.quantile(y, 0.02))
    tight = back(network, box, -INF, cut)
    inside = x[y <= cut]
    assert tight.box.contains(inside)
    assert tight.upper[-1][0] <= cut
    assert sum(width.sum() for width in tight.width()) < sum(
        width.sum() for width in tighten_bounds(network, box, "interval").width()
    )
    one = back(network, box, -INF, cut, rounds=1)
    assert all((one.lower[k] <= tight.lower[k]).all() for k in range(3))


@pytest.mark.parametrize("low", [1e9, np.array([1e9])])
def test_what_cannot_be_reached_is_said(make_network: MakeNetwork, low: object) -> None:
    with pytest.raises(InfeasibleError, match=r"layer 2, neuron 0 .* no point is left"):
        back(make_network((2, 6, 5, 1), 4), Box.full(2, -1, 1), low, INF)


def test_emptiness_may_show_in_the_inputs_only() -> None:
    # y_0 = x_0 + x_1 and y_1 = x_0 - x_1 with both at least 1.5 on [0, 1]^2: each alone is possible
    network = Network([Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=False)])
    for j in (0, 1):
        low = np.full(2, -INF)
        low[j] = 0.9
        back(network, Box.full(2, 0, 1), low, INF)
    with pytest.raises(InfeasibleError, match="input 1"):
        back(network, Box.full(2, 0, 1), [1.5, 0.6], INF)


@pytest.mark.parametrize(
    ("low", "high", "error", "message"),
    [
        ([0.0, 0.0], 1.0, ShapeError, r"lower end of the outputs has shape \(2,\)"),
        (np.nan, 1.0, BoundsError, r"output 0: \[nan, 1.0\] is no range"),
        (2.0, 1.0, BoundsError, "output 0"),
        ("low", 1.0, BoundsError, "lower end of the outputs is not an array"),
    ],
)
def test_ends_that_are_no_range(
    make_network: MakeNetwork, low: object, high: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        back(make_network((2, 3, 1), 0), Box.full(2, -1, 1), low, high)


def test_a_polytope_stays() -> None:
    network = Network([Layer([[1.0, 1.0]], [0.0], relu=False)])
    simplex = Polytope(Box.full(2, 0, 1), [[1.0, 2.0]], [1.5])
    tight = propagate_back(network, tighten_bounds(network, simplex, "dual"), -INF, 0.25)
    assert tight.polytope is not None
    assert tight.polytope.same(simplex)
    assert tight.polytope.box is tight.box
    np.testing.assert_allclose(tight.box.upper, 0.25, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), keep=st.floats(0.0, 1.0))
def test_no_point_with_such_outputs_is_lost(make_network: MakeNetwork, seed: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    network = make_network((3, 7, 6, 2), seed % 2**31, relu_output=bool(seed % 2))
    box = Box(rng.uniform(-3, 0, 3), rng.uniform(0, 3, 3))
    x = box.sample(500, rng)
    y = network(x)
    low, high = np.sort(y[rng.integers(500, size=2)], axis=0)
    low, high = np.where(rng.random(2) < keep, low, -INF), np.where(rng.random(2) < keep, high, INF)
    inside = x[((y >= low) & (y <= high)).all(axis=1)]
    try:
        tight = back(network, box, low, high)
    except InfeasibleError:
        assert inside.size == 0
        return
    assert tight.box.contains(inside)
    if inside.size:
        for k, z in enumerate(network.pre_activations(inside)):
            slack = 1e-9 * (1 + np.abs(z))  # these forward passes are not exact
            assert (tight.lower[k] - slack <= z).all()
            assert (z <= tight.upper[k] + slack).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_csr_is_dense_bit_for_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [4, 9, 8, 2]
    weights = [rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.4) for n, m in itertools.pairwise(sizes)]
    biases = [rng.normal(size=w.shape[0]) for w in weights]
    both = [
        Network([Layer(kind(w), b, relu=k < 2) for k, (w, b) in enumerate(zip(weights, biases, strict=True))])
        for kind in (np.asarray, sparse.csr_array)
    ]
    box = Box.full(4, -1, 1)
    known = tighten_bounds(both[0], box, "interval")  # the same start: sums there are in another order
    middle = both[0](box.center)
    results = [propagate_back(network, known, middle - 0.1, middle + 0.1, rounds=1) for network in both]
    for k in range(3):
        np.testing.assert_allclose(results[0].lower[k], results[1].lower[k], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(results[0].upper[k], results[1].upper[k], rtol=1e-13, atol=1e-13)
    m, n = weights[0].shape
    ends = [np.full(m, -0.5), np.full(m, 0.7), np.full(n, -1.0), np.full(n, 1.0)]
    for one, other in zip(contract(weights[0], *ends), contract(sparse.csr_array(weights[0]), *ends), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-320, 140))
def test_rows_are_contracted_validly(seed: int, exponent: int) -> None:
    """Against rationals, with infinite ends, zeros and magnitudes far apart."""
    rng = np.random.default_rng(seed)
    m, n = 4, 5
    A = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-6, 7, (m, n)) * (rng.random((m, n)) < 0.7)
    p = rng.standard_normal(n) * 10.0**exponent
    q = p + np.abs(rng.standard_normal(n)) * 10.0**exponent
    p[rng.random(n) < 0.15], q[rng.random(n) < 0.15] = -INF, INF
    p[rng.random(n) < 0.1] = 0.0
    q = np.maximum(p, q)
    lower = rng.standard_normal(m) * 10.0**exponent
    upper = lower + np.abs(rng.standard_normal(m)) * 10.0**exponent
    lower[rng.random(m) < 0.3], upper[rng.random(m) < 0.3] = -INF, INF
    low, high = contract(A, lower, upper, p, q)
    exact_low, exact_high = _exact(A, lower, upper, p, q)
    for j in range(n):
        assert low[j] >= p[j]
        assert high[j] <= q[j]
        if exact_low[j] is None:
            assert low[j] == p[j]
        else:
            assert low[j] == p[j] or Fraction(low[j]) <= exact_low[j]
        if exact_high[j] is None:
            assert high[j] == q[j]
        else:
            assert high[j] == q[j] or Fraction(high[j]) >= exact_high[j]


def _exact(A, lower, upper, p, q):
    """What each row leaves of each column, the tightest over all rows, as rationals; None where there is nothing."""
    m, n = A.shape
    lows: list[Fraction | None] = [None] * n
    highs: list[Fraction | None] = [None] * n

    def note(best, j, value, choose):
        best[j] = value if best[j] is None else choose(best[j], value)

    for i in range(m):
        for j in np.flatnonzero(A[i]):
            for sign, side in ((1, upper[i]), (-1, -lower[i])):  # sign * A_i x <= side
                others = [k for k in np.flatnonzero(A[i]) if k != j]
                ends = [(p[k] if sign * A[i, k] > 0 else q[k]) for k in others]
                if not np.isfinite([side, *ends]).all():
                    continue
                rest = Fraction(side) - sum(
                    sign * Fraction(A[i, k]) * Fraction(end) for k, end in zip(others, ends, strict=True)
                )
                value = rest / (sign * Fraction(A[i, j]))
                if sign * A[i, j] > 0:
                    note(highs, j, value, min)
                else:
                    note(lows, j, value, max)
    return lows, highs


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_integer_networks_in_exact_arithmetic(seed: int) -> None:
    """Every integer point of the box whose outputs lie in the range, evaluated in integers, stays within the bounds."""
    rng = np.random.default_rng(seed)
    sizes = [2, 4, 3, 1]
    layers = []
    for k, (n, m) in enumerate(itertools.pairwise(sizes)):
        layers.append(Layer(rng.integers(-3, 4, (m, n)), rng.integers(-3, 4, m), relu=k < 2))
    network, box = Network(layers), Box.full(2, -4, 4)
    points = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 2), axis=-1).reshape(-1, 2)
    zs = network.pre_activations(points)  # exact: small integers
    target = int(rng.choice(zs[-1][:, 0]))
    tight = back(network, box, target, target)
    inside = zs[-1][:, 0] == target
    assert tight.box.contains(points[inside])
    for k, z in enumerate(zs):
        assert (tight.lower[k] <= z[inside]).all()
        assert (z[inside] <= tight.upper[k]).all()


def test_activity_of_rows() -> None:
    A = sparse.csr_array([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    low, high = activity(A, np.array([0.0, -1.0, -INF]), np.array([1.0, 1.0, 2.0]))
    np.testing.assert_allclose(low, [-2.0, 0.0, -INF], rtol=1e-14)
    np.testing.assert_allclose(high, [3.0, 0.0, 6.0], rtol=1e-14)
    assert low[0] <= -2.0
    assert high[0] >= 3.0
    assert high[2] >= 6.0


def test_given_names_are_kept() -> None:
    assert METHODS[-1] == "feasibility"
    network = Network([Layer([[1.0]], [0.0], relu=False)])
    tight = back(network, Box([0], [1]), -INF, 0.5)
    assert tight.to_frame()[["lower_method", "upper_method"]].to_numpy().tolist() == [["interval", "feasibility"]]
