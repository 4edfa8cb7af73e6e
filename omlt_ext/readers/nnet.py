"""`.nnet` files: the text format of aircraft collision avoidance networks.

After comment lines (`//`) come, one line each: the numbers of layers, inputs, outputs and the widest layer; the layer
sizes; a flag that nothing uses; the least and the largest inputs l, u; the means m and the ranges r of the inputs,
each followed by that of the outputs, mu and rho. Then for each layer its rows of W and its biases b, one line each.
The file means y = rho f((x - m) / r) + mu: the scaling is folded into the first and the last layer.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..domain import Box, Floats
from ..errors import NetworkError, ReadError
from ..network import Layer, Network, compact
from .check import check_import


class _Line(NamedTuple):
    number: int
    values: list[float]


def read_nnet(path: str | PathLike[str]) -> Network:
    """The network of a `.nnet` file, from inputs in their own units to outputs in theirs.

    The file's least and largest inputs become `input_box`; evaluators of the format clip inputs to that box, and
    inside it the two are the same function. There is no box where one of those limits is infinite. Raises
    `ReadError` with the line's number where the file is short, not numeric, or inconsistent with its header.

    >>> import tempfile
    >>> text = ["// 3 (x - 1) / 2 + 4", "1,1,1,1,", "1,1,", "0,", "-1,", "5,", "1,4,", "2,3,", "1,", "0,"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "scaled.nnet")
    ...     _ = path.write_text("\\n".join(text))
    ...     network = read_nnet(path)
    >>> network([2.0]), network.input_box
    (array([5.5]), Box([-1.], [5.]))
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise ReadError(f"{path} cannot be opened: {error}") from None
    lines = _Lines(path, text)
    sizes = lines.header()
    n = sizes[0]
    box = lines.box(lines.take("least inputs", n), lines.take("largest inputs", n), n)
    means, ranges = lines.scaling("means", n), lines.scaling("ranges", n)
    if 0.0 in ranges.values[:n]:
        raise lines.error(
            ranges.number, f"the range of input {ranges.values.index(0.0)} is 0; inputs are divided by it"
        )
    weights: list[Floats] = []
    biases: list[Floats] = []
    first = lines.at
    for k in range(1, len(sizes)):
        rows = [lines.exactly(f"row {i} of the weight of layer {k}", sizes[k - 1]) for i in range(sizes[k])]
        weights.append(np.array(rows).reshape(sizes[k], sizes[k - 1]))
        biases.append(np.array([lines.exactly(f"bias {i} of layer {k}", 1)[0] for i in range(sizes[k])]))
    lines.end()
    m, r = np.array(means.values[:n]), np.array(ranges.values[:n])
    mu, rho = means.values[n], ranges.values[n]
    weights[0] = weights[0] / r
    biases[0] = biases[0] - weights[0] @ m
    weights[-1] = weights[-1] * rho
    biases[-1] = biases[-1] * rho + mu
    last = len(weights) - 1
    try:
        layers = [Layer(compact(W), b, relu=k < last) for k, (W, b) in enumerate(zip(weights, biases, strict=True))]
        network = Network(layers, input_box=box, source=path.name)
    except NetworkError as error:  # an overflow while folding
        raise ReadError(f"{path}: {error}") from None
    rows = [line.values for line in lines.lines]
    check_import(network, lambda x: _evaluate(rows[first:], sizes, (x - m) / r) * rho + mu, source=path.name)
    return network


def _evaluate(rows: list[list[float]], sizes: list[int], h: Floats) -> Floats:
    """f(h) for h (batch, n_in), read off the file's rows one neuron at a time."""
    at = 0
    for k, size in enumerate(sizes[1:], start=1):
        z = [h @ np.array(row) + bias[0] for row, bias in zip(rows[at : at + size], rows[at + size :], strict=False)]
        h = np.stack(z, axis=1)
        h = np.maximum(h, 0.0) if k < len(sizes) - 1 else h
        at += 2 * size
    return h


class _Lines:
    """The lines of numbers of a file, taken one after another."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.at = 0
        self.lines = []
        for number, line in enumerate(text.splitlines(), start=1):
            body = line.strip()
            if body and not body.startswith("//"):
                self.lines.append(self._parse(number, body))
        self.length = len(text.splitlines()) + 1

    def _parse(self, number: int, body: str) -> _Line:
        fields = [field.strip() for field in body.split(",")]
        while fields and not fields[-1]:
            fields.pop()
        try:
            values = [float(field) for field in fields]
        except ValueError:
            bad = next(field for field in fields if not _is_number(field))
            raise self.error(number, f"{bad[:40]!r} is not a number") from None
        if "_" in body or any(value != value for value in values):
            raise self.error(number, f"{body[:40]!r} holds something that is not a number")
        return _Line(number, values)

    def error(self, number: int, message: str) -> ReadError:
        return ReadError(f"{self.path}, line {number}: {message}")

    def take(self, what: str, least: int) -> _Line:
        """The next line, which must hold at least `least` values: some writers append one for the outputs."""
        if self.at >= len(self.lines):
            raise self.error(self.length, f"the file ends where the {what} should stand; it is truncated")
        line = self.lines[self.at]
        self.at += 1
        if len(line.values) < least:
            raise self.error(line.number, f"expected the {what}, {least} numbers, found {len(line.values)}")
        return line

    def header(self) -> list[int]:
        """The layer sizes (n_in, ..., n_out), checked against the counts in the first line."""
        counts = self.take("numbers of layers, inputs, outputs and the widest layer", 4)
        n_layers, n_in, n_out = self.whole(counts, 3)
        line = self.take("layer sizes", n_layers + 1)
        sizes = self.whole(line, len(line.values))
        if len(sizes) != n_layers + 1:
            raise self.error(line.number, f"{len(sizes)} layer sizes for {n_layers} layers; {n_layers + 1} expected")
        if (sizes[0], sizes[-1]) != (n_in, n_out):
            ends = f"{sizes[0]} inputs and {sizes[-1]} outputs"
            raise self.error(line.number, f"the layer sizes say {ends}, line {counts.number} says {n_in} and {n_out}")
        self.take("unused flag", 1)
        return sizes

    def whole(self, line: _Line, count: int) -> list[int]:
        for value in line.values[:count]:
            if not (1 <= value <= 1e9 and value == int(value)):
                raise self.error(line.number, f"{value:g} is not a number of layers or neurons")
        return [int(value) for value in line.values[:count]]

    def box(self, lower: _Line, upper: _Line, n: int) -> Box | None:
        lo, hi = np.array(lower.values[:n]), np.array(upper.values[:n])
        if (lo > hi).any():
            j = int(np.flatnonzero(lo > hi)[0])
            raise self.error(upper.number, f"input {j}: the largest value {hi[j]} lies below the least value {lo[j]}")
        return Box(lo, hi) if np.isfinite(lo).all() and np.isfinite(hi).all() else None

    def scaling(self, what: str, n: int) -> _Line:
        line = self.take(f"{what} of the inputs and of the outputs", n + 1)
        if not np.isfinite(line.values).all():
            raise self.error(line.number, f"the {what} must be finite")
        if any(value != line.values[n] for value in line.values[n + 1 :]):
            raise self.error(line.number, f"several {what} for the outputs; the format has one for all of them")
        return line

    def exactly(self, what: str, n: int) -> list[float]:
        line = self.take(what, n)
        if len(line.values) != n:
            raise self.error(line.number, f"expected {what}, {n} numbers, found {len(line.values)}")
        if not np.isfinite(line.values).all():
            raise self.error(line.number, f"{what} holds a number that is not finite")
        return line.values

    def end(self) -> None:
        if self.at < len(self.lines):
            number = self.lines[self.at].number
            raise self.error(number, "numbers after the last layer; the header's layer sizes do not match the file")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
