"""Models as arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from omlt_ext import Box, Network, tighten_bounds
from omlt_ext.encoding import ZERO, encode_network
from omlt_ext.errors import BoundsError, ShapeError
from omlt_ext.formulations import BigM
from omlt_ext.milp import ModelBuilder, network_model


def test_a_forward_pass_is_a_feasible_point(make_network: Callable[..., Network]) -> None:
    network = make_network((4, 7, 6, 3), 2, relu_output=True)
    box = Box.full(4, -2, 2)
    model = network_model(network, tighten_bounds(network, box), BigM(), objective=[1.0, -2.0, 0.5])
    for x in box.sample(20, np.random.default_rng(0)):
        columns, values = model.networks[0].point(x)
        point = np.zeros(model.n_columns)
        point[columns] = values
        assert np.unique(columns).size == model.n_columns
        assert model.violation(point) < 1e-9
        assert model.networks[0].error(point) < 1e-12
        assert model.value(point) == pytest.approx(float(network(x) @ [1.0, -2.0, 0.5]))


def test_error_sees_a_wrong_output(make_network: Callable[..., Network]) -> None:
    network = make_network((2, 3, 1), 1)
    model = network_model(network, tighten_bounds(network, (-1, 1)), BigM())
    point = np.zeros(model.n_columns)
    columns, values = model.networks[0].point(np.array([0.2, 0.4]))
    point[columns] = values
    point[model.networks[0].outputs] += 0.5
    assert model.networks[0].error(point) == pytest.approx(0.5 / (1 + abs(network([0.2, 0.4])[0])))


def test_outputs_that_are_zero_everywhere_have_no_column() -> None:
    from omlt_ext import Layer

    network = Network([Layer([[-1.0], [1.0]], [-1.0, 1.0], relu=True)])
    model = network_model(network, tighten_bounds(network, (0, 1)), BigM(), objective=[5.0, 1.0])
    assert model.networks[0].outputs[0] == ZERO
    assert model.networks[0].error(np.array([0.5, 1.5])) == 0.0


def test_fix_relax_and_objective_leave_the_original(make_network: Callable[..., Network]) -> None:
    network = make_network((2, 3, 1), 1)
    model = network_model(network, tighten_bounds(network, (-1, 1)), BigM())
    fixed = model.fix(np.array([0, 1]), np.array([0.5, -0.5]))
    assert (fixed.lower[:2] == fixed.upper[:2]).all()
    assert (model.lower[:2] == -1).all()
    assert not model.relax().integer.any()
    assert model.integer.any()
    assert model.with_objective(np.array([1, 1]), [1.0, 2.0], maximize=True).c[1] == 3.0


def test_repeated_input_columns_are_summed() -> None:
    from omlt_ext import Layer

    network = Network([Layer([[2.0, 3.0]], [1.0], relu=False)])
    encodings = encode_network(network, tighten_bounds(network, (0, 1)), BigM())
    builder = ModelBuilder()
    column = builder.add_columns(np.zeros(1), np.ones(1))
    builder.add_network(network, encodings, np.repeat(column, 2))
    assert builder.model().A.toarray().tolist() == [[-5.0, 1.0]]


def test_objective_of_the_wrong_length(make_network: Callable[..., Network]) -> None:
    network = make_network((2, 3, 2), 1)
    with pytest.raises(ShapeError, match=r"objective has shape \(1,\); it weighs the 2 outputs"):
        network_model(network, tighten_bounds(network, (-1, 1)), BigM(), objective=[1.0])


def test_bounds_of_another_network(make_network: Callable[..., Network]) -> None:
    bounds = tighten_bounds(make_network((2, 3, 1), 1), (-1, 1))
    with pytest.raises(BoundsError, match="belong to another network"):
        encode_network(make_network((2, 4, 1), 1), bounds, BigM())
