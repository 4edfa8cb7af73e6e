"""A long run's file: the bounds so far and how far it came, written after each layer, read when it goes on."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..archive import read_archive
from ..bounds import Bounds
from ..domain import Box, Floats, Polytope
from ..errors import OptionError, ReadError
from ..network import Network
from .effort import Effort


class Sidecar:
    """The file of one run: of a network over a domain, with an effort.

    It is an ordinary file of bounds, which `Bounds.load` reads, with four entries more. A run with the same effort goes
    on after the last layer that was finished; one with another effort starts from the bounds. Raises `OptionError`
    where the file belongs to another network or domain, or cannot be written, `ReadError` where it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], network: Network, box: Box, polytope: Polytope | None) -> None:
        self.path = Path(path)
        self.problem = fingerprint(network, box, polytope)
        if self.path.is_dir() or not self.path.resolve().parent.is_dir():
            raise OptionError(f"resume={str(path)!r} is no file in an existing folder")

    def read(self, effort: Effort) -> tuple[Bounds | None, tuple[int, int], Floats | None]:
        """(bounds, (position of the rung, layer) of what was finished last, points found); nothing without a file."""
        if not self.path.exists():
            return None, (-1, -1), None
        bounds, file = Bounds.load(self.path), read_archive(self.path)
        try:
            problem, dials = str(file["run_problem"]), str(file["run_effort"])
            rung, layer = (int(number) for number in file["run_position"])
            points = np.asarray(file["run_points"], dtype=np.float64)
        except (KeyError, ValueError, TypeError):
            raise ReadError(f"{self.path}: holds bounds, but no run to resume; give them as bounds= instead") from None
        if problem != self.problem:
            raise OptionError(
                f"{self.path} belongs to another network or domain; give another file, or delete it to start anew"
            )
        return bounds, ((rung, layer) if dials == _dials(effort) else (-1, -1)), points

    def write(self, bounds: Bounds, effort: Effort, position: tuple[int, int], points: Floats) -> None:
        """Replace the file at once, so that a kill leaves either the old or the new one."""
        run: dict[str, Any] = {"run_problem": self.problem, "run_effort": _dials(effort), "run_points": points}
        run["run_position"] = np.array(position)
        half = self.path.with_name(self.path.name + ".part")
        try:
            with open(half, "wb") as file:
                np.savez(file, allow_pickle=False, **bounds.arrays(), **run)
            os.replace(half, self.path)
        except OSError as error:
            raise OptionError(f"cannot write {self.path}: {error}") from None


def fingerprint(network: Network, box: Box, polytope: Polytope | None) -> str:
    """A digest of the weights, the kinds of the neurons and the domain."""
    digest = hashlib.sha256()
    arrays: list[Any] = [box.lower, box.upper]
    arrays += [] if polytope is None else [polytope.A, polytope.b]
    for layer in network.layers:
        W = layer.weight
        arrays += [W.data, W.indices.astype(np.int64), W.indptr.astype(np.int64)] if sparse.issparse(W) else [W]
        arrays += [layer.bias, layer.relu]
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _dials(effort: Effort) -> str:
    """What decides the result: everything but the total time."""
    return repr(replace(effort, seconds=None))
