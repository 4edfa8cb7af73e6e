"""CROWN on many boxes: against CROWN on each of them, numbers by hand, exact points that rounding must not lose."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.domain import Polytope
from omlt_ext.propagation import boxes, crown
from omlt_ext.propagation.blame import DOWNWARD
from omlt_ext.propagation.boxes import BoxCrown
from omlt_ext.propagation.crown import affine_error, backward, relax
from omlt_ext.propagation.interval import activation_range
from omlt_ext.propagation.interval import given as range_of

LEAST = np.array([[-1.0]])


def random_network(rng: np.random.Generator, widths: tuple[int, ...], relu_share: float = 1.0) -> Network:
    layers = []
    for k, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        relu = rng.random(n_out) < relu_share if k < len(widths) - 2 else False
        layers.append(Layer(rng.normal(size=(n_out, n_in)) / np.sqrt(n_in), 0.3 * rng.normal(size=n_out), relu))
    return Network(layers)


def parts_of(box: Box, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ends (count, n) of boxes in the box; the first is the whole of it, of the second an input has no width."""
    ends = np.sort(box.lower + rng.random((2, count, box.n)) * box.width, axis=0)
    ends[:, 0] = box.lower, box.upper
    ends[1, 1, 0] = ends[0, 1, 0]
    return ends[0], ends[1]


def exact(network: Network, x: np.ndarray) -> list[Fraction]:
    """f(x) for x of floats, in fractions."""
    h = [Fraction(v) for v in x.tolist()]
    for layer in network.layers:
        W, b = layer.dense_weight().tolist(), layer.bias.tolist()
        z = [
            sum((Fraction(a) * v for a, v in zip(row, h, strict=True)), Fraction(c))
            for row, c in zip(W, b, strict=True)
        ]
        h = [max(v, Fraction(0)) if relu else v for v, relu in zip(z, layer.relu.tolist(), strict=True)]
    return h


def by_crown(network: Network, box: Box, C: np.ndarray) -> float:
    """The largest row's value by `crown.backward`, with CROWN's own ranges on the box."""
    bounds, k = crown(network, box), len(network.layers) - 1
    relaxations, errors = [], []
    p, q = box.lower, box.upper
    for i, layer in enumerate(network.layers):
        errors.append(affine_error(layer, p, q))
        relaxations.append(relax(layer, range_of(bounds, i)))
        p, q = activation_range(layer, range_of(bounds, i))
    return float(backward(network, k, C, relaxations, errors, box).max())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.6, 1.0]), m=st.sampled_from([1, 3]))
def test_each_box_gets_what_crown_gives_it(seed, share, m):
    rng = np.random.default_rng(seed)
    network, root, C = random_network(rng, (3, 8, 7, 2), share), Box.full(3, -1, 1), rng.normal(size=(m, 2))
    lower, upper = parts_of(root, 6, rng)
    found = BoxCrown(network, tighten_bounds(network, root, "interval"), C)(lower, upper)
    each = [by_crown(network, Box(lo, hi), C) for lo, hi in zip(lower, upper, strict=True)]
    np.testing.assert_allclose(found.values, each, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tiny=st.sampled_from([1.0, 1e-9, 0.0]), scale=st.sampled_from([1e-3, 1.0, 1e6]))
def test_no_exact_point_is_lost(seed, tiny, scale):
    rng = np.random.default_rng(seed)
    network, root = random_network(rng, (2, 5, 4, 3, 1)), Box.full(2, -scale, scale)
    lower, _ = parts_of(root, 4, rng)
    upper = np.minimum(lower + tiny * rng.random(lower.shape) * scale, scale)
    found = BoxCrown(network, tighten_bounds(network, root, "crown"), LEAST)(lower, upper)
    corners = np.where(found.A > 0.0, lower, upper)  # where the linear bound is attained: no slack but the relaxations'
    for value, corner in zip(found.values, corners, strict=True):
        assert Fraction(float(value)) <= -exact(network, corner)[0]
    if tiny == 0.0:
        np.testing.assert_allclose(found.values, -network(lower)[:, 0], rtol=1e-9, atol=1e-9 * scale)


def test_signs_hold_at_points_and_stay_decided():
    rng = np.random.default_rng(3)
    network, root = random_network(rng, (3, 10, 10, 1)), Box.full(3, -1, 1)
    bounds = tighten_bounds(network, root, "crown")
    lower, upper = parts_of(root, 20, rng)
    on = BoxCrown(network, bounds, LEAST)
    found = on(lower, upper)
    points = lower[:, None] + rng.random((20, 50, 3)) * (upper - lower)[:, None]
    pattern = network.pattern(points.reshape(-1, 3))
    active = np.concatenate([part[:, at] for part, at in zip(pattern, on.open, strict=False)], axis=1)
    signs = np.repeat(found.signs, 50, axis=0)
    assert (signs != 0).any()
    assert not active[signs < 0].any()
    assert active[signs > 0].all()
    again = on(lower, upper, found.signs)
    assert (again.signs[found.signs != 0] == found.signs[found.signs != 0]).all()
    assert (again.values >= found.values - 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_rounding_decides_no_sign(seed):
    # At x the 20 neurons are 0 but for rounding; whichever sign a float has there, the exact one may be the other.
    rng = np.random.default_rng(seed)
    W, x = rng.normal(size=(20, 5)), rng.uniform(-1, 1, 5)
    network = Network([Layer(W, -(W @ x), relu=True), Layer(np.ones((1, 20)), [0.0], relu=False)])
    bounds = tighten_bounds(network, Box.full(5, -2, 2), "crown")
    signs = BoxCrown(network, bounds, LEAST)(x[None, :], x[None, :]).signs[0]
    z = exact(Network([Layer(W, network.layers[0].bias, relu=False)]), x)
    assert not any(sign * value < 0 for sign, value in zip(signs.tolist(), z, strict=True))


def test_given_signs_count():
    # On [-1, 1] relu(x) - 0.5 x >= -0.5 by alpha = 0 or 1; where x >= 0 is known it is 0.5 x >= -0.5 with slope 1.
    network = Network([Layer([[1.0], [1.0]], [0.0, 0.0], relu=[True, False]), Layer([[-1.0, 0.5]], [0.0], relu=False)])
    bounds = tighten_bounds(network, Box([-1], [1]), "crown")
    ends = np.array([[-1.0]]), np.array([[1.0]])
    on = BoxCrown(network, bounds, np.array([[1.0]]))  # x / 2 - relu(x) >= -1/2, by the upper line (x + 1) / 2
    assert on(*ends).values[0] == pytest.approx(-0.5)
    assert on(*ends, np.array([[-1]], np.int8)).values[0] == pytest.approx(-0.5)  # x / 2 there
    assert on(*ends, np.array([[-1]], np.int8)).A[0, 0] == pytest.approx(0.5)
    assert on(*ends, np.array([[1]], np.int8)).A[0, 0] == pytest.approx(-0.5)


def test_blame_by_hand():
    # z = x + 3 y on [-1, 1]^2 lies in [-4, 4]. -relu(z) >= -(z + 4) / 2 loses at most 2, a quarter of it by x.
    network = Network([Layer([[1.0, 3.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    bounds = tighten_bounds(network, Box.full(2, -1, 1), "crown")
    ends = np.array([[-1.0, -1.0], [0.0, -0.5]]), np.array([[1.0, 1.0], [1.0, 0.0]])
    above = BoxCrown(network, bounds, LEAST)(*ends)
    np.testing.assert_allclose(above.blame, [[0.5, 1.5], [0.4 * 0.6, 0.6 * 0.6]])  # [-1.5, 1]: 1.5 / 2.5 lost at most
    below = BoxCrown(network, bounds, -LEAST)(*ends)
    np.testing.assert_allclose(below.blame, DOWNWARD * above.blame)


def test_ascent_finds_the_slopes():
    # |x - y| = relu(x - y) + relu(y - x) >= 0 with both slopes at 1/2; 0 and 1 give -1 and less on this box.
    network = Network(
        [Layer([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)]
    )
    on = BoxCrown(network, tighten_bounds(network, Box([0, 0], [1, 1.5]), "crown"), -LEAST)
    ends = np.array([[0.0, 0.0]]), np.array([[1.0, 1.5]])
    assert on(*ends).values[0] == pytest.approx(-1.0)
    best = on(*ends, enough=np.inf)
    assert -1e-12 <= best.values[0] <= 0.0
    np.testing.assert_allclose(best.A, 0.0, atol=1e-12)
    assert on(*ends, enough=-1.5).values[0] == pytest.approx(-1.0)  # enough already


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_ascent_loses_no_exact_point(seed):
    rng = np.random.default_rng(seed)
    network, root = random_network(rng, (2, 5, 4, 3, 1)), Box.full(2, -1, 1)
    lower, upper = parts_of(root, 6, rng)
    on = BoxCrown(network, tighten_bounds(network, root, "crown"), LEAST)
    plain, better = on(lower, upper), on(lower, upper, enough=np.inf)
    assert (better.values >= plain.values).all()
    points = lower + rng.random((20, 6, 2)) * (upper - lower)
    assert (better.values <= -network(points.reshape(-1, 2)).reshape(20, 6) + 1e-12).all()
    for value, corner in zip(better.values, np.where(better.A > 0.0, lower, upper), strict=True):
        assert Fraction(float(value)) <= -exact(network, corner)[0]


def test_blame_of_deeper_neurons_follows_the_inputs():
    rng = np.random.default_rng(5)
    network = random_network(rng, (4, 6, 6, 6, 1))
    first = network.layers[0]
    blind = Layer(first.weight * [1, 1, 0, 1], first.bias, True)  # does not see input 2
    network = Network([blind, *network.layers[1:]])
    root = Box.full(4, -1, 1)
    lower, upper = parts_of(root, 5, rng)
    found = BoxCrown(network, tighten_bounds(network, root, "crown"), LEAST)(lower, upper)
    assert (found.blame[:, 2] == 0.0).all()
    assert found.blame[1, 0] == 0.0  # no width
    assert (found.blame[0, [0, 1, 3]] > 0.0).all()


def test_chunks_and_storage_do_not_matter(monkeypatch):
    rng = np.random.default_rng(6)
    network, root = random_network(rng, (4, 12, 12, 12, 3)), Box.full(4, -1, 1)
    stored = Network([Layer(sparse.csr_array(layer.weight), layer.bias, layer.relu) for layer in network.layers])
    lower, upper = parts_of(root, 9, rng)
    C = -np.eye(3)
    whole = BoxCrown(network, tighten_bounds(network, root, "crown"), C)(lower, upper)
    as_csr = BoxCrown(stored, tighten_bounds(stored, root, "crown"), C)(lower, upper)
    monkeypatch.setattr(boxes, "CHUNK", 1)
    row_by_row = BoxCrown(network, tighten_bounds(network, root, "crown"), C)(lower, upper)
    for other in (as_csr, row_by_row):
        np.testing.assert_allclose(other.values, whole.values, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(other.blame, whole.blame, rtol=1e-6, atol=1e-9)
        assert (other.signs == whole.signs).all()


def test_several_rows_give_the_best_of_each_box():
    rng = np.random.default_rng(7)
    network, root = random_network(rng, (3, 9, 9, 4)), Box.full(3, -1, 1)
    bounds = tighten_bounds(network, root, "crown")
    lower, upper = parts_of(root, 30, rng)
    each = [BoxCrown(network, bounds, -row[None, :])(lower, upper) for row in np.eye(4)]
    all_rows = BoxCrown(network, bounds, -np.eye(4))(lower, upper)
    best = np.argmax([one.values for one in each], axis=0)
    assert np.unique(best).size > 1
    for name in ("values", "A", "blame"):
        wanted = np.array([getattr(each[i], name)[b] for b, i in enumerate(best)])
        np.testing.assert_allclose(getattr(all_rows, name), wanted, rtol=1e-9, atol=1e-12)


def test_a_box_outside_the_polytope_is_empty():
    network = Network([Layer([[1.0, 1.0]], [-1.5], relu=True), Layer([[1.0]], [0.0], relu=False)])
    domain = Polytope(Box.full(2, 0, 1), [[1.0, 1.0]], [0.5])  # z <= -1 there
    bounds = tighten_bounds(network, domain, "dual")
    found = BoxCrown(network, bounds, LEAST)(np.array([[0.0, 0.0], [0.9, 0.9]]), np.array([[0.5, 0.5], [1.0, 1.0]]))
    assert found.values[0] == pytest.approx(0.0)
    assert found.values[1] == np.inf
    crossed = BoxCrown(network, bounds, LEAST)(np.array([[0.5, 0.0]]), np.array([[0.4, 1.0]]))
    assert crossed.values[0] == np.inf


def test_no_hidden_layer():
    network = Network([Layer([[2.0, -1.0]], [3.0], relu=False)])
    found = BoxCrown(network, tighten_bounds(network, Box.full(2, 0, 1), "crown"), LEAST)(
        np.array([[0.0, 0.0]]), np.array([[1.0, 0.5]])
    )
    assert found.values[0] == pytest.approx(-5.0)
    assert found.signs.shape == (1, 0)
    assert (found.blame == 0.0).all()
