"""A box of inputs from a file: NumPy's .npz, or OMLT's .bounds.json."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..archive import read_archive
from ..domain import Box
from ..errors import BoundsError, ReadError, ShapeError


def read_box(path: str | PathLike[str], input_shape: Sequence[int]) -> Box:
    """The `Box` in a file, for an input of `input_shape` without the batch.

    A .npz file holds arrays `lower` and `upper` of n_in numbers each (or `box_lower` and `box_upper`, as written by
    `Bounds.save`), a .json file is a sidecar as `read_sidecar` reads it. Raises `ReadError` where the file cannot be
    read or holds something else, `ShapeError` for a wrong number of coordinates, `BoundsError` for ends that are
    missing, infinite or crossed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder, "box.npz"), lower=[0.0, -1.0], upper=[1.0, 1.0])
    ...     read_box(Path(folder, "box.npz"), (2,))
    Box([ 0. -1.], [1. 1.])
    """
    file = Path(path)
    if file.suffix == ".json":
        from ..writers.sidecar import read_sidecar

        return read_sidecar(file, input_shape)
    if file.suffix != ".npz":
        raise ReadError(f"{file}: a box is read from files with the suffixes .npz and .json")
    arrays = read_archive(file)
    prefix = "box_" if "box_lower" in arrays else ""
    try:
        lower, upper = arrays[f"{prefix}lower"], arrays[f"{prefix}upper"]
    except KeyError:
        raise ReadError(f"{file} holds no arrays lower and upper (nor box_lower and box_upper)") from None
    n = int(np.prod(input_shape))
    if lower.size != n or upper.size != n:
        raise ShapeError(f"{file}: lower has {lower.size} numbers and upper {upper.size}; the network takes {n}")
    try:
        return Box(lower.ravel(), upper.ravel())
    except BoundsError as error:
        raise BoundsError(f"{file}: {error}") from None
