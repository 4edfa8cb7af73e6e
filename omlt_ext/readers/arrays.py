"""Plain arrays: a list of (W, b), ReLU between the layers, the last layer linear."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from ..errors import NetworkError, ReadError
from ..network import Layer, Network, compact


def read_arrays(pairs: Sequence[Any]) -> Network:
    """The network h <- max(0, W h + b) through all pairs but the last, which is linear: y = W h + b.

    `pairs` holds (W, b) with W (n_out, n_in), dense or sparse, and b (n_out,). A square weight given transposed
    cannot be told from one that is right: y = W h + b, not h W + b. Raises `ReadError` where an entry is not a pair
    of arrays, shapes do not follow each other (it says so when they would, transposed) or a number is not finite.

    >>> network = read_arrays([([[1.0, 0.0], [0.0, -1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [-0.5])])
    >>> network([2.0, -1.0])
    array([2.5])
    """
    if not pairs:
        raise ReadError("the list of (W, b) pairs is empty; a network needs at least one layer")
    stack = [_pair(k, pair) for k, pair in enumerate(pairs)]
    _check_chain(stack)
    layers = []
    for k, (W, b) in enumerate(stack):
        try:
            layers.append(Layer(W, b, relu=k < len(stack) - 1))
        except NetworkError as error:
            raise ReadError(f"pair {k}: {error}") from None
    return Network(layers, source="arrays")


def _pair(k: int, pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ReadError(f"entry {k} is not a pair (W, b) but a {type(pair).__qualname__}; give [(W, b), (W, b), ...]")
    W = _numbers(k, "W", pair[0]) if not sparse.issparse(pair[0]) else sparse.csr_array(pair[0])
    b = _numbers(k, "b", pair[1])
    if W.ndim != 2 or b.ndim != 1:
        raise ReadError(f"pair {k}: W has shape {W.shape} and b {b.shape}; they must be (n_out, n_in) and (n_out,)")
    if sparse.issparse(W) and (W.dtype.kind == "c" or not np.can_cast(W.dtype, np.float64, "same_kind")):
        raise ReadError(f"pair {k}: W holds {W.dtype} entries, not real numbers")
    return compact(W), b


def _numbers(k: int, name: str, values: Any) -> Any:
    if values is None or sparse.issparse(values):
        kind = "missing; give zeros" if values is None else "sparse; give a dense array"
        raise ReadError(f"pair {k}: {name} is {kind}")
    try:
        array = np.asarray(values)
    except Exception as error:  # a ragged list, or whatever a foreign array type raises
        raise ReadError(f"pair {k}: {name} is not an array of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise ReadError(f"pair {k}: {name} holds {array.dtype} entries, not real numbers")
    return array.astype(np.float64)


def _check_chain(stack: list[tuple[Any, Any]]) -> None:
    shapes = [W.shape for W, _ in stack]
    sizes = [b.size for _, b in stack]
    if _fits(shapes, sizes):
        return
    if _fits([shape[::-1] for shape in shapes], sizes):
        raise ReadError(
            f"the weights have shapes {shapes}: they fit each other only transposed. W must be (n_out, n_in), "
            "as in y = W x + b; give [(W.T, b) for W, b in pairs]"
        )
    for k, (shape, size) in enumerate(zip(shapes, sizes, strict=True)):
        if shape[0] != size:
            raise ReadError(f"pair {k}: W has shape {shape} and b {size} entries; b must have {shape[0]}")
    k = next(k for k, (before, after) in enumerate(pairwise(shapes)) if before[0] != after[1])
    raise ReadError(f"pair {k} gives {shapes[k][0]} outputs, pair {k + 1} takes {shapes[k + 1][1]} inputs")


def _fits(shapes: list[tuple[int, int]], sizes: list[int]) -> bool:
    chained = all(before[0] == after[1] for before, after in pairwise(shapes))
    return chained and all(shape[0] == size for shape, size in zip(shapes, sizes, strict=True))
