"""Lists of (W, b)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext.errors import OmltExtError, ReadError
from omlt_ext.readers.arrays import read_arrays


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5), seed=st.integers(0, 999), sparsely=st.booleans())
def test_relu_between_layers_and_the_last_linear(sizes, seed, sparsely):
    rng = np.random.default_rng(seed)
    pairs = [(rng.normal(size=(n, m)), rng.normal(size=n)) for m, n in itertools.pairwise(sizes)]
    given_pairs = [(sparse.coo_array(W) if sparsely else W.tolist(), b) for W, b in pairs]
    network = read_arrays(given_pairs)
    x = rng.normal(size=(7, sizes[0]))
    h = x
    for W, b in pairs[:-1]:
        h = np.maximum(h @ W.T + b, 0.0)
    np.testing.assert_allclose(network(x), h @ pairs[-1][0].T + pairs[-1][1], rtol=1e-12, atol=1e-12)


def test_mostly_zero_weights_are_kept_sparse():
    network = read_arrays([(np.eye(20), np.zeros(20)), (np.ones((1, 20)), np.zeros(1))])
    assert [layer.is_sparse for layer in network.layers] == [True, False]


def test_transposed_weights_are_recognised():
    pairs = [(np.ones((3, 4)), np.zeros(4)), (np.ones((4, 2)), np.zeros(2))]
    with pytest.raises(ReadError, match="only transposed"):
        read_arrays(pairs)
    assert read_arrays([(W.T, b) for W, b in pairs]).n_inputs == 3


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "empty"),
        ([np.eye(2), np.zeros(2)], "entry 0 is not a pair"),
        ([(np.eye(2),)], "entry 0 is not a pair"),
        ([(np.eye(2), None)], "pair 0: b is missing"),
        ([(np.eye(2), np.zeros((2, 1)))], r"W has shape \(2, 2\) and b \(2, 1\)"),
        ([(np.zeros(2), np.zeros(2))], r"W has shape \(2,\)"),
        ([(np.eye(2), np.zeros(3))], "pair 0: W has shape .* b must have 2"),
        ([(np.ones((3, 2)), np.zeros(3)), (np.ones((1, 4)), np.zeros(1))], "pair 0 gives 3 outputs, pair 1 takes 4"),
        ([(np.array([[1.0, np.nan]]), np.zeros(1))], r"pair 0: weight\[0, 1\] is not a finite number"),
        ([(np.eye(1), [np.inf])], r"pair 0: bias\[0\] is inf"),
        ([([["a"]], [0.0])], "not real numbers"),
        ([([[1j]], [0.0])], "not real numbers"),
        ([(sparse.csr_array([[1j]]), [0.0])], "not real numbers"),
        ([([[1.0], [1.0, 2.0]], [0.0, 0.0])], "not an array of numbers"),
        ([(np.zeros((0, 2)), np.zeros(0))], "needs inputs and outputs"),
    ],
)
def test_what_is_not_a_network_is_named(pairs, message):
    with pytest.raises(OmltExtError, match=message):
        read_arrays(pairs)
