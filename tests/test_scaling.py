"""Scaling by powers of two: the same model, bit for bit, in numbers that a solver's tolerances can resolve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo
import pytest

from omlt_ext import Box, Network, ReLUBlock, tighten_bounds
from omlt_ext.formulations import BigM
from omlt_ext.heuristics import maximize
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.solvers import HighsSolver
from omlt_ext.solvers.scaling import LARGEST, power, scale_model

MakeNetwork = Callable[..., Network]


def model_of(network: Network, width: float) -> MatrixModel:
    bounds = tighten_bounds(network, Box.full(network.n_inputs, -width, 0.5 * width))
    return network_model(network, bounds, BigM(), objective=np.ones(network.n_outputs))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("width", [1e-3, 1.0, 1e6])
def test_same_model_in_smaller_numbers(make_network: MakeNetwork, scale: float, width: float) -> None:
    network = make_network((3, 6, 4, 2), 7, scale=scale)
    model = model_of(network, width)
    scaled, scale_of = scale_model(model)
    assert np.abs(scaled.lower).max() <= LARGEST
    assert np.abs(scaled.upper).max() <= LARGEST
    assert np.array_equal(scaled.integer, model.integer)
    assert (np.log2(scale_of) % 1 == 0).all()
    for x in Box.full(3, -width, 0.5 * width).sample(10, np.random.default_rng(0)):
        point = np.zeros(model.n_columns)
        columns, values = model.networks[0].point(x)
        point[columns] = values
        small = point / scale_of
        assert scaled.value(small) == pytest.approx(model.value(point), rel=1e-12)
        # every row is the old row divided by one power of two
        now, before = scaled.A @ small, model.A @ point
        rows = before[now != 0] / now[now != 0]
        np.testing.assert_allclose(rows, 2.0 ** np.round(np.log2(rows)), rtol=1e-6)


def test_small_numbers_keep_their_unit(make_network: MakeNetwork) -> None:
    model = model_of(make_network((3, 5, 2), 1), 1.0)
    assert scale_model(model)[0] is model


def test_power_is_the_smallest_that_fits() -> None:
    magnitude = np.array([0.0, 1.0, LARGEST, np.nextafter(LARGEST, np.inf), 2 * LARGEST, 1e300])
    s = power(magnitude)
    assert (magnitude / s <= LARGEST).all()
    assert (magnitude / s > LARGEST / 2)[s > 1].all()
    assert s[:5].tolist() == [1, 1, 1, 2, 2]


def test_start_bounds_and_objective_pass_through_the_scaling(make_network: MakeNetwork) -> None:
    network = make_network((2, 6, 1), 3, scale=1e3)
    model = model_of(network, 1e3)
    solver = HighsSolver(model)
    x = np.array([100.0, -200.0])
    solver.start_from(*model.networks[0].point(x))
    best = solver.solve(gap=0.0)
    assert best.value == pytest.approx(float(network(best.x[:2])[0]), rel=1e-9)
    solver.set_bounds(np.array([0, 1]), x, x)
    assert solver.solve().value == pytest.approx(float(network(x)[0]), rel=1e-9)
    solver.set_objective(-model.c, maximize=False, offset=7.0)
    assert solver.solve().value == pytest.approx(7.0 - float(network(x)[0]), rel=1e-9)


LARGE = Box([-0.009663649979126516, -0.009312273518813002], [7.01269790548009, 3.7896288982652506])
WEIGHTS = np.array([-0.6758867237242426, -0.4356456273486338])


def large_network(make_network: MakeNetwork) -> tuple[Network, float]:
    """Unscaled, HiGHS calls -5.48e8 optimal here: pre-activations reach 1e9, its tolerances stay at 1e-6."""
    network = make_network((2, 3, 5, 5, 2), 2231, relu_output=True, scale=1e3)
    known = float(WEIGHTS @ network([-0.009663649979126516, 0.7942067742220024]))
    assert known == pytest.approx(-488015500.5, rel=1e-6)
    return network, known


def test_large_numbers_do_not_make_the_bound_wrong(make_network: MakeNetwork) -> None:
    network, known = large_network(make_network)
    result = maximize(network, LARGE, WEIGHTS, gap=1e-5)
    assert result.status == "optimal"
    assert result.value == pytest.approx(known, rel=1e-5)
    assert result.bound is not None
    assert result.bound >= known


def test_large_numbers_do_not_make_pyomos_answer_wrong(make_network: MakeNetwork) -> None:
    network, known = large_network(make_network)
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=LARGE)
    outputs = model.nn.outputs
    model.gain = pyo.Objective(expr=sum(float(c) * outputs[j] for j, c in enumerate(WEIGHTS)), sense=pyo.maximize)
    results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    pyo.assert_optimal_termination(results)
    assert pyo.value(model.gain) == pytest.approx(known, rel=1e-4)
    assert results.problem.upper_bound >= known * (1 + 1e-9)
    assert model.nn.get_error() < 1e-6
