"""Scaling by powers of two: the same function, bit for bit, in numbers that a solver's tolerances can resolve."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.heuristics import maximize
from omlt_ext.network import compact
from omlt_ext.scaling import LARGEST, power, scale_network

MakeNetwork = Callable[..., Network]


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    seed=st.integers(0, 2**20),
    scale=st.sampled_from([1e-3, 1.0, 1e3, 1e6]),
    width=st.floats(1e-3, 1e9),
    thin=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_same_function_in_smaller_numbers(
    sizes: list[int], seed: int, scale: float, width: float, thin: bool, make_network: MakeNetwork
) -> None:
    network = make_network(tuple(sizes), seed, scale=scale)
    if thin:
        kept = [compact(layer.weight * (np.abs(layer.weight) > 2 * scale)) for layer in network.layers]
        network = Network(Layer(W, layer.bias, layer.relu) for W, layer in zip(kept, network.layers, strict=True))
    box = Box.full(sizes[0], -width, 0.5 * width)
    bounds = tighten_bounds(network, box)
    scaled = scale_network(network, bounds)
    points = box.sample(20, np.random.default_rng(seed))
    # one point at a time: the order in which a product of matrices sums depends on their shape alone
    for x in points:
        assert np.array_equal(scaled.network(x / scaled.inputs) * scaled.outputs, network(x))
    for lower, upper in zip(scaled.bounds.lower, scaled.bounds.upper, strict=True):
        assert np.abs(lower).max() <= LARGEST
        assert np.abs(upper).max() <= LARGEST
    assert [mask.tolist() for mask in scaled.bounds.unstable] == [mask.tolist() for mask in bounds.unstable]
    assert [layer.is_sparse for layer in scaled.network.layers] == [layer.is_sparse for layer in network.layers]


def test_small_numbers_keep_their_unit(make_network: MakeNetwork) -> None:
    network = make_network((3, 5, 2), 1)
    scaled = scale_network(network, tighten_bounds(network, (-1, 1)))
    assert all(np.array_equal(a.weight, b.weight) for a, b in zip(network.layers, scaled.network.layers, strict=True))


def test_power_is_the_smallest_that_fits() -> None:
    magnitude = np.array([0.0, 1.0, LARGEST, np.nextafter(LARGEST, np.inf), 2 * LARGEST, 1e300])
    s = power(-magnitude, 0.5 * magnitude)
    assert (magnitude / s <= LARGEST).all()
    assert (magnitude / s > LARGEST / 2)[s > 1].all()
    assert s[:5].tolist() == [1, 1, 1, 2, 2]


def test_large_numbers_do_not_make_the_bound_wrong(make_network: MakeNetwork) -> None:
    """Unscaled, HiGHS calls -5.48e8 optimal here: pre-activations reach 1e9, its tolerances stay at 1e-6."""
    network = make_network((2, 3, 5, 5, 2), 2231, relu_output=True, scale=1e3)
    box = Box([-0.009663649979126516, -0.009312273518813002], [7.01269790548009, 3.7896288982652506])
    c = np.array([-0.6758867237242426, -0.4356456273486338])
    known = float(c @ network([-0.009663649979126516, 0.7942067742220024]))
    result = maximize(network, box, c, gap=1e-5)
    assert known == pytest.approx(-488015500.5)
    assert result.status == "optimal"
    assert result.value == pytest.approx(known, rel=1e-5)
    assert result.bound is not None
    assert result.bound >= known
