"""The rows of Balas' formulation, as text; its LP is the convex hull of a neuron."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse
from single_neuron import directions, exact_slack, hull_max, random_neuron, relaxed_max

from omlt_ext import Bounds, Box, Layer, Network, tighten_bounds
from omlt_ext.encoding import LayerBounds
from omlt_ext.formulations import Balas, BigM
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver


def test_unstable_neuron() -> None:
    """x[1] is fixed at 2 and x[2] has no weight: neither has a copy."""
    layer = Layer([[3, 1, 0, -2]], [-1.0], True)
    known = LayerBounds(np.array([-1.0]), np.array([4.0]), np.array([-1.0, 2, 0, 0]), np.array([1.0, 2, 1, 0.5]))
    assert str(Balas().encode(layer, known)).splitlines() == [
        "z[0] in [-1, 4]",
        "h[0] in [0, 4]",
        "sigma[0] in {0, ..., 1}",
        "copy[0,0] in [0, 2]",
        "copy[0,3] in [0, 0.5]",
        "affine[0]: -3 x[0] - x[1] + 2 x[3] + z[0] = -1",
        "relu_above[0]: 0 <= -z[0] + h[0]",
        "relu_active[0]: -z[0] + h[0] + sigma[0] <= 1",
        "relu_inactive[0]: h[0] - 4 sigma[0] <= 0",
        "copy_active[0,0]: -x[0] + copy[0,0] <= 1",
        "copy_active[0,3]: x[3] + copy[0,3] <= 0.5",
        "copy_inactive[0,0]: -2 sigma[0] + copy[0,0] <= 0",
        "copy_inactive[0,3]: -0.5 sigma[0] + copy[0,3] <= 0",
        "relu_copies[0]: h[0] + 3 sigma[0] - 3 copy[0,0] - 2 copy[0,3] <= 0",
        "h[0] is h[0]",
    ]


def test_sparse_and_dense_weights_give_the_same_rows() -> None:
    weight = np.array([[1.0, 0.0, -2.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    known = LayerBounds(np.array([-1.0, -2, -3]), np.array([1.0, 2, 3]), -np.ones(3), np.ones(3))
    dense, csr = (
        str(Balas().encode(Layer(W, [0.0, 1.0, 2.0], True), known)) for W in (weight, sparse.csr_array(weight))
    )
    assert dense == csr


@pytest.mark.parametrize("seed", range(12))
def test_its_lp_is_the_convex_hull_of_a_neuron(seed: int) -> None:
    network, known = random_neuron(seed)
    gaps = []
    for a in directions(5, seed):
        hull = hull_max(network, known.box, a)
        assert relaxed_max(network, known, Balas(), a) == pytest.approx(hull, abs=1e-6)
        gaps.append(relaxed_max(network, known, BigM(), a) - hull)
    assert min(gaps) > -1e-6
    assert max(gaps) > 1e-4  # big-M is weaker, so that the test can tell


@pytest.mark.parametrize("seed", range(20))
def test_its_rows_hold_at_the_networks_points_in_exact_arithmetic(seed: int) -> None:
    network, known = random_neuron(seed)
    layer, box = network.layers[0], known.box
    encoding = network_model(network, known, Balas()).networks[0].encodings[0]
    copied, up = encoding.columns[3].key, layer.weight[0] > 0
    for x in [box.lower, box.upper, np.where(up, box.upper, box.lower), *box.sample(5, np.random.default_rng(seed))]:
        far = [Fraction(v) - Fraction(c) for v, c in zip(x, np.where(up, box.lower, box.upper), strict=True)]
        assert exact_slack(encoding, layer, x, lambda s, far=far: [s * abs(far[i]) for i in copied]) >= 0


@pytest.mark.parametrize("seed", range(4))
def test_better_bounds_of_z_are_used_too(seed: int) -> None:
    """Bounds that the box does not imply: the hull of what they leave of both states, never above big-M's."""
    network, known = random_neuron(seed)
    cut = Bounds.of(network, known.box, [0.5 * known.lower[0]], [0.5 * known.upper[0]])
    for a in directions(5, seed):
        with_balas = relaxed_max(network, cut, Balas(), a)
        assert with_balas <= relaxed_max(network, cut, BigM(), a) + 1e-7
        assert with_balas <= relaxed_max(network, known, Balas(), a) + 1e-7


@pytest.mark.parametrize("seed", range(3))
def test_layers_are_never_weaker_than_big_m(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = (4, 6, 5, 1)
    pairs = list(itertools.pairwise(sizes))
    network = Network([Layer(rng.normal(size=(m, n)), rng.normal(size=m), k < 2) for k, (n, m) in enumerate(pairs)])
    known = tighten_bounds(network, Box.full(4, -1, 1), effort="crown")
    tight, loose = (relaxed_max(network, known, f, np.zeros(4)) for f in (Balas(), BigM()))
    assert tight < loose - 1e-6
    milp = HighsSolver(network_model(network, known, Balas(), objective=[1.0])).solve()
    assert milp.value is not None
    assert milp.value <= tight + 1e-6


def test_a_dead_input_needs_no_copy() -> None:
    """A neuron of the layer before that is 0 everywhere has no column; rows that name it lose the term."""
    first = Layer([[1.0, 1.0], [-1.0, -1.0]], [0.0, -1.0], True)
    network = Network([first, Layer([[1.0, 5.0]], [-1.0], True)])
    known = tighten_bounds(network, Box.full(2, 0, 1), effort="interval")
    model = network_model(network, known, Balas(), objective=[1.0])
    assert [g.neuron.size for g in model.networks[0].encodings[1].columns] == [1, 1, 1, 1]
    assert HighsSolver(model).solve().value == pytest.approx(1.0)
