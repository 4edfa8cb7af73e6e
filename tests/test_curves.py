"""Smooth activations: ranges hold against exact arithmetic, and no form of an equation overflows or differs."""

from decimal import Decimal, localcontext

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext.curves import (
    CURVES,
    SIGMOID,
    SOFTPLUS,
    TANH,
    curve,
    equation,
    evaluate,
    forms,
    image,
    too_wide,
)

CODES = range(1, len(CURVES))
ENDS = st.floats(-1e3, 1e3) | st.floats(-1e-3, 1e-3)


def exact(code: int, z: float) -> Decimal:
    """The function to 500 digits: of e^1000 and 1 together more than 400 are needed."""
    with localcontext() as context:
        context.prec = 1000
        grown = (Decimal(2) * Decimal(z) if code == TANH else Decimal(z)).exp()
        if code == SIGMOID:
            return grown / (1 + grown)
        return (grown - 1) / (grown + 1) if code == TANH else (1 + grown).ln()


@pytest.mark.parametrize("code", CODES)
@given(z=ENDS)
@settings(max_examples=40, deadline=None)
def test_the_image_of_a_point_holds_the_exact_value(code: int, z: float) -> None:
    low, high = image(np.array([code]), np.array([z]), np.array([z]))
    assert Decimal(float(low[0])) <= exact(code, z) <= Decimal(float(high[0]))
    assert high[0] - low[0] <= 1e-14 * (1.0 + abs(z))
    least, most = curve(code).limits
    assert least <= low[0] <= high[0] <= most


@given(a=ENDS, b=ENDS, code=st.sampled_from(list(CODES)))
@settings(max_examples=100, deadline=None)
def test_the_image_holds_every_value_between(a: float, b: float, code: int) -> None:
    l, u = min(a, b), max(a, b)  # noqa: E741
    low, high = image(np.array([code]), np.array([l]), np.array([u]))
    values = evaluate(np.full(101, code), np.linspace(l, u, 101))
    assert (low <= values).all()
    assert (values <= high).all()


def test_what_is_known_exactly_stays_exact() -> None:
    codes = np.array([TANH, TANH, SIGMOID, SIGMOID, SOFTPLUS, SOFTPLUS, 0])
    low, high = image(codes, np.array([0.0, -1, 800, -800, 800, -800, -2]), np.array([1.0, 0, 800, -800, 800, -800, 3]))
    assert (low[0], high[1]) == (0.0, 0.0)
    assert (high[2], low[3]) == (1.0, 0.0)
    assert (low[4], low[5]) == (800.0, 0.0)
    assert (low[6], high[6]) == (-2.0, 3.0)


def test_values_far_out_neither_overflow_nor_warn() -> None:
    z = np.array([-1e4, -750.0, 0.0, 750.0, 1e4])
    np.testing.assert_allclose(evaluate(np.full(5, SIGMOID), z), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(evaluate(np.full(5, TANH), z), [-1, -1, 0, 1, 1])
    np.testing.assert_allclose(evaluate(np.full(5, SOFTPLUS), z), [0, 0, np.log(2), 750, 1e4])


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(("l", "u"), [(-3, 2), (-300, 2), (-3, 300), (-300, 300), (200, 300), (-300, -200), (30, 60)])
def test_both_forms_are_the_function_and_stay_finite(code: int, l: float, u: float) -> None:  # noqa: E741
    lower, upper = np.array([float(l)]), np.array([float(u)])
    form = int(forms(np.array([code]), lower, upper)[0])
    model = pyo.ConcreteModel()
    model.z, model.h = pyo.Var(), pyo.Var()
    model.curve = pyo.Constraint(expr=equation(code, model.z, model.h, form))
    for z in np.linspace(l, u, 13):
        model.z.value, model.h.value = float(z), float(curve(code).value(np.array([z]))[0])
        gap = pyo.value(model.curve.body) - pyo.value(model.curve.upper)
        assert abs(gap) <= 1e-13 * (1 + abs(z))
        model.h.value += 0.125  # and it is not true of another h
        assert abs(pyo.value(model.curve.body) - pyo.value(model.curve.upper)) > 0.01


def test_only_what_overflows_either_way_is_too_wide() -> None:
    codes = np.array([SIGMOID, SIGMOID, TANH, TANH, SOFTPLUS, 0])
    lower = np.array([-800.0, -800, -340, -360, -1e6, -1e9])
    upper = np.array([800.0, 10, 340, 360, 1e6, 1e9])
    assert too_wide(codes, lower, upper).tolist() == [True, False, False, True, False, False]
