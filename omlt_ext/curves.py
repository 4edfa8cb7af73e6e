"""The smooth activations: their values, their ranges rounded outward, and their expressions in a Pyomo model.

    sigmoid(z) = 1 / (1 + e^-z),    tanh(z) = 1 - 2 / (e^2z + 1),    softplus(z) = log(1 + e^z)

A neuron's *code* is its place in `CURVES`; 0 is none: the neuron is linear or a ReLU. Symbols: z pre-activation,
l <= z <= u its bounds, h post-activation.

All three increase, so the range over [l, u] is that of the ends. NumPy and SciPy evaluate them to a few units in the
last place; `image` allows for `ULPS` of them, and cuts at what is known of each function exactly: its limits, its sign,
and softplus(z) > z.

Equations are built of exp, log and quotients, which every solver of nonlinear models takes (many refuse tanh). Each
function has a *plain* form and a *wide* one, for bounds between which the plain form's exponential grows past e^30 and
solvers stop making progress: sigmoid and tanh with the opposite exponent, and softplus as

    e^-h + e^(z - h) = 1

whose exponents are never positive, because h > max(0, z). Where both forms of sigmoid or tanh overflow, `too_wide` says
so. From z = 37 on softplus(z) - z < e^-37 is less than a rounding of z, and it is written *straight*, h = z: solvers
have called the other forms infeasible there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from scipy.special import expit

from .domain import Floats
from .propagation.rounding import EPS, round_down, round_up

Codes: TypeAlias = NDArray[np.int8]
Bools: TypeAlias = NDArray[np.bool_]

ULPS = 16  # NumPy promises 4
EASY = 30.0  # at 300 Gurobi has no answer for one softplus after 20 s, and one within milliseconds in the wide form
STRAIGHT_FROM = 37.0  # e^-37 < 37 * 2^-54
LARGEST = 700.0  # e^709 is the last that double precision holds


@dataclass(frozen=True)
class Curve:
    """One function: its name, NumPy values and limits, and its two forms as equations of Pyomo variables z and h.

    `rate` z is the exponent of the plain form, -`rate` z that of the wide one, unless it is `unlimited`.
    """

    name: str
    value: Callable[[Floats], Floats]
    limits: tuple[float, float]
    rate: float
    plain: Callable[[Any, Any], Any]
    wide: Callable[[Any, Any], Any]
    unlimited: bool = False


def _softplus(z: Floats) -> Floats:
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


SIGMOID, TANH, SOFTPLUS = 1, 2, 3
PLAIN, WIDE, STRAIGHT = 0, 1, 2
CURVES: tuple[Curve | None, ...] = (
    None,
    Curve(
        name="sigmoid",
        value=expit,
        limits=(0.0, 1.0),
        rate=-1.0,
        plain=lambda z, h: h == 1.0 / (1.0 + pyo.exp(-z)),
        wide=lambda z, h: h == 1.0 - 1.0 / (1.0 + pyo.exp(z)),
    ),
    Curve(
        name="tanh",
        value=np.tanh,
        limits=(-1.0, 1.0),
        rate=2.0,
        plain=lambda z, h: h == 1.0 - 2.0 / (pyo.exp(2.0 * z) + 1.0),
        wide=lambda z, h: h == 2.0 / (1.0 + pyo.exp(-2.0 * z)) - 1.0,
    ),
    Curve(
        name="softplus",
        value=_softplus,
        limits=(0.0, np.inf),
        rate=1.0,
        plain=lambda z, h: h == pyo.log(1.0 + pyo.exp(z)),
        wide=lambda z, h: pyo.exp(-h) + pyo.exp(z - h) == 1.0,
        unlimited=True,
    ),
)


def curve(code: int) -> Curve:
    """The function with this code, 1 to 3.

    >>> curve(TANH).name
    'tanh'
    """
    found = CURVES[code]
    assert found is not None
    return found


def evaluate(codes: Codes, z: Floats) -> Floats:
    """h at z (n,) or (batch, n), entry j of a point by codes[j]; entries with the code 0 stay as they are.

    >>> evaluate(np.array([0, SIGMOID, SOFTPLUS]), np.array([3.0, 0.0, -1000.0]))
    array([3. , 0.5, 0. ])
    """
    h = np.array(z, dtype=np.float64)
    with np.errstate(under="ignore"):
        for code in np.unique(codes[codes > 0]):
            at = codes == code
            h[..., at] = curve(code).value(h[..., at])
    return h


def image(codes: Codes, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """The range of each function over [lower, upper], rounded outward; with the code 0 the ends themselves.

    >>> low, high = image(np.array([TANH, SIGMOID]), np.array([0.0, -1e9]), np.array([1.0, 1e9]))
    >>> low, bool(high[0] > np.tanh(1.0)), high[1]
    (array([0., 0.]), True, np.float64(1.0))
    """
    low, high = evaluate(codes, lower), evaluate(codes, upper)
    error_low, error_high = (
        np.where(codes > 0, ULPS * EPS * np.abs(h) + np.finfo(float).tiny, 0.0) for h in (low, high)
    )
    low, high = round_down(low, error_low), round_up(high, error_high)
    for code in np.unique(codes[codes > 0]):
        at = codes == code
        least, most = curve(code).limits
        low[at], high[at] = np.maximum(low[at], least), np.minimum(high[at], most)
    odd, above = codes == TANH, codes == SOFTPLUS
    low = np.where(odd & (lower >= 0.0), np.maximum(low, 0.0), low)
    high = np.where(odd & (upper <= 0.0), np.minimum(high, 0.0), high)
    return np.where(above, np.maximum(low, lower), low), high


def forms(codes: Codes, lower: Floats, upper: Floats) -> Codes:
    """The form that each neuron takes: `WIDE` where the plain exponent passes `EASY` and the other one is smaller.

    >>> forms(np.array([SIGMOID, SIGMOID, SOFTPLUS, SOFTPLUS]), np.array([-5, -50, -50, 40]), np.array([3, 3, 50, 50]))
    array([0, 1, 1, 2], dtype=int8)
    """
    plain, other = _exponents(codes, lower, upper)
    straight = (codes == SOFTPLUS) & (lower >= STRAIGHT_FROM)
    return np.select([straight, (plain > EASY) & (other < plain)], [STRAIGHT, WIDE], PLAIN).astype(np.int8)


def too_wide(codes: Codes, lower: Floats, upper: Floats) -> Bools:
    """Whether both forms overflow double precision somewhere in [lower, upper].

    >>> too_wide(np.array([TANH, TANH, SOFTPLUS]), np.array([-1e4, -1e4, -1e4]), np.array([1e4, 0.0, 1e4]))
    array([ True, False, False])
    """
    return np.minimum(*_exponents(codes, lower, upper)) > LARGEST


def equation(code: int, z: Any, h: Any, form: int) -> Any:
    """h = the function of z, for Pyomo variables z and h, in one of its forms.

    >>> model = pyo.ConcreteModel()
    >>> model.z, model.h = pyo.Var(), pyo.Var()
    >>> print(equation(SOFTPLUS, model.z, model.h, PLAIN), "or", equation(SOFTPLUS, model.z, model.h, WIDE))
    h  ==  log(1.0 + exp(z)) or exp(- h) + exp(z - h)  ==  1.0
    """
    found = curve(code)
    if form == STRAIGHT:
        return h == z
    return found.wide(z, h) if form == WIDE else found.plain(z, h)


def _exponents(codes: Codes, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """The largest exponents of the plain and of the wide form on [lower, upper]; 0 where there is no function."""
    rates = np.array([0.0 if known is None else known.rate for known in CURVES])[codes]
    unlimited = np.array([known is not None and known.unlimited for known in CURVES])[codes]
    wide = np.where(unlimited, 0.0, np.maximum(-rates * lower, -rates * upper))
    return np.maximum(rates * lower, rates * upper), wide
