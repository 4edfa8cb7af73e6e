"""Splits: below the LP, never below the truth, and tighter with every leaf that counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Bounds, Box, Effort, Layer, Network, Polytope, tighten_bounds
from omlt_ext.network import compact
from omlt_ext.propagation import dual_rows, split_rows

MakeNetwork = Callable[..., Network]


def start(network: Network, box: Box) -> Bounds:
    return tighten_bounds(network, box, "dual")


def test_the_sum_of_two_relus_exactly() -> None:
    """max(0, x + y) + max(0, x - y) on [-1, 1]^2 has the maximum 2; the triangle relaxation says 3.

    No single split helps: it takes both signs to see it.
    """
    hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    bounds = start(network, Box.full(2, -1, 1))
    upper = [float(split_rows(network, bounds, leaves=leaves)[1][0]) for leaves in (1, 2, 4)]
    assert upper == pytest.approx([3, 3, 2], abs=1e-3)
    assert upper[-1] >= 2.0


@pytest.mark.parametrize("seed", range(3))
def test_enough_leaves_end_at_the_optimum(
    make_network: MakeNetwork, brute_force: Callable[..., float], seed: int
) -> None:
    network, box = make_network((3, 4, 4, 2), seed), Box.full(3, -1, 1)
    bounds = start(network, box)
    lower, upper = split_rows(network, bounds, leaves=64, steps=40)
    for j in range(2):
        pick = np.eye(2)[j]
        least, most = (brute_force(network, box, pick, maximize=largest) for largest in (False, True))
        wide = float(bounds.upper[2][j] - bounds.lower[2][j])
        assert -1e-9 <= least - lower[j] <= 0.02 * wide
        assert -1e-9 <= upper[j] - most <= 0.02 * wide


def test_widths_fall_with_the_leaves(make_network: MakeNetwork) -> None:
    network, box = make_network((10, 25, 25, 5), 1), Box.full(10, -1, 1)
    bounds = start(network, box)
    widths = []
    for leaves in (1, 2, 8, 32):
        lower, upper = split_rows(network, bounds, leaves=leaves)
        widths.append(float((upper - lower).sum()))
    assert widths[0] == pytest.approx(float(np.subtract(*dual_rows(network, bounds)[::-1]).sum()), rel=1e-6)
    assert widths[0] > widths[1] > widths[2] > widths[3]
    assert widths[3] < 0.85 * widths[0]


def test_below_the_lp(make_network: MakeNetwork) -> None:
    """Without a solver below what an LP over the same relaxation can reach."""
    network = make_network((10, 25, 25, 5), 1)
    lp = tighten_bounds(network, (-1, 1), Effort("lp", leaves=1))
    found = tighten_bounds(network, (-1, 1), "split")
    for k in (1, 2):
        assert found.width()[k].mean() < 0.9 * lp.width()[k].mean()


@given(seed=st.integers(0, 2**32 - 1), leaves=st.integers(1, 20), csr=st.booleans(), cut=st.booleans())
@settings(max_examples=25, deadline=None)
def test_no_point_leaves_the_bounds(seed: int, leaves: int, csr: bool, cut: bool) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(rng.integers(1, 6)), *map(int, rng.integers(1, 9, 3)), 2]
    layers = []
    for m, n in pairwise(sizes):
        weight = rng.normal(size=(n, m)) * (rng.random((n, m)) < 0.7)
        layers.append(Layer(sparse.csr_array(weight) if csr else weight, rng.normal(size=n), rng.random(n) < 0.8))
    network, box = Network(layers), Box.full(sizes[0], -1, 1)
    points = box.sample(2000, rng)
    domain: Box | Polytope = box
    if cut:
        domain = Polytope(box, rng.normal(size=(2, box.n)), [0.3, 0.3])
        points = points[(points @ domain.A.T <= domain.b).all(axis=1)]
    bounds = tighten_bounds(network, domain, "dual")
    lower, upper = split_rows(network, bounds, leaves=leaves, steps=5)
    z = network.pre_activations(points)[-1]
    slack = 1e-12 * (1.0 + np.abs(z).max(initial=0.0))  # of the forward pass
    assert (z >= lower - slack).all()
    assert (z <= upper + slack).all()


def test_sparse_and_dense_weights_agree(make_network: MakeNetwork) -> None:
    dense = make_network((8, 30, 30, 4), 2)
    thin = [np.where(np.abs(y.weight) > 1.3, y.weight, 0.0) for y in dense.layers]
    full = Network([Layer(w, y.bias, y.relu) for w, y in zip(thin, dense.layers, strict=True)])
    csr = Network([Layer(compact(w), y.bias, y.relu) for w, y in zip(thin, dense.layers, strict=True)])
    assert any(layer.is_sparse for layer in csr.layers)
    one, other = (tighten_bounds(network, (-1, 1), Effort("split", leaves=8)) for network in (full, csr))
    for k in range(3):
        np.testing.assert_allclose(one.lower[k], other.lower[k], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(one.upper[k], other.upper[k], rtol=1e-3, atol=1e-3)


def test_small_chunks_are_as_tight(make_network: MakeNetwork) -> None:
    network, box = make_network((10, 25, 25, 5), 1), Box.full(10, -1, 1)
    bounds = start(network, box)
    whole = split_rows(network, bounds, leaves=8)
    parts = split_rows(network, bounds, leaves=8, chunk_bytes=2**16)
    np.testing.assert_allclose(np.stack(parts), np.stack(whole), rtol=1e-3, atol=1e-3)


def test_a_deadline_ends_the_trees(make_network: MakeNetwork) -> None:
    network, box = make_network((10, 60, 60, 60), 1, relu_output=True), Box.full(10, -1, 1)
    bounds = start(network, box)
    past = split_rows(network, bounds, leaves=8, deadline=time.time() - 1.0)
    assert np.isinf(past[0]).all()
    assert np.isinf(past[1]).all()
    begin = time.time()
    lower, upper = split_rows(network, bounds, leaves=1000, deadline=begin + 0.3)
    assert time.time() - begin < 2.0
    short = split_rows(network, bounds, leaves=1)
    assert (upper - lower).sum() < (short[1] - short[0]).sum()


def test_trees_of_decided_neurons_stop(make_network: MakeNetwork) -> None:
    """As many signs are decided, at less work."""
    network = make_network((8, 40, 40, 40), 5, relu_output=True)
    bounds = start(network, Box.ball(np.full(8, 0.3), 0.15))
    full, quick = (split_rows(network, bounds, leaves=32, stop_at_sign=stop) for stop in (False, True))
    decided = [(lower >= 0) | (upper <= 0) for lower, upper in (full, quick)]
    assert 0 < decided[0].sum() < 40
    assert abs(int(decided[0].sum()) - int(decided[1].sum())) <= 1
    assert (quick[1] - quick[0]).sum() > (full[1] - full[0]).sum()
