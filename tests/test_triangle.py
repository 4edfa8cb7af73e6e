"""The rows of the triangle, as text; what it holds, and what big-M's LP says."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_neuron import directions, random_neuron, relaxed_max

from omlt_ext import Layer
from omlt_ext.encoding import LayerBounds
from omlt_ext.formulations import BigM, TriangleRelaxation

END = st.floats(1e-9, 1e9)


def bounds(lower: list[float], upper: list[float]) -> LayerBounds:
    return LayerBounds(np.array(lower), np.array(upper), np.zeros(2), np.ones(2))


def test_unstable_neuron() -> None:
    layer = Layer([[3, -2]], [0.5], True)
    encoding = TriangleRelaxation().encode(layer, bounds([-1.5], [4.5]))
    assert str(encoding).splitlines() == [
        "z[0] in [-1.5, 4.5]",
        "h[0] in [0, 4.5]",
        "affine[0]: -3 x[0] + 2 x[1] + z[0] = 0.5",
        "relu_above[0]: 0 <= -z[0] + h[0]",
        "relu_below[0]: -0.75 z[0] + h[0] <= 1.125",
        "h[0] is h[0]",
    ]
    assert not encoding.exact


def test_stable_neurons_are_exact_and_as_in_big_m() -> None:
    layer = Layer([[3, 2], [-3, -2], [1, 1]], [0.5, -0.5, 0.0], [True, True, False])
    known = bounds([0.5, -5.5, 0.0], [5.5, -0.5, 2.0])
    with_rows, with_big_m = (str(f.encode(layer, known)).splitlines() for f in (TriangleRelaxation(), BigM()))
    assert with_rows == with_big_m


@given(END, END)
@settings(deadline=None, max_examples=200)
def test_the_upper_line_covers_the_relu_in_exact_arithmetic(below: float, above: float) -> None:
    known = LayerBounds(np.array([-below]), np.array([above]), np.array([-below]), np.array([above]))
    rows = TriangleRelaxation().encode(Layer([[1.0]], [0.0], True), known).rows
    line = next(group for group in rows if group.name == "relu_below")
    slope, t = -Fraction(float(line.matrix.toarray().min())), Fraction(float(line.upper[0]))
    assert slope * Fraction(-below) + t >= 0
    assert slope * Fraction(above) + t >= Fraction(above)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_lp_of_big_m(seed: int) -> None:
    network, known = random_neuron(seed)
    for a in directions(5, seed):
        big_m, triangle = (relaxed_max(network, known, f, a) for f in (BigM(), TriangleRelaxation()))
        assert triangle == pytest.approx(big_m, abs=1e-7)
