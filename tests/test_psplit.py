"""The rows of the P-split formulation, as text; its LP between big-M and the hull, and that of Partition."""

import numpy as np
import pytest
from single_neuron import directions, hull_max, random_neuron, relaxed_max

from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.encoding import LayerBounds
from omlt_ext.errors import OptionError
from omlt_ext.formulations import BigM, Partition, PSplit

LAYER = Layer([[4, -2, 3, -3]], [-2.0], True)
KNOWN = LayerBounds(np.array([-6.0]), np.array([4.0]), np.zeros(4), np.ones(4))


def test_unstable_neuron() -> None:
    assert str(PSplit(splits=2).encode(LAYER, KNOWN)).splitlines() == [
        "z[0] in [-6, 4]",
        "h[0] in [0, 4]",
        "sigma[0] in {0, ..., 1}",
        "alpha[0,0] in [-2, 4]",
        "alpha[0,1] in [-3, 3]",
        "alpha_copy[0,0] in [-2, 4]",
        "alpha_copy[0,1] in [-3, 3]",
        "relu_above[0]: 0 <= -z[0] + h[0]",
        "relu_active[0]: -z[0] + h[0] + 6 sigma[0] <= 6",
        "relu_inactive[0]: h[0] - 4 sigma[0] <= 0",
        "alpha_sum[0,0]: -4 x[0] + 2 x[1] + alpha[0,0] = 0",
        "alpha_sum[0,1]: -3 x[2] + 3 x[3] + alpha[0,1] = 0",
        "affine_sum[0]: z[0] - alpha[0,0] - alpha[0,1] = -2",
        "active_lower[0,0]: 0 <= 2 sigma[0] + alpha_copy[0,0]",
        "active_lower[0,1]: 0 <= 3 sigma[0] + alpha_copy[0,1]",
        "active_upper[0,0]: -4 sigma[0] + alpha_copy[0,0] <= 0",
        "active_upper[0,1]: -3 sigma[0] + alpha_copy[0,1] <= 0",
        "inactive_lower[0,0]: -2 <= -2 sigma[0] + alpha[0,0] - alpha_copy[0,0]",
        "inactive_lower[0,1]: -3 <= -3 sigma[0] + alpha[0,1] - alpha_copy[0,1]",
        "inactive_upper[0,0]: 4 sigma[0] + alpha[0,0] - alpha_copy[0,0] <= 4",
        "inactive_upper[0,1]: 3 sigma[0] + alpha[0,1] - alpha_copy[0,1] <= 3",
        "relu_split[0]: h[0] + 2 sigma[0] - alpha_copy[0,0] - alpha_copy[0,1] = 0",
        "h[0] is h[0]",
    ]


def test_one_part_is_big_m() -> None:
    assert str(PSplit(splits=1).encode(LAYER, KNOWN)) == str(BigM().encode(LAYER, KNOWN))


@pytest.mark.parametrize("seed", range(6))
def test_from_big_m_to_the_hull(seed: int) -> None:
    """The half of the hull that `Partition` leaves out is implied: both have the same LP for the same groups."""
    network, known = random_neuron(seed)
    for a in directions(5, seed):
        values = [relaxed_max(network, known, PSplit(n), a) for n in (1, 2, 3, 5)]
        same = [relaxed_max(network, known, Partition(n, by="order"), a) for n in (1, 2, 3, 5)]
        ends = [relaxed_max(network, known, BigM(), a), hull_max(network, known.box, a)]
        assert values == pytest.approx(same, abs=1e-6)
        assert [values[0], values[3]] == pytest.approx(ends, abs=1e-6)
        assert relaxed_max(network, known, PSplit("all"), a) == pytest.approx(ends[1], abs=1e-6)


@pytest.mark.parametrize("effort", ["interval", "crown"])
def test_layers_have_the_lp_of_partition(effort: str) -> None:
    rng = np.random.default_rng(3)
    layers = [Layer(rng.normal(size=(m, n)), rng.normal(size=m), m > 1) for n, m in ((3, 8), (8, 8), (8, 1))]
    network = Network(layers)
    known = tighten_bounds(network, Box.full(3, -1, 1), effort="crown")
    pair = PSplit(4, effort=effort), Partition(4, by="order", effort=effort)
    whole, half = (relaxed_max(network, known, f, np.zeros(3)) for f in pair)
    assert whole == pytest.approx(half, abs=1e-6)
    assert whole < relaxed_max(network, known, BigM(), np.zeros(3)) - 1e-4


@pytest.mark.parametrize("options", [{"splits": 0}, {"splits": "two"}, {"splits": ((0,), (0,))}, {"effort": "milp"}])
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        PSplit(**options)  # type: ignore[arg-type]
