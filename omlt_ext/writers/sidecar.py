"""The sidecar `<file>.onnx.bounds.json`: the box of a network's inputs beside the network, in OMLT's format.

A JSON list of {"key", "lower_bound", "upper_bound"}: the key is the flat position of an input, or the list of its
indices in the shape of the input without the batch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..domain import Box
from ..errors import BoundsError, ReadError


def sidecar_of(path: str | PathLike[str]) -> Path:
    """The sidecar of a network's file: its full name with ".bounds.json" behind it.

    >>> sidecar_of("net.onnx").name
    'net.onnx.bounds.json'
    """
    return Path(f"{Path(path)}.bounds.json")


def write_sidecar(path: str | PathLike[str], box: Box, input_shape: Sequence[int]) -> None:
    """Write `box` for an input of `input_shape`, every number so that reading gives it back exactly.

    Keys are flat positions for an input with one axis, else lists of indices.
    """
    shape = tuple(input_shape)
    keys: list[object] = list(range(box.n))
    if len(shape) > 1:
        keys = [list(index) for index in np.ndindex(*shape)]
    entries = [
        {"key": key, "lower_bound": float(low), "upper_bound": float(high)}
        for key, low, high in zip(keys, box.lower, box.upper, strict=True)
    ]
    Path(path).write_text(json.dumps(entries), encoding="utf-8")


def read_sidecar(path: str | PathLike[str], input_shape: Sequence[int]) -> Box:
    """The box in a sidecar, for an input of `input_shape` (without the batch).

    Raises `ReadError` where the file is not such a list, or an input is missing, named twice or not there, and
    `BoundsError` where a bound is missing, infinite or crossed.
    """
    file, shape = Path(path), tuple(int(s) for s in input_shape)
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{file} cannot be read: {error}") from None
    if not isinstance(entries, list):
        raise ReadError(f"{file} must hold a list of entries with key, lower_bound and upper_bound")
    n = math.prod(shape)
    lower, upper = np.full(n, np.nan), np.full(n, np.nan)
    seen = np.zeros(n, dtype=bool)
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or not {"key", "lower_bound", "upper_bound"} <= set(entry):
            raise ReadError(f"{file}: entry {place} must have key, lower_bound and upper_bound")
        at = _position(entry["key"], shape, n)
        if at is None or seen[at]:
            problem = "is named twice" if at is not None else f"is no index into an input of shape {shape}"
            raise ReadError(f"{file}: entry {place}: the key {entry['key']!r} {problem}")
        seen[at] = True
        for end, side in ((lower, "lower_bound"), (upper, "upper_bound")):
            number = entry[side]
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise BoundsError(f"{file}: entry {place}: {side} is {number!r}, not a number; give both ends")
            end[at] = number if abs(number) < 2**1023 else np.inf  # a longer integer has no float; Box refuses it
    if not seen.all():
        j = int(np.flatnonzero(~seen)[0])
        raise ReadError(f"{file} holds no bounds for input {j} of {n}; complete the file, or move it away")
    try:
        return Box(lower, upper)
    except BoundsError as error:
        raise BoundsError(f"{file}: {error}") from None


def _position(key: object, shape: tuple[int, ...], n: int) -> int | None:
    """The flat position of a key, or None where it is none."""
    indices: list[Any] = key if isinstance(key, list) else [key]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in indices):
        return None
    if len(indices) == 1 and 0 <= indices[0] < n:
        return int(indices[0])
    if len(indices) == len(shape) + 1 and indices[0] == 0:
        indices = indices[1:]  # written with the batch
    if len(indices) != len(shape) or not all(0 <= i < s for i, s in zip(indices, shape, strict=True)):
        return None
    return int(np.ravel_multi_index(tuple(indices), shape))
