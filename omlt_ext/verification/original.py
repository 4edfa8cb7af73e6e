"""The evaluator of what a network came from: the file itself, in its own precision, instead of our copy of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..domain import Floats
from ..errors import ShapeError
from ..readers.load import load_network


@dataclass(frozen=True)
class Original:
    """y = f(x), x (n_inputs,), as the source itself computes it; `name` says what runs it.

    `parts` are slices of x with the type of number that each is fed as.
    """

    name: str
    n_inputs: int
    parts: tuple[tuple[slice, Any], ...]
    run: Callable[[Floats], Floats]

    def __call__(self, x: Floats) -> Floats:
        if x.shape != (self.n_inputs,):
            raise ShapeError(f"the point has shape {x.shape}; the network takes ({self.n_inputs},)")
        return self.run(x)

    def rounded_into(self, x: Floats, lower: Floats, upper: Floats, center: Floats | None = None) -> Floats:
        """x in numbers that the source can be fed, between `lower` and `upper`, each (n_inputs,).

        Each coordinate is clipped and rounded to the nearest number of its type; one that this takes out of the
        interval, or farther from `center`, is moved back by one step. Where no number of the type lies in the
        interval, the clipped coordinate itself is kept: the source is then fed the number nearest to it.
        """
        clipped = np.clip(x, lower, upper)
        result = clipped.copy()
        for part, kind in self.parts:
            with np.errstate(over="ignore"):  # infinity is moved back like any other
                near = clipped[part].astype(kind)
            wide = near.astype(np.float64)
            down, up = wide > upper[part], wide < lower[part]
            if center is not None:
                farther = np.abs(wide - center[part]) > np.abs(clipped[part] - center[part])
                down, up = down | (farther & (wide > center[part])), up | (farther & (wide < center[part]))
            near = np.where(
                down, np.nextafter(near, kind(-np.inf)), np.where(up, np.nextafter(near, kind(np.inf)), near)
            )
            wide = near.astype(np.float64)
            inside = (wide >= lower[part]) & (wide <= upper[part])
            result[part] = np.where(inside, wide, clipped[part])
        return result


def original_of(source: object) -> Original:
    """The evaluator of `source`: onnxruntime where it is installed, else onnx's own, for ONNX (a path, bytes or a
    `ModelProto`); for anything else that `load_network` takes, the checked network in double precision.

    Raises `ReadError` where the file cannot be read, or no evaluator runs it.

    >>> from omlt_ext import Layer, Network
    >>> network = Network([Layer([[1.0, -1.0]], [0.5], relu=True)])
    >>> original_of(network).name, original_of(network)(np.array([2.0, 1.0]))
    ('the network in double precision', array([1.5]))
    """
    if isinstance(source, Original):
        return source
    is_path = isinstance(source, str | PathLike) and Path(source).suffix.lower() == ".onnx"
    if is_path or isinstance(source, bytes) or type(source).__name__ == "ModelProto":
        from .onnx_original import onnx_original  # onnx takes a while to import

        return onnx_original(cast(Any, source))
    network = load_network(source)
    parts = ((slice(0, network.n_inputs), np.float64),)
    return Original("the network in double precision", network.n_inputs, parts, network)
