"""The one network that every algorithm is written against: layers of affine maps and ReLUs.

Symbols, as in the papers: W weight, b bias, z = W h + b pre-activation, h post-activation (h = max(0, z) where the
neuron is a ReLU, h = z where it is linear), h^0 = x the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from .domain import Box, as_box, numbers
from .errors import NetworkError, OmltExtError, ShapeError

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Weight: TypeAlias = Any  # dense NDArray[np.float64] or scipy.sparse.csr_array
Pattern: TypeAlias = tuple[Bools, ...]

SPARSE_BELOW = 0.25  # share of nonzeros under which readers keep a weight as CSR


@dataclass(frozen=True, eq=False, init=False)
class Layer:
    """One layer z = W h + b, followed by max(0, z) where `relu` is True.

    `weight` (n_out, n_in), dense or sparse (kept as CSR), `bias` (n_out,), `relu` (n_out,) bool or one bool for all.
    The arrays are copied and made read-only. Raises `NetworkError` for NaN or infinite numbers and for shapes that
    do not fit.

    >>> layer = Layer([[1.0, -1.0]], [0.5], relu=True)
    >>> layer([[2.0, 1.0], [0.0, 1.0]])
    array([[1.5],
           [0. ]])
    """

    weight: Weight
    bias: Floats
    relu: Bools

    def __init__(self, weight: object, bias: ArrayLike, relu: bool | ArrayLike) -> None:
        W = _weight(weight)
        n_out = W.shape[0]
        b = np.array(numbers(bias, "bias", NetworkError))
        if b.shape != (n_out,):
            raise NetworkError(f"bias has shape {b.shape}, weight {W.shape}; bias must be ({n_out},)")
        mask = _mask(relu, "relu", NetworkError)
        if mask.shape not in ((), (n_out,)):
            raise NetworkError(f"relu has shape {mask.shape}; it must be one bool or ({n_out},)")
        mask = np.array(np.broadcast_to(mask, (n_out,)))
        values = W.data if sparse.issparse(W) else W
        if not np.isfinite(values).all():
            row, column = _first_bad(W)
            raise NetworkError(f"weight[{row}, {column}] is not a finite number")
        if not np.isfinite(b).all():
            j = int(np.flatnonzero(~np.isfinite(b))[0])
            raise NetworkError(f"bias[{j}] is {b[j]}, not a finite number")
        for array in (b, mask):
            array.setflags(write=False)
        object.__setattr__(self, "weight", W)
        object.__setattr__(self, "bias", b)
        object.__setattr__(self, "relu", mask)

    @property
    def n_in(self) -> int:
        return int(self.weight.shape[1])

    @property
    def n_out(self) -> int:
        return int(self.weight.shape[0])

    @property
    def nnz(self) -> int:
        """Nonzero weights."""
        return int(self.weight.nnz if sparse.issparse(self.weight) else np.count_nonzero(self.weight))

    @property
    def is_sparse(self) -> bool:
        return bool(sparse.issparse(self.weight))

    def pre_activation(self, h: ArrayLike) -> Floats:
        """z = W h + b for h of shape (n_in,) or (batch, n_in)."""
        points = _points(h, self.n_in, "layer")
        return np.asarray((self.weight @ points.T).T + self.bias)

    def activation(self, z: Floats) -> Floats:
        """h = max(0, z) at ReLUs, z at linear neurons."""
        return np.where(self.relu, np.maximum(z, 0.0), z)

    def __call__(self, h: ArrayLike) -> Floats:
        return self.activation(self.pre_activation(h))

    def dense_weight(self) -> Floats:
        """The weight as a dense array (n_out, n_in)."""
        return np.asarray(self.weight.toarray()) if sparse.issparse(self.weight) else self.weight

    def csr_weight(self) -> sparse.csr_array:
        """The weight as CSR (n_out, n_in), without stored zeros."""
        if self.is_sparse:
            return self.weight
        if self.nnz < self.weight.size:
            return sparse.csr_array(self.weight)
        n_out, n_in = self.weight.shape  # no zeros to look for: several times faster
        columns = np.tile(np.arange(n_in), n_out)
        return sparse.csr_array((self.weight.ravel(), columns, np.arange(n_out + 1) * n_in), shape=(n_out, n_in))

    def __deepcopy__(self, memo: object) -> Layer:
        return self  # frozen

    def __reduce__(self) -> tuple[object, ...]:
        return Layer, (self.weight, self.bias, self.relu)  # through the constructor: pickled arrays come back writable


@dataclass(frozen=True, eq=False, init=False)
class Network:
    """A piecewise-linear feed-forward network: call it to evaluate it.

    `layers`: one or more `Layer`s, each as wide at its input as the one before at its output. `input_shape` and
    `output_shape` are the shapes in the source (row-major, without the batch); the network itself works on flat
    vectors. `input_box` is the box the source declares for its inputs, if any. `input_slices` and `output_slices`
    name the parts of the flat vectors when the source has several inputs or outputs. `source` says where it came from.

    >>> network = Network([Layer([[1.0, -1.0]], [0.0], relu=True), Layer([[2.0]], [1.0], relu=False)])
    >>> network([3.0, 1.0])
    array([5.])
    >>> network([[3.0, 1.0], [1.0, 3.0]])
    array([[5.],
           [1.]])
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_box: Box | None
    input_slices: dict[str, slice] = field(repr=False)
    output_slices: dict[str, slice] = field(repr=False)
    source: str

    def __init__(
        self,
        layers: Iterable[Layer],
        *,
        input_shape: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        input_box: Box | None = None,
        input_slices: Mapping[str, slice] | None = None,
        output_slices: Mapping[str, slice] | None = None,
        source: str = "arrays",
    ) -> None:
        if not isinstance(layers, Iterable):
            raise NetworkError(f"layers must be a list of Layers, not of type {type(layers).__name__}")
        stack = tuple(layers)
        if not stack:
            raise NetworkError("a network needs at least one layer")
        for k, layer in enumerate(stack):
            if not isinstance(layer, Layer):
                kind = type(layer).__name__
                raise NetworkError(f"layer {k} is of type {kind}, not Layer; load_network reads a list of (W, b)")
            if layer.n_in == 0 or layer.n_out == 0:
                sizes = f"{layer.n_in} inputs and {layer.n_out} outputs"
                raise NetworkError(f"layer {k} has {sizes}; each layer of a network needs inputs and outputs")
        for k, (before, after) in enumerate(pairwise(stack)):
            if before.n_out != after.n_in:
                raise NetworkError(f"layer {k} has {before.n_out} outputs, layer {k + 1} takes {after.n_in} inputs")
        n_in, n_out = stack[0].n_in, stack[-1].n_out
        shapes = {"input_shape": (input_shape, n_in), "output_shape": (output_shape, n_out)}
        for name, (shape, size) in shapes.items():
            if shape is not None and (min(shape, default=1) < 1 or int(np.prod(shape)) != size):
                raise NetworkError(f"{name} {tuple(shape)} does not hold {size} numbers")
        values = {
            "layers": stack,
            "input_shape": tuple(int(s) for s in input_shape) if input_shape is not None else (n_in,),
            "output_shape": tuple(int(s) for s in output_shape) if output_shape is not None else (n_out,),
            "input_box": None if input_box is None else as_box(input_box, n_in),
            "input_slices": dict(input_slices or {"input": slice(0, n_in)}),
            "output_slices": dict(output_slices or {"output": slice(0, n_out)}),
            "source": source,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def n_inputs(self) -> int:
        return self.layers[0].n_in

    @property
    def n_outputs(self) -> int:
        return self.layers[-1].n_out

    @property
    def n_relus(self) -> int:
        """Number of ReLU neurons in all layers."""
        return sum(int(layer.relu.sum()) for layer in self.layers)

    def __call__(self, x: ArrayLike) -> Floats:
        """f(x): (n_inputs,) -> (n_outputs,), (batch, n_inputs) -> (batch, n_outputs)."""
        h = _points(x, self.n_inputs, "network")
        for layer in self.layers:
            h = layer(h)
        return h

    def error(self, x: ArrayLike, y: ArrayLike) -> float:
        """How far y is from f(x): max_j |y_j - f_j(x)| / (1 + |f(x)|_inf), for one point.

        >>> Network([Layer([[2.0]], [1.0], relu=False)]).error([1.0], [5.0])
        0.5
        """
        truth = self(x)
        return float(np.abs(np.asarray(y) - truth).max() / (1.0 + np.abs(truth).max()))

    def pre_activations(self, x: ArrayLike) -> tuple[Floats, ...]:
        """z of every layer at x, each (n,) or (batch, n)."""
        h, stack = _points(x, self.n_inputs, "network"), []
        for layer in self.layers:
            z = layer.pre_activation(h)
            stack.append(z)
            h = layer.activation(z)
        return tuple(stack)

    def pattern(self, x: ArrayLike) -> Pattern:
        """The activation pattern at x: for each layer True where z > 0 or the neuron is linear.

        >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
        >>> network.pattern([2.0])
        (array([ True, False]), array([ True]))
        """
        zs = self.pre_activations(x)
        return tuple((z > 0) | ~layer.relu for z, layer in zip(zs, self.layers, strict=True))

    def affine_map(self, pattern: Sequence[ArrayLike]) -> tuple[Floats, Floats]:
        """(A, c) with f(x) = A x + c wherever the network has this activation pattern.

        A is (n_outputs, n_inputs), c (n_outputs,). Linear neurons count as active whatever the pattern says.

        >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 1.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
        >>> network.affine_map(network.pattern([0.5]))
        (array([[0.]]), array([1.]))
        """
        if len(pattern) != len(self.layers):
            raise ShapeError(f"the pattern has {len(pattern)} layers, the network {len(self.layers)}")
        A: Floats = np.eye(self.n_inputs)
        c: Floats = np.zeros(self.n_inputs)
        for k, (layer, part) in enumerate(zip(self.layers, pattern, strict=True)):
            active = _mask(part, f"pattern of layer {k}", ShapeError)
            if active.shape != (layer.n_out,):
                raise ShapeError(f"pattern of layer {k} has shape {active.shape}, not ({layer.n_out},)")
            active = active | ~layer.relu
            A = np.asarray(layer.weight @ A) * active[:, None]
            c = (np.asarray(layer.weight @ c) + layer.bias) * active
        return A, c

    def summary(self) -> str:
        """A table of the layers, one line each.

        >>> print(Network([Layer([[1.0, -1.0]], [0.0], relu=True)]).summary())
        network from arrays: 2 inputs, 1 output, 1 ReLU, 2 nonzero weights
          layer  inputs  neurons  ReLUs  nonzeros  stored
              0       2        1      1         2  dense
        """
        total = sum(layer.nnz for layer in self.layers)
        lines = [
            f"network from {self.source}: {_count(self.n_inputs, 'input')}, {_count(self.n_outputs, 'output')}, "
            f"{_count(self.n_relus, 'ReLU')}, {_count(total, 'nonzero weight')}",
            "  layer  inputs  neurons  ReLUs  nonzeros  stored",
        ]
        for k, layer in enumerate(self.layers):
            stored = "CSR" if layer.is_sparse else "dense"
            relus = int(layer.relu.sum())
            lines.append(f"  {k:5d}  {layer.n_in:6d}  {layer.n_out:7d}  {relus:5d}  {layer.nnz:8d}  {stored}")
        if self.input_box is not None:
            lines.append(f"  input box: {self.input_box}")
        return "\n".join(lines)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network as ONNX (float64), with the sidecar of its input box beside it where it has one."""
        from .writers.onnx import save_onnx

        save_onnx(self, path)

    def __repr__(self) -> str:
        widths = "-".join(str(n) for n in (self.n_inputs, *(layer.n_out for layer in self.layers)))
        return f"<Network {widths} from {self.source}>"

    def __deepcopy__(self, memo: object) -> Network:
        return self  # frozen


def compact(weight: object) -> Weight:
    """The weight as dense or CSR, whichever suits its share of nonzeros (`SPARSE_BELOW`)."""
    if sparse.issparse(weight):
        matrix = sparse.csr_array(weight)
        small = matrix.nnz < SPARSE_BELOW * np.prod(matrix.shape)
        return matrix if small else np.asarray(matrix.toarray(), dtype=np.float64)
    dense = np.asarray(weight, dtype=np.float64)
    return sparse.csr_array(dense) if np.count_nonzero(dense) < SPARSE_BELOW * dense.size else dense


def dense(matrix: Any) -> Any:
    """A dense array from a dense or sparse one, of the same type of numbers."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)


def _weight(weight: Any) -> Weight:
    if sparse.issparse(weight):
        if weight.ndim != 2 or weight.dtype.kind == "c":
            raise NetworkError(f"weight is {weight.dtype} of shape {weight.shape}; it must be real and (n_out, n_in)")
        W = sparse.csr_array(weight, dtype=np.float64, copy=True)
        W.sum_duplicates()
        W.eliminate_zeros()
        for array in (W.data, W.indices, W.indptr):
            array.setflags(write=False)
        return W
    dense = np.array(numbers(weight, "weight", NetworkError), order="C")
    if dense.ndim != 2:
        raise NetworkError(f"weight has shape {dense.shape}; it must be (n_out, n_in)")
    dense.setflags(write=False)
    return dense


def _mask(values: object, what: str, error: type[OmltExtError]) -> Bools:
    if isinstance(values, np.ndarray) and values.dtype == np.bool_:
        return values
    mask = numbers(values, what, error)
    if not np.isin(mask, (0, 1)).all():  # NaN, text and counts are all true to NumPy
        raise error(f"{what} must hold True and False only")
    return mask.astype(bool)


def _points(x: ArrayLike, n_in: int, taker: str) -> Floats:
    points = numbers(x, "the point", ShapeError)
    if points.ndim not in (1, 2) or points.shape[-1] != n_in:
        raise ShapeError(f"the point has shape {points.shape}; this {taker} takes ({n_in},) or (batch, {n_in})")
    return points


def _first_bad(W: Weight) -> tuple[int, int]:
    if sparse.issparse(W):
        entry = int(np.flatnonzero(~np.isfinite(W.data))[0])
        return int(np.searchsorted(W.indptr, entry, side="right")) - 1, int(W.indices[entry])
    row, column = np.argwhere(~np.isfinite(W))[0]
    return int(row), int(column)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
