"""Bounds of linear functions of a layer's inputs, given the bounds of every layer before it.

Symbols: h' the inputs of layer k, C (m, n_k-1) the functions C h', seen as one more layer z = C h'.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..bounds import Bounds
from ..domain import Floats
from ..errors import OptionError
from ..network import Layer, Network
from .crown import AffineError, Relaxation, affine_error, backward_range, relax
from .dual import dual_rows
from .interval import Range, activation_range, affine_range, checked, collect, given

METHODS = ("interval", "crown", "dual")


@dataclass(frozen=True, eq=False)
class LinearRanges:
    """Call it with C (m, n) and an effort to get lower (m,) and upper (m,) of C h' over the domain of `bounds`.

    `effort`: "interval", "crown" or "dual", as in `tighten_bounds`; each takes what the one before found as well. The
    layers before are taken as they are in `bounds`: only the one backward pass of C is run. Raises `OptionError` for
    another effort, `BoundsError` where C h' overflows.

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
        ranges, relaxations, errors, p, q = self._before
        top = Layer(C, np.zeros(C.shape[0]), relu=False)
        found = checked(affine_range(top, p, q), self.k)
        if effort == "interval" or not ranges or not top.n_out:
            return found.lower, found.upper
        part, box = Network([*self.network.layers[: self.k], top]), self.bounds.box
        every = [*errors, affine_error(top, p, q)]
        found = checked(found.meet(backward_range(part, self.k, relaxations, every, box)), self.k)
        if effort == "dual":
            known = collect([*ranges, found], part, box, self.bounds.polytope)
            found = checked(found.meet(Range.by("dual", *dual_rows(part, known))), self.k)
        return found.lower, found.upper

    @cached_property
    def _before(self) -> tuple[list[Range], list[Relaxation], list[AffineError], Floats, Floats]:
        """Ranges, relaxations and rounding errors of the layers before, and the range of h'."""
        ranges: list[Range] = []
        relaxations: list[Relaxation] = []
        errors: list[AffineError] = []
        p, q = self.bounds.box.lower, self.bounds.box.upper
        for i, layer in enumerate(self.network.layers[: self.k]):
            ranges.append(given(self.bounds, i))
            relaxations.append(relax(layer, ranges[i]))
            errors.append(affine_error(layer, p, q))
            p, q = activation_range(layer, ranges[i])
        return ranges, relaxations, errors, p, q
