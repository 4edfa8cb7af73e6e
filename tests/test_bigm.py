"""The rows of big-M, as text, for each kind of neuron."""

import numpy as np
import pytest
from scipy import sparse

from omlt_ext import Layer
from omlt_ext.encoding import Encoding, LayerBounds
from omlt_ext.errors import BoundsError
from omlt_ext.formulations import BigM


def encode(weight: object, bias: list[float], relu: object, lower: list[float], upper: list[float]) -> Encoding:
    layer = Layer(weight, bias, relu)
    box = LayerBounds(np.array(lower), np.array(upper), np.zeros(layer.n_in), np.ones(layer.n_in))
    return BigM().encode(layer, box)


def test_unstable_neuron() -> None:
    assert str(encode([[3, -2]], [0.5], True, [-1.5], [3.5])).splitlines() == [
        "z[0] in [-1.5, 3.5]",
        "h[0] in [0, 3.5]",
        "sigma[0] in {0, ..., 1}",
        "affine[0]: -3 x[0] + 2 x[1] + z[0] = 0.5",
        "relu_above[0]: 0 <= -z[0] + h[0]",
        "relu_active[0]: -z[0] + h[0] + 1.5 sigma[0] <= 1.5",
        "relu_inactive[0]: h[0] - 3.5 sigma[0] <= 0",
        "h[0] is h[0]",
    ]


def test_active_neuron_has_no_binary_and_one_column() -> None:
    assert str(encode([[3, 2]], [0.5], True, [0.5], [5.5])).splitlines() == [
        "z[0] in [0.5, 5.5]",
        "affine[0]: -3 x[0] - 2 x[1] + z[0] = 0.5",
        "h[0] is z[0]",
    ]


def test_inactive_neuron_has_nothing() -> None:
    assert str(encode([[-3, -2]], [-0.5], True, [-5.5], [-0.5])) == "h[0] is 0"


def test_linear_neuron_is_its_affine_row() -> None:
    assert str(encode([[3, -2]], [0.5], False, [-1.5], [3.5])).splitlines() == [
        "z[0] in [-1.5, 3.5]",
        "affine[0]: -3 x[0] + 2 x[1] + z[0] = 0.5",
        "h[0] is z[0]",
    ]


@pytest.mark.parametrize(("lower", "upper", "carrier"), [(0.0, 1.0, "z[0]"), (-1.0, 0.0, "0"), (0.0, 0.0, "z[0]")])
def test_ties_at_zero_are_stable(lower: float, upper: float, carrier: str) -> None:
    encoding = encode([[1.0]], [0.0], True, [lower], [upper])
    assert str(encoding).splitlines()[-1] == f"h[0] is {carrier}"
    assert not any(group.integer and group.neuron.size for group in encoding.columns)


def test_zero_weight_neuron_keeps_its_bias() -> None:
    assert "affine[0]: z[0] = 2" in str(encode([[0, 0]], [2.0], True, [2.0], [2.0]))


def test_sparse_and_dense_weights_give_the_same_rows() -> None:
    weight = np.array([[1.0, 0.0, -2.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    dense, csr = (
        str(encode(W, [0.0, 1.0, 2.0], True, [-1, -2, -3], [1, 2, 3])) for W in (weight, sparse.csr_array(weight))
    )
    assert dense == csr


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        ([0, 2], [1, 1], "neuron 1: lower bound 2.0 lies above upper bound 1.0"),
        ([0, -np.inf], [1, 1], r"neuron 1: bounds \[-inf, 1.0\] must be finite"),
        ([np.nan, 0], [1, 1], "neuron 0: bounds"),
    ],
)
def test_bad_bounds_are_refused(lower: list[float], upper: list[float], message: str) -> None:
    with pytest.raises(BoundsError, match=message):
        encode([[1.0], [1.0]], [0.0, 0.0], True, lower, upper)
