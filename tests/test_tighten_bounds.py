"""The effort ladder: validity at exact rational points, nesting, samples, given bounds, bad input."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Bounds, Box, Layer, Network, OmltExtError
from omlt_ext.errors import BoundsError, NetworkError, ShapeError
from omlt_ext.tightening import tighten_bounds

EFFORTS = ("interval", "crown", "dual", "split")


@st.composite
def networks(draw, spread: int):
    """A small random network and box: dense, CSR and pass-through layers, mixed masks, weights over many scales."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = [draw(st.integers(1, 4)), *(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))]
    scale = draw(st.integers(-spread, spread))
    layers: list[Layer] = []
    for n_in, n_out in pairwise(widths):
        W = rng.standard_normal((n_out, n_in)) * 10.0 ** rng.integers(-spread, spread + 1, (n_out, n_in))
        W[rng.random((n_out, n_in)) < 0.2] = 0.0
        b = rng.standard_normal(n_out) * 10.0**scale * (rng.random(n_out) < 0.6)
        relu = rng.random(n_out) < 0.75
        for j in np.flatnonzero(rng.random(n_out) < 0.2):  # a value carried past the layer
            W[j] = np.arange(n_in) == rng.integers(n_in)
            b[j], relu[j] = 0.0, False
        layers.append(Layer(sparse.csr_array(W) if rng.random() < 0.4 else W, b, relu))
    middle = rng.standard_normal(widths[0]) * 10.0**scale * (rng.random(widths[0]) < 0.7)
    radius = rng.random(widths[0]) * 10.0**scale * (rng.random(widths[0]) < 0.8)  # some coordinates are fixed
    return Network(layers), Box.ball(middle, radius), rng


def exact(network: Network, x: list[Fraction]) -> list[list[Fraction]]:
    """The pre-activations of every layer at x, in rational arithmetic."""
    h, zs = x, []
    for layer in network.layers:
        rows = zip(layer.dense_weight(), layer.bias, strict=True)
        z = [Fraction(b) + sum(Fraction(w) * v for w, v in zip(row, h, strict=True) if w) for row, b in rows]
        h = [max(v, Fraction(0)) if relu else v for v, relu in zip(z, layer.relu, strict=True)]
        zs.append(z)
    return zs


def contains(bounds: Bounds, zs: list[list[Fraction]]) -> bool:
    return all(
        Fraction(low) <= v <= Fraction(high)
        for lower, upper, z in zip(bounds.lower, bounds.upper, zs, strict=True)
        for low, high, v in zip(lower, upper, z, strict=True)
    )


def corners_and_points(box: Box, rng: np.random.Generator) -> list[list[Fraction]]:
    ends = list(zip(box.lower, box.upper, strict=True))
    corners = [[Fraction(v) for v in corner] for corner in product(*ends)]
    shares = [[Fraction(int(v), 64) for v in rng.integers(0, 65, box.n)] for _ in range(4)]
    inner = [
        [Fraction(p) + t * (Fraction(q) - Fraction(p)) for t, (p, q) in zip(share, ends, strict=True)]
        for share in shares
    ]
    return corners + inner


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("spread", [0, 3, 40])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_exact_points_lie_inside(effort, spread, data):
    network, box, rng = data.draw(networks(spread))
    bounds = tighten_bounds(network, box, effort)
    for x in corners_and_points(box, rng):
        assert contains(bounds, exact(network, x))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_huge_and_tiny_scales_are_contained_or_refused(data):
    network, box, rng = data.draw(networks(150))
    try:
        bounds = tighten_bounds(network, box)
    except BoundsError as error:
        assert "overflow" in str(error)  # noqa: PT017
        return
    for x in corners_and_points(box, rng):
        assert contains(bounds, exact(network, x))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_ladder_nests(data):
    network, box, _ = data.draw(networks(2))
    for wide, tight in pairwise([tighten_bounds(network, box, effort) for effort in EFFORTS]):
        for k in range(len(network.layers)):
            assert (wide.lower[k] <= tight.lower[k]).all()
            assert (wide.upper[k] >= tight.upper[k]).all()


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("stored", ["dense", "csr"])
@pytest.mark.parametrize("radius", [0.0, 0.05, 1.0])
def test_samples_lie_inside(effort, stored, radius):
    rng = np.random.default_rng(11)
    widths = [20, 40, 40, 30, 5]
    layers = []
    for n_in, n_out in pairwise(widths):
        W = rng.standard_normal((n_out, n_in)) / np.sqrt(n_in) * (rng.random((n_out, n_in)) < 0.5)
        layers.append(
            Layer(sparse.csr_array(W) if stored == "csr" else W, rng.standard_normal(n_out), rng.random(n_out) < 0.8)
        )
    network = Network(layers)
    box = Box.ball(rng.standard_normal(20), radius)
    bounds = tighten_bounds(network, box, effort)
    h = np.concatenate([box.sample(2000, rng), np.where(rng.random((500, 20)) < 0.5, box.lower, box.upper)])
    for k, layer in enumerate(layers):
        z = layer.pre_activation(h)
        slack = 1e-13 * np.abs(z).max()  # the sampled forward pass rounds too
        assert (z >= bounds.lower[k] - slack).all()
        assert (z <= bounds.upper[k] + slack).all()
        h = layer.activation(z)
    if radius == 0.0:
        assert max(width.max() for width in bounds.width()) < 1e-11


def test_crown_is_much_tighter_on_a_deep_network():
    rng = np.random.default_rng(2)
    widths = [10, 50, 50, 50, 1]
    layers = [
        Layer(rng.uniform(-1, 1, (n_out, n_in)) / np.sqrt(n_in), np.zeros(n_out), relu=k < 3)
        for k, (n_in, n_out) in enumerate(pairwise(widths))
    ]
    wide, tight = (tighten_bounds(Network(layers), (0, 1), effort) for effort in ("interval", "crown"))
    assert tight.width()[3][0] < 0.5 * wide.width()[3][0]
    assert tight.n_unstable <= wide.n_unstable


NETWORK = Network([Layer([[1, 1], [1, -1]], [0, 0], relu=True), Layer([[1, 1]], [0], relu=False)])


def test_dual_is_the_default_and_naive_is_interval():
    dual = tighten_bounds(NETWORK, (-1, 1))
    assert dual.upper[1][0] == tighten_bounds(NETWORK, Box.full(2, -1, 1), "dual").upper[1][0] == pytest.approx(3)
    naive = tighten_bounds(NETWORK, ([-1, -1], 1), "naive")
    assert naive.upper[1][0] == tighten_bounds(NETWORK, (-1, 1), "interval").upper[1][0] == pytest.approx(4)


def test_given_bounds_tighten_later_layers():
    known = Bounds.of(NETWORK, Box.full(2, -2, 2), lower=[[-1, -9], [-9]], upper=[[9, 0], [99]])
    bounds = tighten_bounds(NETWORK, (-1, 1), bounds=known)
    # relu(x - y) = 0; relu(z) <= (z * 2/3) + 2/3 on [-1, 2] and z <= 2.
    assert bounds.upper[1][0] == pytest.approx(2)
    assert bounds.stable_inactive[0][1]
    frame = bounds.to_frame()
    assert list(frame["lower_method"][:2]) == ["given", "interval"]
    assert list(frame["upper_method"][:2]) == ["interval", "given"]
    again = tighten_bounds(NETWORK, (-1, 1), "interval", bounds=bounds)
    assert again.upper[1][0] == bounds.upper[1][0]


@pytest.mark.parametrize("effort", EFFORTS)
def test_given_bounds_that_cannot_hold_are_refused(effort):
    box = Box.full(2, -1, 1)
    wrong = Bounds.of(NETWORK, box, lower=[[-2, -2], [8]], upper=[[2, 2], [9]])
    with pytest.raises(BoundsError, match=r"layer 1, neuron 0: lower bound 8.0 \(given\) lies above .*do not hold"):
        tighten_bounds(NETWORK, box, effort, bounds=wrong)
    with pytest.raises(
        BoundsError, match=r"input 0: the given bounds hold on \[-1.0, 1.0\], the domain is \[-3.0, 1.0\]"
    ):
        tighten_bounds(NETWORK, ([-3, 0], [1, 1]), effort, bounds=tighten_bounds(NETWORK, box))
    other = Network([Layer([[1, 1]], [0], relu=True)])
    with pytest.raises(BoundsError, match="another network"):
        tighten_bounds(NETWORK, box, effort, bounds=tighten_bounds(other, box))
    narrow = Network([Layer([[1], [1]], [0, 0], relu=True), NETWORK.layers[1]])
    with pytest.raises(BoundsError, match="box of 1 coordinates, the network has 2 inputs"):
        tighten_bounds(NETWORK, box, effort, bounds=tighten_bounds(narrow, (-1, 1)))
    with pytest.raises(BoundsError, match="must be a Bounds, not tuple"):
        tighten_bounds(NETWORK, box, effort, bounds=([-1], [1]))


def test_bad_requests_are_refused():
    with pytest.raises(BoundsError, match="unknown effort 'heroic'; choose one of 'interval', 'crown', 'dual'"):
        tighten_bounds(NETWORK, (-1, 1), "heroic")
    with pytest.raises(NetworkError, match="expected a Network, not list"):
        tighten_bounds([(np.eye(2), np.zeros(2))], (-1, 1))
    with pytest.raises(ShapeError, match="3 coordinates"):
        tighten_bounds(NETWORK, ([0, 0, 0], 1))
    for domain in ((0, np.inf), (np.nan, 1), (1, 0), None, ([0, 0],)):
        with pytest.raises(OmltExtError):
            tighten_bounds(NETWORK, domain)
