"""Robustness: does the network keep its class in a ball around a point?

Symbols: x0 the point, r the radius, c the label, k another class. A counterexample is an x with |x - x0| <= r and
f_k(x) >= f_c(x) for some k: a tie counts as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..domain import Box, as_box, numbers
from ..errors import OptionError, ShapeError
from ..network import Network
from .ball import L1Ball
from .property import Disjunct, Property


def robustness(
    network: Network,
    x0: ArrayLike,
    radius: float,
    *,
    norm: Literal["inf", "1"] = "inf",
    label: int | None = None,
    target: int | Sequence[int] | None = None,
    within: Box | Iterable[ArrayLike] | None = None,
) -> Property:
    """The property that some x in the ball of `radius` around `x0` (n_in,) is not classified as `label`.

    One disjunct for each class k of `target`, all but `label` where not given: f_k(x) >= f_label(x). `label` is the
    network's own class of x0 where not given. `norm` is "inf" or "1". `within`, a `Box` or a pair (lower, upper),
    cuts the ball, to the range of a pixel, say. Raises `ShapeError`, `OptionError`, and `BoundsError` where nothing of
    the ball is left.

    >>> from omlt_ext import Layer
    >>> network = Network([Layer([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], relu=True)])
    >>> ball = robustness(network, [1.0, 0.5], 0.25)
    >>> ball, ball.disjuncts[0].domain
    (<Property of 2 inputs and 2 outputs, 1 disjunct>, Box([0.75 0.25], [1.25 0.75]))
    >>> ball.violated([0.75, 0.75], network([0.75, 0.75])), ball.violated([0.8, 0.75], network([0.8, 0.75]))
    (True, False)
    >>> robustness(network, [1.0, 0.5], 0.25, norm="1").violated([0.75, 0.75], [0.75, 0.75])
    False
    """
    center = numbers(x0, "x0", ShapeError)
    if center.shape != (network.n_inputs,):
        raise ShapeError(f"x0 has shape {center.shape}; this network takes ({network.n_inputs},)")
    if network.n_outputs < 2:
        raise OptionError("robustness needs a network with an output for each class; this one has a single output")
    reach = numbers(radius, "the radius", OptionError)
    if reach.shape != () or not 0 <= reach < np.inf:
        raise OptionError(f"the radius is {radius!r}; it must be one finite number, at least 0")
    if norm not in ("inf", "1"):
        raise OptionError(f"norm is {norm!r}; it must be 'inf' or '1'")
    limits = None if within is None else as_box(within, network.n_inputs)
    ball = L1Ball(center, float(reach)) if norm == "1" else None
    box = Box.ball(center, float(reach)) if ball is None else ball.box()
    box = box if limits is None else box.intersect(limits)
    c = int(np.argmax(network(center))) if label is None else _class(label, network, "label")
    if target is None:
        others: list[int] = [k for k in range(network.n_outputs) if k != c]
    else:
        wanted = list(target) if isinstance(target, Iterable) else [target]
        others = [_class(k, network, "target") for k in wanted]
    if c in others or len(set(others)) < len(others) or not others:
        raise OptionError(f"the targets {others} must be different classes other than the label {c}, at least one")
    gain = np.eye(network.n_outputs)
    return Property([Disjunct(box, gain[[c]] - gain[[k]], [0.0]) for k in others], ball=ball)


def _class(value: object, network: Network, name: str) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 0 <= int(value) < network.n_outputs:  # type: ignore[call-overload]
        raise OptionError(f"the {name} is {value!r}; it must be one of the classes 0 to {network.n_outputs - 1}")
    return int(value)  # type: ignore[call-overload]
