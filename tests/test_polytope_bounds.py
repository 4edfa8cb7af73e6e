"""Bounds over A x <= b: close to the LP over the same relaxation, valid inside, and the first layer takes part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from triangle import triangle_lp

from omlt_ext import Bounds, Box, Effort, Layer, Network, Polytope, tighten_bounds
from omlt_ext.errors import BoundsError
from omlt_ext.tightening.effort import LADDER

MakeNetwork = Callable[..., Network]


def polytope(box: Box, seed: int, rows: int = 3) -> Polytope:
    """Random half-spaces that cut the box near its centre."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(rows, box.n))
    return Polytope(box, A, A @ box.center + 0.3)


def lp_widths(network: Network, bounds: Bounds, k: int) -> tuple[np.ndarray, np.ndarray]:
    eye = np.eye(network.layers[k].n_out)
    return (
        np.array([triangle_lp(network, bounds, k, row) for row in eye]),
        np.array([-triangle_lp(network, bounds, k, -row) for row in eye]),
    )


@pytest.mark.parametrize("seed", range(3))
def test_dual_ascent_is_close_to_the_lp_in_every_layer(make_network: MakeNetwork, seed: int) -> None:
    network = make_network((6, 10, 8, 3), seed)
    found = tighten_bounds(network, polytope(Box.full(6, -1, 1), seed), Effort(steps=100))
    for k in range(3):
        low, high = lp_widths(network, found, k)
        slack = 1e-7 * max(1.0, np.abs(low).max(), np.abs(high).max())  # of the LP solver
        assert (found.lower[k] <= low + slack).all()
        assert (found.upper[k] >= high - slack).all()
        assert (found.upper[k] - found.lower[k]).mean() <= 1.03 * (high - low).mean()


def test_the_lp_rung_ends_at_the_lp(make_network: MakeNetwork) -> None:
    network = make_network((6, 10, 8, 3), 1)
    found = tighten_bounds(network, polytope(Box.full(6, -1, 1), 1), Effort("lp", leaves=1))
    for k in range(3):
        low, high = lp_widths(network, found, k)
        np.testing.assert_allclose(found.lower[k], low, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.upper[k], high, rtol=1e-5, atol=1e-5)


def test_one_half_space_by_hand() -> None:
    """x + y <= 0.5 on [0, 1]^2: the first layer's z = x + y ends at 0.5, not at 2, and 2 z - 1 is never positive."""
    network = Network([Layer([[1.0, 1.0], [2.0, 2.0]], [0.0, -1.0], True), Layer([[1.0, 1.0]], [0.0], False)])
    cut = Polytope(Box.full(2, 0, 1), [[1.0, 1.0]], [0.5])
    wide = tighten_bounds(network, cut.box, "dual")
    assert wide.upper[0] == pytest.approx([2, 3])
    for rung in ("interval", "crown"):  # they see the box only
        assert tighten_bounds(network, cut, rung).upper[0] == pytest.approx([2, 3])
    for rung in ("dual", "split", "lp", "milp"):
        found = tighten_bounds(network, cut, rung)
        assert found.upper[0] == pytest.approx([0.5, 0.0], abs=1e-3)
        assert found.polytope is not None
        assert found.polytope.same(cut)


@pytest.mark.parametrize("seed", range(3))
def test_points_inside_lie_in_the_bounds_of_every_rung(make_network: MakeNetwork, seed: int) -> None:
    network, domain = make_network((6, 10, 8, 3), seed), polytope(Box.full(6, -1, 1), seed, rows=2)
    points = domain.box.sample(40_000, np.random.default_rng(seed))
    points = points[(points @ domain.A.T <= domain.b).all(axis=1)]
    assert points.shape[0] > 1000
    zs = network.pre_activations(points)
    whole = tighten_bounds(network, domain.box, "dual")
    before: Bounds | None = None
    for rung in LADDER:
        found = tighten_bounds(network, domain, Effort(rung, leaves=8))
        for k, z in enumerate(zs):
            assert (z >= found.lower[k] - 1e-9).all()
            assert (z <= found.upper[k] + 1e-9).all()
            assert before is None or (found.width()[k] <= before.width()[k] + 1e-6).all()
        before = found
    assert before is not None
    assert before.width()[2].mean() < whole.width()[2].mean()


def test_bounds_over_a_polytope_are_not_taken_for_the_box(make_network: MakeNetwork) -> None:
    network, domain = make_network((6, 10, 8, 3), 0), polytope(Box.full(6, -1, 1), 0)
    found = tighten_bounds(network, domain)
    with pytest.raises(BoundsError, match="hold on a polytope only"):
        tighten_bounds(network, domain.box, bounds=found)
    with pytest.raises(BoundsError, match="hold on a polytope only"):
        tighten_bounds(network, polytope(domain.box, 1), bounds=found)
    again = tighten_bounds(network, domain, bounds=found)
    assert all((a >= b).all() for a, b in zip(again.lower, found.lower, strict=True))
