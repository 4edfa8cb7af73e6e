"""Bounds of linear functions of a layer's inputs, given the bounds of every layer before it.

Symbols: h' the inputs of layer k, C (m, n_k-1) the functions C h'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bounds import Bounds
from ..domain import Floats
from ..errors import OptionError
from ..network import Layer, Network
from .crown import crown
from .dual import dual
from .interval import interval

METHODS = {"interval": interval, "crown": crown, "dual": dual}


@dataclass(frozen=True, eq=False)
class LinearRanges:
    """Call it with C (m, n) and an effort to get lower (m,) and upper (m,) of C h' over the domain of `bounds`.

    `effort`: "interval", "crown" or "dual", as in `tighten_bounds`. Raises `OptionError` for another one.

    >>> from omlt_ext import Box, Layer, tighten_bounds
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    >>> ranges = LinearRanges(network, tighten_bounds(network, Box.full(2, -1, 1), effort="interval"), 1)
    >>> for effort in ("interval", "crown"):
    ...     print(effort, *(end.round(6) for end in ranges(np.array([[1.0, 1.0]]), effort)))
    interval [0.] [4.]
    crown [0.] [3.]
    """

    network: Network
    bounds: Bounds
    k: int

    def __call__(self, C: Any, effort: str = "crown") -> tuple[Floats, Floats]:
        if effort not in METHODS:
            raise OptionError(f"effort is {effort!r}; choose one of {', '.join(map(repr, METHODS))}")
        before, known = self.network.layers[: self.k], self.bounds
        network = Network([*before, Layer(C, np.zeros(C.shape[0]), relu=False)])
        far = np.full(C.shape[0], np.finfo(np.float64).max)
        lower, upper = [*known.lower[: self.k], -far], [*known.upper[: self.k], far]
        domain = known.box if known.polytope is None else known.polytope
        start = Bounds.of(network, known.box, lower, upper, polytope=known.polytope)
        found = METHODS[effort](network, domain, start)
        return found.lower[-1], found.upper[-1]
