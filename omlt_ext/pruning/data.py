"""Samples that pruning may learn from, and the loss of a network on them.

cross-entropy   loss_n = log sum_c exp(y_nc) - y_n,t(n)      of the outputs y as logits, t(n) the label
squared error   loss_n = 1/2 |y_n - v_n|^2                   v_n the values that are wanted
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain import Box, Floats, Ints, numbers
from ..errors import OptionError, ShapeError
from ..network import Network

DRAWN = 1000  # points, where a method learns and there are no data


@dataclass(frozen=True, eq=False)
class Data:
    """`inputs` (N, n_in) with `labels` (N,), whole numbers from 0, or `values` (N, n_out): one of the two.

    `Data.of` makes it from what a user has.
    """

    inputs: Floats
    labels: Ints | None = None
    values: Floats | None = None

    @classmethod
    def of(cls, data: object, network: Network) -> Data:
        """From a `Data`, X, a pair (X, y), a dict or an .npz file with "X" and maybe "y", or an .npy file of X.

        X (N, n_in); y (N,) whole numbers are the classes of a network with several outputs; y (N,) or (N, n_out) of
        other numbers, or for one output, are values. Without y the values are the network's own outputs.

        >>> from omlt_ext import Layer
        >>> network = Network([Layer([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], relu=False)])
        >>> Data.of(([[1.0, 2.0], [3.0, 0.0]], [1, 0]), network).labels
        array([1, 0])

        Raises `ShapeError` where counts differ and `OptionError` for what is no data.
        """
        if isinstance(data, Data):
            given, wanted = data.inputs, data.labels if data.labels is not None else data.values
        else:
            given, wanted = _parts(data)
        X = np.array(numbers(given, "the data", OptionError))
        if X.ndim != 2 or X.shape[1] != network.n_inputs or X.shape[0] == 0:
            raise ShapeError(f"the data have shape {X.shape}; they must be (samples, {network.n_inputs})")
        _check_finite(X, "X")
        if wanted is None:
            return cls(X, values=network(X))
        y = np.asarray(wanted)
        if y.shape == (X.shape[0],) and network.n_outputs > 1:
            return cls(X, labels=_labels(y, network.n_outputs))
        v = np.array(numbers(wanted, "y", OptionError))
        v = v[:, None] if v.ndim == 1 and network.n_outputs == 1 else v
        if v.shape != (X.shape[0], network.n_outputs):
            raise ShapeError(
                f"y has shape {y.shape}; for {X.shape[0]} samples of {network.n_outputs} outputs it must be "
                f"({X.shape[0]},), classes, or ({X.shape[0]}, {network.n_outputs}), values"
            )
        _check_finite(v, "y")
        return cls(X, values=v)

    @classmethod
    def drawn(cls, network: Network, box: Box, rng: np.random.Generator) -> Data:
        """`DRAWN` points uniform in a box; the values are the network's own outputs."""
        return cls.of(box.sample(DRAWN, rng), network)

    @property
    def n_samples(self) -> int:
        return int(self.inputs.shape[0])

    def take(self, index: Any) -> Data:
        """Some of the samples."""
        labels, values = (None if part is None else part[index] for part in (self.labels, self.values))
        return Data(self.inputs[index], labels, values)

    def losses(self, outputs: Floats) -> Floats:
        """(N,): the loss of every sample where the network gives `outputs` (N, n_out)."""
        if self.labels is None:
            return np.asarray(0.5 * ((outputs - self._wanted) ** 2).sum(axis=1))
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        at_label = shifted[np.arange(self.labels.size), self.labels]
        return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - at_label)

    def slopes(self, outputs: Floats) -> Floats:
        """(N, n_out): the derivative of each sample's loss by its outputs."""
        if self.labels is None:
            return outputs - self._wanted
        share = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        share[np.arange(self.labels.size), self.labels] -= 1.0
        return share

    def loss(self, network: Network) -> float:
        """The mean loss of a network."""
        return float(self.losses(network(self.inputs)).mean())

    @property
    def _wanted(self) -> Floats:
        assert self.values is not None
        return self.values


def _parts(data: object) -> tuple[Any, Any]:
    """(X, y), y None where there is none."""
    if isinstance(data, (str, PathLike)):
        return _read(Path(data))
    if isinstance(data, Mapping):
        unknown = sorted(set(data) - {"X", "y"})
        if "X" not in data or unknown:
            raise OptionError(f"the data are a table with {', '.join(map(str, data)) or 'nothing'}; name them X and y")
        return data["X"], data.get("y")
    if isinstance(data, tuple):
        if len(data) != 2:
            raise OptionError(f"the data are a tuple of {len(data)}; give X or (X, y)")
        return data[0], data[1]
    return data, None


def _read(path: Path) -> tuple[Any, Any]:
    """X and y of an .npz file."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found, None
        with found as arrays:
            return _parts(dict(arrays))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        # NumPy's advice is to allow pickles.
        why = "it holds no arrays of numbers" if "pickle" in str(error) else error
        raise OptionError(f"cannot read the data in {path}: {why}; they must be an .npz file with X and y") from None


def _labels(y: NDArray[Any], n_outputs: int) -> Ints:
    """Classes, checked."""
    whole = np.asarray(numbers(y, "y", OptionError))
    if not (np.isfinite(whole).all() and (whole == np.round(whole)).all()):
        raise OptionError(f"y must hold classes, whole numbers from 0 to {n_outputs - 1}")
    if whole.min() < 0 or whole.max() >= n_outputs:
        n = int(np.flatnonzero((whole < 0) | (whole >= n_outputs))[0])
        raise OptionError(f"y[{n}] is {int(whole[n])}; the network has the classes 0 to {n_outputs - 1}")
    return np.asarray(whole.astype(np.int64))


def _check_finite(values: Floats, name: str) -> None:
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise OptionError(f"{name}[{row}, {column}] is {values[row, column]}; it must be a finite number")
