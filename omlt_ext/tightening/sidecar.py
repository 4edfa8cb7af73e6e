"""A long run's file: the bounds so far and how far it came, written after each layer, read when it goes on."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..archive import read_archive, write_archive
from ..bounds import Bounds
from ..domain import Box, Floats, Ints, Polytope
from ..errors import OptionError, ReadError
from ..network import Network
from .effort import Effort

Position = tuple[int, int]  # (position of the rung on the ladder, layer)


@dataclass(frozen=True, eq=False)
class Saved:
    """What a file holds: bounds, points found (m, n_in), and how far the run came.

    `position` is the last layer finished, None for none, `finished` neurons of the next one that are done. `same` is
    False where the run had another effort or started from other bounds: this one may use what the other found, but does
    not go on where it ended.
    """

    bounds: Bounds
    points: Floats
    position: Position | None
    finished: Ints
    same: bool


class Sidecar:
    """The file of one run: of a network over a domain, from given bounds, with an effort.

    It is an ordinary file of bounds, which `Bounds.load` reads, with five entries more. Raises `OptionError` where the
    file belongs to another network or domain, or cannot be written, `ReadError` where it is damaged or holds no run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        network: Network,
        box: Box,
        polytope: Polytope | None,
        bounds: Bounds | None,
        effort: Effort,
    ) -> None:
        try:
            self.path = Path(path)
        except TypeError:
            raise OptionError(f"resume is {path!r}; it must be the name of a file") from None
        if self.path.is_dir() or not self.path.resolve().parent.is_dir():
            raise OptionError(f"resume={str(path)!r} is no file in an existing folder")
        self.n_inputs = network.n_inputs
        self.problem = _digest(_numbers_of(network, box, polytope))
        given = [] if bounds is None else [*bounds.lower, *bounds.upper]
        self.run = f"{replace(effort, seconds=None)!r} from {_digest(given)}"  # all that decides the result

    def read(self) -> Saved | None:
        """What the file holds, None where there is none."""
        if not self.path.exists():
            return None
        bounds, file = Bounds.load(self.path), read_archive(self.path)
        try:
            problem, run = str(file["run_problem"]), str(file["run"])
            rung, layer = (int(number) for number in file["run_position"])
            points = np.asarray(file["run_points"], dtype=np.float64)
            finished = np.asarray(file["run_finished"], dtype=np.int64)
        except (KeyError, ValueError, TypeError):
            raise ReadError(
                f"{self.path}: holds bounds, but no run to resume; tighten_bounds takes them as bounds=, a run "
                "needs a file of its own"
            ) from None
        if problem != self.problem:
            raise OptionError(
                f"{self.path} belongs to another network or domain; give another file, or delete it to start anew"
            )
        if points.shape[1:] != (self.n_inputs,):
            raise ReadError(f"{self.path}: the points found have shape {points.shape}; the file is damaged")
        if run != self.run:
            return Saved(bounds, points, None, finished[:0], same=False)
        return Saved(bounds, points, (rung, layer) if rung >= 0 else None, finished, same=True)

    def write(self, bounds: Bounds, position: Position | None, points: Floats, finished: Ints | None = None) -> None:
        """Replace the file at once, so that a kill leaves either the old or the new one."""
        entries: dict[str, Any] = {"run_problem": np.array(self.problem), "run": np.array(self.run)}
        entries |= {"run_position": np.array(position or (-1, -1)), "run_points": points}
        entries["run_finished"] = np.empty(0, dtype=np.int64) if finished is None else finished
        half = self.path.with_name(self.path.name + ".part")
        try:
            write_archive(half, bounds.arrays() | entries)
            os.replace(half, self.path)
        except OSError as error:
            raise OptionError(f"cannot write {self.path}: {error}") from None


def _numbers_of(network: Network, box: Box, polytope: Polytope | None) -> list[Any]:
    """The weights, the kinds of the neurons and the domain."""
    arrays: list[Any] = [box.lower, box.upper]
    arrays += [] if polytope is None else [polytope.A, polytope.b]
    for layer in network.layers:
        W = layer.weight
        arrays += [W.data, W.indices.astype(np.int64), W.indptr.astype(np.int64)] if sparse.issparse(W) else [W]
        arrays += [layer.bias, layer.relu]
    return arrays


def _digest(arrays: list[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
