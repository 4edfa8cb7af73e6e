"""Cuts of a model's networks: what the separators of all its layers find at a point.

A separator (`Encoding.separator`) belongs to one layer and knows rows that hold at every point of the network. Which
ones those are is the formulation's affair; here they are put on the model's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy import sparse

from .domain import Floats, Ints
from .errors import OptionError
from .milp import EmbeddedNetwork, MatrixModel, renumbered
from .network import Bools

SLACK = 1e-6  # relative to max(1, |end|): a row further than this from its ends is slack


@dataclass(frozen=True, eq=False)
class Cuts:
    """Rows lower <= A x <= upper over a model's columns; row i is for `neuron[i]` of layer `layer[i]` of a network.

    `network[i]` is that network's number in the model.
    """

    A: sparse.csr_array
    lower: Floats
    upper: Floats
    network: Ints
    layer: Ints
    neuron: Ints

    @property
    def size(self) -> int:
        return int(self.neuron.size)

    def take(self, rows: Ints | Bools) -> Cuts:
        """Some of them."""
        ends = self.lower[rows], self.upper[rows]
        return Cuts(sparse.csr_array(self.A[rows]), *ends, self.network[rows], self.layer[rows], self.neuron[rows])

    def tight(self, x: Floats) -> Bools:
        """Which rows x meets at an end, or violates."""
        activity = self.A @ x
        slack = np.minimum(activity - self.lower, self.upper - activity)
        end = np.where(np.isfinite(self.upper), self.upper, self.lower)
        return np.asarray(slack <= SLACK * np.maximum(1.0, np.abs(end)))

    @classmethod
    def join(cls, parts: Sequence[Cuts]) -> Cuts:
        """All of several, at least one."""
        A = sparse.csr_array(sparse.vstack([part.A for part in parts], format="csr"))
        names = ("lower", "upper", "network", "layer", "neuron")
        return cls(A, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Separation:
    """The separators of all networks in a model: call it with a point for the cuts that the point violates.

    A network is left out where the model does not force it: where its binaries are relaxed in the model itself, or
    rows of its encodings are missing (`complete` (networks,) says which are all there).
    """

    def __init__(self, model: MatrixModel, complete: Sequence[bool] | None = None) -> None:
        self.n_columns = model.n_columns
        self.parts = [
            (i, k, encoding.separator, network)
            for i, network in enumerate(model.networks)
            if (complete is None or complete[i]) and _whole(model, network)
            for k, encoding in enumerate(network.encodings)
            if encoding.separator is not None
        ]

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def rounds(self) -> int:
        """The most rounds that any of them asks for."""
        return max((separator.rounds for _, _, separator, _ in self.parts), default=0)

    @property
    def callback(self) -> bool:
        """Whether any of them asks for a callback."""
        return any(separator.callback for _, _, separator, _ in self.parts)

    def none(self) -> Cuts:
        """No cuts."""
        nothing, empty = np.empty(0), np.empty(0, dtype=np.int64)
        return Cuts(sparse.csr_array((0, self.n_columns)), nothing, nothing, empty, empty, empty)

    def __call__(self, x: Floats) -> Cuts:
        found = [self.none()]
        for i, k, separator, network in self.parts:
            rows = separator(network.local(k, x))
            indices, data, counts = renumbered(rows.matrix, network.columns[k])
            starts = np.concatenate([[0], np.cumsum(counts)])
            A = sparse.csr_array((data, indices, starts), shape=(counts.size, self.n_columns))
            A.sum_duplicates()  # two inputs may be one column
            network_of, layer_of = np.full(counts.size, i), np.full(counts.size, k)
            found.append(Cuts(A, rows.lower, rows.upper, network_of, layer_of, rows.neuron))
        return Cuts.join(found)


def _whole(model: MatrixModel, network: EmbeddedNetwork) -> bool:
    """Whether the network's binaries are binaries in the model."""
    layers = zip(network.encodings, network.groups, strict=True)
    return all(model.integer[groups[group.name]].all() for e, groups in layers for group in e.columns if group.integer)


def check_limits(rounds: object, time_limit: object) -> None:
    """Raise `OptionError` for a number of rounds or of seconds that cannot be one; None is no limit of one's own."""
    if rounds is not None and (isinstance(rounds, bool) or not isinstance(rounds, Integral) or rounds < 0):
        raise OptionError(f"rounds is {rounds!r}; it must be a whole number of at least 0, or None")
    if time_limit is not None and not (isinstance(time_limit, Real) and float(time_limit) >= 0):
        raise OptionError(f"time_limit is {time_limit!r}; it must be a number of at least 0, or None")
