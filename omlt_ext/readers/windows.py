"""Sliding windows: convolution, its transpose and pooling as constant maps on row-major tensors (N, C, spatial...).

Symbols: S input size, K kernel size, s stride, d dilation, p padding before and after, P number of output positions,
each per spatial axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..domain import Floats
from ..errors import ReadError
from .symbolic import MAX_NONZEROS, Ints, Matrix, units


@dataclass(frozen=True)
class Windows:
    """Where a kernel is laid over an input: entry k of window o covers o s + k d - p_before along every axis.

    All fields have one entry per spatial axis; `positions` is the number P of windows.

    >>> Windows((4,), (2,), stride=(2,), dilation=(1,), before=(0,), after=(0,), positions=(2,)).index()
    array([[0, 1],
           [2, 3]])
    """

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    positions: tuple[int, ...]

    def _places(self, axis: int) -> Ints:
        """(P, K): the input coordinate under every kernel entry along one axis; outside 0..S-1 it is padding."""
        start = np.arange(self.positions[axis], dtype=np.int64) * self.stride[axis] - self.before[axis]
        return start[:, None] + np.arange(self.kernel[axis], dtype=np.int64) * self.dilation[axis]

    def index(self) -> Ints:
        """(prod P, prod K): the flat input position under every kernel entry of every window, -1 in the padding."""
        flat = np.zeros((1, 1), dtype=np.int64)
        for axis, size in enumerate(self.size):
            place = self._places(axis)
            place = np.where((place >= 0) & (place < size), place, -1)[None, :, None, :]
            before = flat[:, None, :, None]
            joined = np.where((place < 0) | (before < 0), -1, before * size + place)
            flat = joined.reshape(flat.shape[0] * place.shape[1], flat.shape[1] * place.shape[3])
        return flat

    def cells(self, include_padding: bool) -> Ints:
        """(prod P,): entries of every window on the input, or on the input and its stated padding."""
        count = np.ones(1, dtype=np.int64)
        for axis, size in enumerate(self.size):
            low, high = (self.before[axis], self.after[axis]) if include_padding else (0, 0)
            place = self._places(axis)
            inside = ((place >= -low) & (place < size + high)).sum(axis=1)
            count = (count[:, None] * inside).ravel()
        return count


def place_windows(
    size: Sequence[int],
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[int],
    same: str | None = None,
    ceil: bool = False,
) -> Windows:
    """The windows of a convolution or pooling.

    `pads` holds all beginnings, then all ends. `same` ("upper" or "lower") chooses the padding instead, so that
    P = ceil(S / s), the odd cell at the end or at the beginning. Else P = floor or ceil of (S + p - d (K - 1) - 1) / s
    + 1; with `ceil`, windows that would start past the input and its padding before are left out. `ReadError` where a
    number cannot be.
    """
    n = len(size)
    for name, values, least in (("kernel", kernel, 1), ("strides", stride, 1), ("dilations", dilation, 1)):
        if len(values) != n or min(values) < least:
            raise ReadError(
                f"{name} {tuple(values)} must hold {n} numbers, one per spatial axis, each at least {least}"
            )
    if len(pads) != 2 * n or min(pads) < 0:
        raise ReadError(f"pads {tuple(pads)} must hold {2 * n} numbers, beginnings then ends, none negative")
    S, K, s, d = (np.array(v, dtype=np.int64) for v in (size, kernel, stride, dilation))
    span = d * (K - 1) + 1
    before, after = np.array(pads[:n], dtype=np.int64), np.array(pads[n:], dtype=np.int64)
    if same is not None:
        P = -(-S // s)
        total = np.maximum((P - 1) * s + span - S, 0)
        before = total // 2 if same == "upper" else total - total // 2
        after = total - before
    else:
        room = S + before + after - span
        P = (-(-room // s) if ceil else room // s) + 1
        if ceil:
            P = np.where((P - 1) * s >= S + before, P - 1, P)
    if (P < 1).any():
        raise ReadError(f"the kernel of span {tuple(span.tolist())} does not fit the input of size {tuple(size)}")
    return Windows(*(tuple(v.tolist()) for v in (S, K, s, d, before, after, P)))


def convolution(weight: Floats, windows: Windows, channels: int, groups: int = 1) -> Matrix:
    """The convolution of one example as CSR (O prod P, channels prod S).

    `weight` (O, channels / groups, K...).

    >>> windows = place_windows((3,), (2,), stride=(1,), dilation=(1,), pads=(0, 0))
    >>> convolution(np.array([[[1.0, -1.0]]]), windows, channels=1).toarray()
    array([[ 1., -1.,  0.],
           [ 0.,  1., -1.]])
    """
    n_out, per_group = weight.shape[:2]
    if groups < 1 or n_out % groups or channels != per_group * groups or weight.shape[2:] != windows.kernel:
        raise ReadError(f"a weight of shape {weight.shape} in {groups} groups does not take {channels} channels")
    index = windows.index()
    P, cells, size = index.shape[0], index.shape[1], int(np.prod(windows.size))
    if n_out * per_group * P * cells > MAX_NONZEROS:
        raise ReadError(f"a convolution of {n_out * per_group * P * cells} products is too large to lower")
    first = np.repeat(np.arange(groups) * per_group, n_out // groups)  # first input channel of each output channel
    channel = first[:, None] + np.arange(per_group)
    columns = channel[:, None, :, None] * size + index[None, :, None, :]
    values = np.broadcast_to(weight.reshape(n_out, 1, per_group, cells), columns.shape)
    used = np.broadcast_to(index[None, :, None, :] >= 0, columns.shape) & (values != 0)
    ends = np.cumsum(used.reshape(n_out * P, -1).sum(axis=1))
    shape = (n_out * P, channels * size)
    return sparse.csr_array((values[used], columns[used], np.r_[0, ends]), shape=shape)


def transposed_convolution(weight: Floats, windows: Windows, channels: int, groups: int = 1) -> Matrix:
    """The transposed convolution of one example as CSR: the transpose of the convolution from its output to its input.

    `weight` (channels, O / groups, K...); `windows` lie over the output, one for each input position.
    """
    if weight.shape[0] != channels:
        raise ReadError(f"a weight of shape {weight.shape} does not take {channels} channels")
    return sparse.csr_array(convolution(weight, windows, weight.shape[1] * groups, groups).T)


def average_pool(windows: Windows, planes: int, include_padding: bool) -> Matrix:
    """Means over the windows in each of `planes` planes, as CSR (planes prod P, planes prod S)."""
    index = windows.index()
    count = np.maximum(windows.cells(include_padding), 1)
    row, cell = np.nonzero(index >= 0)
    entries = (1.0 / count[row], (row, index[row, cell]))
    one = sparse.csr_array(entries, shape=(index.shape[0], int(np.prod(windows.size))))
    return per_example(one, planes)


def pool_index(windows: Windows, planes: int) -> Ints:
    """(planes prod P, prod K): the flat positions under every window of each of `planes` planes, -1 in the padding."""
    index = windows.index()
    start = np.arange(planes)[:, None, None] * int(np.prod(windows.size))
    return np.where(index < 0, -1, index + start).reshape(-1, index.shape[1])


def per_example(K: Matrix, count: int) -> Matrix:
    """The same map on each of `count` examples: block diagonal."""
    return K if count == 1 else sparse.csr_array(sparse.kron(units(np.arange(count), count), K, format="csr"))
