"""Counterexamples: points that the original file's own evaluator confirms, in its own precision, inside the box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..domain import Box, Floats, numbers
from ..errors import ShapeError
from .original import original_of
from .property import Property
from .vnnlib_text import write_point


@dataclass(frozen=True, eq=False)
class Counterexample:
    """A point x (n_in,) with the outputs y (n_out,) that `evaluator` gave, where disjunct `disjunct` holds."""

    x: Floats
    y: Floats
    disjunct: int
    evaluator: str

    def to_vnnlib(self) -> str:
        """x and y as VNN-LIB's competition writes them: ((X_0 0.5) ... (Y_0 2.0))."""
        return write_point(self.x, self.y)


def confirm(source: object, property: Property, x: ArrayLike) -> Counterexample | None:
    """The counterexample at x (n_in,) if the source's own evaluator confirms it there, else None.

    `source` is what `load_network` takes, or an `Original`, which saves opening the file again. x is first rounded to
    the numbers that the source takes, inside the box nearest to x and inside the property's ball. The outputs are those
    of the source (see `original_of`), and they are compared without any tolerance. A candidate that fails by rounding
    alone has to be pushed deeper by whoever found it. Raises `ShapeError` where sizes differ, `ReadError` where the
    source does not run.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.verification import Disjunct
    >>> network = Network([Layer([[1.0, -1.0]], [0.0], relu=True)])
    >>> large = Property([Disjunct(([0.0, 0.0], [1.0, 1.0]), Gy=[[-1.0]], g=[-1.0])])  # y >= 1
    >>> print(confirm(network, large, [1.0, -1e-9]).to_vnnlib())
    ((X_0 1.0)
    (X_1 0.0)
    (Y_0 1.0))
    >>> confirm(network, large, [1.0, 0.1]) is None
    True
    """
    evaluate = original_of(source)
    point = numbers(x, "the candidate", ShapeError)
    if point.shape != (property.n_inputs,) or evaluate.n_inputs != property.n_inputs:
        sizes = f"the candidate has shape {point.shape}, the network {evaluate.n_inputs} inputs"
        raise ShapeError(f"{sizes}; the property is about {property.n_inputs} inputs")
    if not np.isfinite(point).all():
        return None
    ball = property.ball
    pulled = point if ball is None else ball.pull(point)
    for box in _nearest(property, point):
        inside = evaluate.rounded_into(pulled, box.lower, box.upper, None if ball is None else ball.center)
        y = evaluate(inside)
        if y.shape != (property.n_outputs,):
            raise ShapeError(f"the source gives {y.size} outputs; the property is about {property.n_outputs}")
        k = property.first_violated(inside, y)
        if k is not None:
            return Counterexample(inside, y, k, evaluate.name)
    return None


def _nearest(property: Property, point: Floats) -> list[Box]:
    """The different boxes of the property that lie closest to the point: those around it, where there are any."""
    boxes = list({id(disjunct.box): disjunct.box for disjunct in property.disjuncts}.values())
    gaps = [float(np.maximum(box.lower - point, point - box.upper).max(initial=0.0)) for box in boxes]
    return [box for box, gap in zip(boxes, gaps, strict=True) if gap == min(gaps)]
