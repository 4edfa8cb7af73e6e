"""The bound on linear regions: published values, enumeration, and the expectation over masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from omlt_ext import Layer, Network
from omlt_ext.domain import Floats
from omlt_ext.errors import OptionError
from omlt_ext.regions import log_region_bound, region_bound


@pytest.mark.parametrize(("widths", "value"), [((2, 3), 7), ((2, 3, 3), 40), ((2, 4, 4, 4), 1331)])
def test_published_values(widths: tuple[int, ...], value: int) -> None:
    assert region_bound(widths) == value
    assert math.exp(log_region_bound(widths, 1.0)) == pytest.approx(value, rel=1e-12)


def test_one_input_gives_the_product_that_is_attained() -> None:
    assert region_bound([1, 4, 5, 3]) == 5 * 6 * 4


def test_values_at_half_density_and_of_the_784_100_100_10_network() -> None:
    assert math.exp(log_region_bound([2, 3, 3], 0.5)) == pytest.approx(33.7093, abs=5e-5)
    widths = [784, 100, 100, 10]
    values = {(1e-3, 1e-3): 119.8, (0.00061, 0.0041): 137.9, (5e-4, 5e-4): 104.7, (1e-2, 1e-2): 144.9}
    for shares, value in values.items():
        assert log_region_bound(widths, [*shares, 1.0]) == pytest.approx(value, abs=0.05)


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5))
@settings(max_examples=60, deadline=None)
def test_logarithms_and_whole_numbers_agree(widths: list[int]) -> None:
    assert log_region_bound(widths, 1.0) == pytest.approx(log_region_bound(widths), rel=1e-11, abs=1e-11)
    assert log_region_bound(widths, 0.0) == pytest.approx(0.0, abs=1e-11)
    values = [log_region_bound(widths, share) for share in np.linspace(0, 1, 9)]
    assert (np.diff(values) >= -1e-11).all()


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_expectation_over_all_masks(share: float) -> None:
    widths = (2, 3, 2)  # a tall weight, whose columns count, and a wide one
    total = 0.0
    for mask in product((0, 1), repeat=12):
        first, second = np.reshape(mask[:6], (3, 2)), np.reshape(mask[6:], (2, 3))
        ranks = [int(first.any(axis=0).sum()), int(second.any(axis=1).sum())]
        chance = share ** sum(mask) * (1 - share) ** (12 - sum(mask))
        total += chance * by_definition(widths, ranks)
    assert math.exp(log_region_bound(widths, share)) == pytest.approx(total, rel=1e-12)


def by_definition(widths: Sequence[int], ranks: Sequence[int]) -> int:
    """sum over j_1, ..., j_L of the product of C(n_l, j_l), each j_l at most the dimension that is left."""

    def count(k: int, dimension: int) -> int:
        if k == len(ranks):
            return 1
        n, dimension = widths[k + 1], min(dimension, ranks[k])
        return sum(math.comb(n, j) * count(k + 1, min(n - j, dimension)) for j in range(min(n, dimension) + 1))

    return count(0, widths[0])


@given(st.lists(st.integers(1, 7), min_size=2, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_the_table_is_the_sum(widths: list[int], data: st.DataObject) -> None:
    ranks = [data.draw(st.integers(1, min(pair))) for pair in pairwise(widths)]
    layers = []
    for (n_in, n_out), rank in zip(pairwise(widths), ranks, strict=True):
        W = np.zeros((n_out, n_in))
        W[:, :rank] = 1.0  # every neuron has weights; the structural rank is the number of columns
        layers.append(Layer(W, np.zeros(n_out), relu=True))
    network = Network(layers)
    assert region_bound(network) == by_definition([ranks[0], *widths[1:]], ranks)


@pytest.mark.parametrize("seed", range(12))
def test_never_below_the_number_of_patterns_that_occur(seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = [(2, 3, 3), (1, 4, 3), (2, 2, 3, 2), (3, 3, 2)][seed % 4]
    layers = []
    for n_in, n_out in pairwise(widths):
        W = rng.normal(size=(n_out, n_in)) * (rng.random((n_out, n_in)) < (1.0 if seed < 4 else 0.6))
        relu = rng.random(n_out) < (1.0 if seed < 8 else 0.7)
        layers.append(Layer(W, rng.normal(size=n_out), relu))
    network = Network([*layers, Layer(rng.normal(size=(1, widths[-1])), [0.0], relu=False)])
    found = patterns(network)
    assert 1 <= found <= region_bound(network) <= region_bound(widths)


def patterns(network: Network) -> int:
    """The activation patterns whose region has an inside, each tried by an LP."""
    relus = [layer.relu for layer in network.layers]
    free = np.flatnonzero(np.concatenate(relus))
    found = 0
    for signs in product((False, True), repeat=free.size):
        flat = np.ones(sum(part.size for part in relus), dtype=bool)
        flat[free] = signs
        A, c = rows(network, np.split(flat, np.cumsum([part.size for part in relus])[:-1]))
        # max t  with  A x + c >= t on every sign, t <= 1: constant rows bound t alone
        ones, box = np.ones((c.size, 1)), [(-1e6, 1e6)] * network.n_inputs
        solved = linprog([*np.zeros(network.n_inputs), -1.0], np.hstack([-A, ones]), c, bounds=[*box, (None, 1.0)])
        found += bool(solved.status == 0 and -solved.fun > 1e-7)
    return found


def rows(network: Network, pattern: list[Floats]) -> tuple[Floats, Floats]:
    """A x + c of all ReLUs, turned so that it is positive inside the pattern's region."""
    A, c = np.eye(network.n_inputs), np.zeros(network.n_inputs)
    found_A, found_c = [], []
    for layer, active in zip(network.layers, pattern, strict=True):
        A, c = layer.dense_weight() @ A, layer.dense_weight() @ c + layer.bias
        sign = np.where(active, 1.0, -1.0)[layer.relu]
        found_A.append(A[layer.relu] * sign[:, None])
        found_c.append(c[layer.relu] * sign)
        A, c = A * active[:, None], c * active
    return np.vstack(found_A), np.concatenate(found_c)


def test_linear_neurons_make_no_regions_but_carry_dimensions() -> None:
    carry = Layer(np.eye(2), np.zeros(2), relu=False)
    three = Layer(np.ones((3, 2)) + np.eye(3, 2), np.zeros(3), relu=True)
    assert region_bound(Network([carry, three])) == region_bound([2, 3])
    assert region_bound(Network([carry])) == 1
    mixed = Layer(np.ones((3, 2)), np.zeros(3), relu=[True, False, False])
    assert region_bound(Network([mixed, three_of(3)])) == 1 * 7 + 1 * 7  # one cut, then an arrangement in the plane
    assert log_region_bound(Network([mixed, three_of(3)]), 1.0) == pytest.approx(math.log(14), rel=1e-12)


def three_of(n_in: int) -> Layer:
    return Layer(np.ones((3, n_in)), np.zeros(3), relu=True)


def test_a_pruned_network_has_fewer() -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=(4, 4))
    dense = Network([Layer(W, np.zeros(4), True), Layer(W, np.zeros(4), True), Layer(np.ones((1, 4)), [0.0], False)])
    sparse = Network([Layer(W * (np.arange(4) < 1)[:, None], np.ones(4), True), *dense.layers[1:]])
    assert region_bound(dense) == region_bound([4, 4, 4])
    assert region_bound(sparse) == region_bound([1, 1, 4])
    assert region_bound(Network([Layer(np.zeros((3, 2)), np.ones(3), True)])) == 1


def test_the_zeros_of_a_network_count_in_the_expectation() -> None:
    W = np.ones((6, 6)) * (np.indices((6, 6)).sum(axis=0) % 2)
    half = Network([Layer(W, np.zeros(6), True)])
    assert log_region_bound(half, 0.5) == pytest.approx(log_region_bound([6, 6], 0.25), rel=1e-12)


def test_wide_layers_are_quick_and_finite() -> None:
    widths = [784, 512, 512]
    assert math.isfinite(log_region_bound(widths, 1e-3))
    assert log_region_bound(widths, 1.0) == pytest.approx(log_region_bound(widths), rel=1e-10)


@pytest.mark.parametrize("widths", [[], [3], [2, 0], [2, -1, 3], [2, 2.5], [2, True], "23", 7, None])
def test_what_is_no_width_is_refused(widths: object) -> None:
    with pytest.raises(OptionError):
        region_bound(widths)  # type: ignore[arg-type]


@pytest.mark.parametrize("densities", [-0.1, 1.1, float("nan"), [0.5], [0.5, 0.5, 0.5], [[0.5, 0.5]], "x", [0.5, None]])
def test_what_is_no_density_is_refused(densities: object) -> None:
    with pytest.raises(OptionError, match="densities"):
        log_region_bound([2, 3, 3], densities)  # type: ignore[arg-type]
