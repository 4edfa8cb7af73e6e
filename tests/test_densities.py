"""The shares of weights that layers keep where the region bound is to be the largest."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Layer, Network
from omlt_ext.errors import OptionError
from omlt_ext.pruning import prune
from omlt_ext.pruning.densities import region_densities
from omlt_ext.regions import log_region_bound


def network(widths: tuple[int, ...], *, output: bool = True) -> Network:
    rng = np.random.default_rng(0)
    layers = [
        Layer(rng.normal(size=(n, m)), np.zeros(n), relu=not output or k < len(widths) - 2)
        for k, (m, n) in enumerate(pairwise(widths))
    ]
    return Network(layers)


@pytest.mark.parametrize(
    ("sparsity", "value", "shares"), [(0.999, 130.87, (6e-4, 4.2e-3)), (0.9995, 112.5, (3e-4, 2.1e-3))]
)
def test_the_best_point_of_the_line_at_784_100_100(sparsity: float, value: float, shares: tuple[float, float]) -> None:
    wide = network((784, 100, 100), output=False)
    found = region_densities(wide, sparsity)
    assert found == pytest.approx(shares, rel=0.03)
    reached = log_region_bound(wide, found)
    assert reached >= value
    total, sizes = (1 - sparsity) * 88400, np.array([78400, 10000])
    line = [
        log_region_bound(wide, [of_first / 78400, (total - of_first) / 10000])
        for of_first in np.linspace(0, total, 301)
    ]
    assert reached >= max(line) - 1e-3
    assert found @ sizes == pytest.approx(total)


@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=5).map(tuple),
    st.floats(0.0, 1.0),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_shares_that_fit_and_are_no_worse_than_equal_ones(
    widths: tuple[int, ...], sparsity: float, output: bool
) -> None:
    net = network(widths, output=output)
    sizes = np.array([layer.nnz for layer in net.layers])
    shares = np.array(region_densities(net, sparsity))
    assert (shares >= 0).all()
    assert (shares <= 1).all()
    assert shares @ sizes == pytest.approx((1 - sparsity) * sizes.sum(), abs=1e-9 * sizes.sum())
    equal = np.full(sizes.size, 1 - sparsity)
    if output:
        total, before = (1 - sparsity) * sizes.sum(), sizes[:-1].sum()
        assert shares[-1] * sizes[-1] >= min(sizes[-1], total / sizes.size) - 1e-9
        equal[:-1] = (total - shares[-1] * sizes[-1]) / max(before, 1)
        equal[-1] = shares[-1]
    assert log_region_bound(net, shares) >= log_region_bound(net, np.clip(equal, 0, 1)) - 1e-9


def test_the_output_is_whole_while_it_is_a_small_part() -> None:
    net = network((64, 100, 100, 10))
    assert region_densities(net, 0.5)[-1] == 1.0
    shares = region_densities(net, 0.98)
    assert shares[-1] * 1000 == pytest.approx(0.02 * 17400 / 3)
    assert shares[0] != pytest.approx(shares[1], rel=0.5)


def test_where_the_bound_is_flat_the_shares_stay_equal() -> None:
    net = network((64, 100, 100), output=False)
    assert region_densities(net, 0.8) == pytest.approx((0.2, 0.2))


def test_three_hidden_layers_are_no_worse_than_random_shares() -> None:
    net = network((60, 20, 20, 20), output=False)
    sizes = np.array([1200.0, 400, 400])
    best = log_region_bound(net, region_densities(net, 0.97))
    rng = np.random.default_rng(0)
    for kept in rng.dirichlet(np.ones(3), size=300) * 60:
        assert log_region_bound(net, np.clip(kept / sizes, 0, 1)) <= best + 0.02


@pytest.mark.parametrize("widths", [(200, 20, 3), (3, 20, 200)])
def test_no_layer_is_given_more_weights_than_it_has(widths: tuple[int, ...]) -> None:
    net = network(widths, output=False)
    sizes = np.array([layer.nnz for layer in net.layers])
    for kept in (30, 80, 150):
        shares = np.array(region_densities(net, 1 - kept / sizes.sum()))
        assert (shares <= 1.0).all()
        assert shares @ sizes == pytest.approx(kept)


def test_layers_without_weights_and_networks_of_one_layer() -> None:
    empty = Network([Layer(sparse.csr_array((3, 2)), np.zeros(3), True), *network((3, 4, 2)).layers])
    assert len(region_densities(empty, 0.5)) == 3
    assert region_densities(network((5, 3)), 0.25) == (0.75,)
    none = Network([Layer(np.zeros((2, 2)), np.zeros(2), False)])
    assert len(region_densities(none, 0.5)) == 1


def test_pruning_takes_them() -> None:
    net = network((64, 100, 100, 10))
    pruned = prune(net, sparsity=0.98, densities="regions")
    kept = [int(mask.sum()) for mask in pruned.masks]
    shares = region_densities(net, 0.98)
    assert kept == pytest.approx([share * layer.nnz for share, layer in zip(shares, net.layers, strict=True)], abs=1)


@pytest.mark.parametrize("sparsity", [-0.1, 1.5, float("nan"), "0.5", None])
def test_what_is_no_sparsity_is_refused(sparsity: object) -> None:
    with pytest.raises(OptionError, match="sparsity"):
        region_densities(network((2, 3, 1)), sparsity)  # type: ignore[arg-type]
