"""Weighted sums cut into groups: what `Partition` and `PSplit` share.

Symbols: z_j = sum_i W_ji x_i + b_j; groups S_jk of a neuron's inputs, each input in one; s_jk the sum of W_ji x_i over
S_jk, l_jk <= s_jk <= u_jk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats, Ints
from omlt_ext.draft import Draft, own_minus
from omlt_ext.encoding import LayerBounds
from omlt_ext.errors import FormulationError, OptionError
from omlt_ext.network import Bools, Layer
from omlt_ext.propagation.interval import affine_range
from omlt_ext.propagation.linear import METHODS
from omlt_ext.propagation.rounding import gamma, round_up

FEW = 8  # groups up to this number are gathered one by one
Count: TypeAlias = "int | str | Sequence[Sequence[int]]"  # how many groups, "all", or the inputs in each


@dataclass(frozen=True, eq=False)
class Sums:
    """Group sums of a layer's neurons: sum g belongs to `neuron[g]` = unstable[split[row[g]]] and has the key `key[g]`.

    `split`: which of the draft's unstable neurons have two groups or more. `column`: the sums' columns, `lower` and
    `upper` their ranges.
    """

    split: Ints
    row: Ints
    neuron: Ints
    key: Ints
    column: Ints
    lower: Floats
    upper: Floats

    def constant(self, start: Floats) -> Floats:
        """start + sum_k l_jk for every neuron of `split`, rounded up."""
        total = start + np.bincount(self.row, self.lower, self.split.size)
        reach = np.abs(start) + np.bincount(self.row, np.abs(self.lower), self.split.size)
        terms = np.bincount(self.row, minlength=self.split.size).astype(np.float64) + 1.0
        return round_up(total, gamma(terms) * reach)


def checked_groups(groups: Count, effort: str) -> Count:
    """The groups, a number as Python's own.

    Raises `OptionError` for a number of groups below 1, groups that overlap or leave out, and an unknown effort.
    """
    if effort not in METHODS:
        raise OptionError(f"effort is {effort!r}; choose one of {', '.join(map(repr, METHODS))}")
    if isinstance(groups, Sequence) and not isinstance(groups, str):
        inputs = sorted(i for group in groups for i in group)
        if inputs != list(range(len(inputs))) or not inputs:
            raise OptionError(f"groups {groups!r} must hold each of the layer's inputs 0, 1, ... once")
    elif groups != "all":
        if not isinstance(groups, Integral) or isinstance(groups, bool) or groups < 1:
            raise OptionError(f"{groups!r} groups; give a number from 1 on, 'all', or the inputs of each group")
        return int(groups)
    return groups


def add_sums(
    draft: Draft, layer: Layer, bounds: LayerBounds, groups: Count, by: str, seed: int, effort: str, name: str
) -> Sums:
    """Write s_jk as columns `name`, with rows s = W x and z = sum s + b, for unstable neurons with two groups or more.

    Inputs of zero width count as members of a neuron's first group. The ranges are those of interval arithmetic, met
    with what `effort` finds where a sum has two terms or more.
    """
    low, high = (np.asarray(end, dtype=np.float64) for end in (bounds.input_lower, bounds.input_upper))
    j = draft.unstable if groups != 1 else draft.unstable[:0]
    W = layer.csr_weight()
    matrix, neuron, key = split_rows(W if j.size == layer.n_out else W[j], high > low, groups, by, seed)
    lower, upper = _ranges(matrix, bounds, low, high, effort)
    column = draft.add_columns(name, j[neuron], lower, upper, key=key)
    draft.add_matrix(f"{name}_sum", j[neuron], own_minus(column, matrix), lower=0.0, upper=0.0, key=key)
    split, row = np.unique(neuron, return_inverse=True)
    own, whole = np.arange(split.size), j[split]
    b = layer.bias[whole]
    draft.without_affine(whole)
    draft.add_entries("affine_sum", whole, [(own, draft.z[whole], 1.0), (row, column, -1.0)], lower=b, upper=b)
    return Sums(split, row, j[neuron], key, column, lower, upper)


def _ranges(matrix: Any, bounds: LayerBounds, low: Floats, high: Floats, effort: str) -> tuple[Floats, Floats]:
    m = matrix.shape[0]
    found = affine_range(Layer(matrix, np.zeros(m), relu=False), low, high)
    lower, upper = found.lower.copy(), found.upper.copy()
    several = np.flatnonzero(np.diff(matrix.indptr) > 1)
    if bounds.ranges is not None and effort != "interval" and several.size:
        below, above = bounds.ranges(matrix if several.size == m else matrix[several], effort)
        lower[several] = np.maximum(lower[several], below)
        upper[several] = np.minimum(upper[several], above)
    return lower, upper


def split_rows(W: Any, live: Bools, groups: Count, by: str, seed: int) -> tuple[Any, Ints, Ints]:
    """(matrix, row, group): every row of W (m, n) CSR cut into its groups, where it has two or more.

    `live` (n,): the inputs that are grouped. `by` says how (there, `count` live weights in a row, N = min(groups,
    count)):

    * "equal_size": sorted by weight, cut into N runs of equal length;
    * "equal_range": the range of weights cut into N intervals of equal length;
    * "uneven": sorted by weight and dealt out in turn, to and fro, so that each group has small and large ones;
    * "random": cut in an order drawn with `seed`;
    * "order": the inputs 0 .. n - 1 cut into N runs, the same for every neuron.

    >>> W = sparse.csr_array([[3.0, -1.0, 2.0, 5.0]])
    >>> matrix, row, group = split_rows(W, np.ones(4, dtype=bool), 2, "equal_size", 0)
    >>> matrix.toarray(), row, group
    (array([[ 0., -1.,  2.,  0.],
           [ 3.,  0.,  0.,  5.]]), array([0, 0]), array([0, 1]))
    """
    table = Table(np.diff(W.indptr))
    member = _members(W, table, live, groups, by, seed)
    if table.filled.all() and isinstance(groups, int) and groups <= FEW:
        return _gathered(W, member, groups)
    return _sorted(W, table, member)


def _gathered(W: Any, member: Ints, groups: int) -> tuple[Any, Ints, Ints]:
    """Each row in the order of its groups by counting, where rows are equally long and groups few."""
    m, n = member.shape
    count = np.stack([np.count_nonzero(member == g, axis=1) for g in range(groups)], axis=1)
    order = np.argsort(member.astype(np.uint8), axis=1, kind="stable") + n * np.arange(m)[:, None]
    several = np.count_nonzero(count, axis=1) > 1
    if not several.all():
        order, count[~several] = order[several], 0
    row, group = np.nonzero(count)
    starts = np.concatenate([[0], np.cumsum(count[row, group])])
    entry = order.ravel()
    return sparse.csr_array((W.data[entry], W.indices[entry], starts), shape=(row.size, W.shape[1])), row, group


def _sorted(W: Any, table: Table, member: Ints) -> tuple[Any, Ints, Ints]:
    """The entries of each row sorted by their group."""
    place = np.broadcast_to(np.arange(member.shape[1]), member.shape)
    bits = table.filled.shape[1].bit_length()
    code = (member << bits) | place
    code[~table.filled] = np.iinfo(np.int64).max
    code.sort(axis=1)
    member, place = code >> bits, code & ((1 << bits) - 1)
    starts = table.filled.copy()
    starts[:, 1:] &= member[:, 1:] != member[:, :-1]
    several = starts.sum(axis=1) > 1
    starts &= several[:, None]
    used = table.filled & several[:, None]
    entry = (W.indptr[:-1, None] + place)[used]
    row, at = np.nonzero(starts)
    indptr = np.concatenate([np.flatnonzero(starts[used]), [entry.size]])
    matrix = sparse.csr_array((W.data[entry], W.indices[entry], indptr), shape=(row.size, W.shape[1]))
    return matrix, row, member[row, at]


class Table:
    """The stored entries of a matrix's rows side by side: `filled` (m, longest row) is True where there is one."""

    def __init__(self, length: Ints) -> None:
        self.filled = np.arange(int(length.max(initial=0)))[None, :] < length[:, None]

    def of(self, values: Any, fill: float) -> Any:
        """The entries' values (nnz,) as a table, `fill` elsewhere."""
        if self.filled.all():
            return values.reshape(self.filled.shape)
        table = np.full(self.filled.shape, fill, dtype=values.dtype)
        table[self.filled] = values
        return table


def _members(W: Any, table: Table, live: Bools, groups: Count, by: str, seed: int) -> Ints:
    """The group of each entry (m, longest row); 0 where its input is not live."""
    n, shape = W.shape[1], table.filled.shape
    whole = bool(live.all() and table.filled.all())
    moves = table.filled if whole else table.of(live[W.indices], False) & table.filled
    if by == "order" or not isinstance(groups, int | str):
        of_input = _given(groups, n) if not isinstance(groups, int | str) else _runs(groups, n)
        found = table.of(of_input[W.indices], 0)
        return found if whole else np.where(moves, found, 0)
    count = moves.sum(axis=1)[:, None]
    N = count if groups == "all" else np.minimum(int(groups), count)
    weight = table.of(W.data, 0.0)
    if by == "equal_range" and groups != "all":
        least = np.min(weight, axis=1, initial=np.inf, where=moves, keepdims=True)
        most = np.max(weight, axis=1, initial=-np.inf, where=moves, keepdims=True)
        width = np.where(most > least, most - least, 1.0)
        part = np.where(moves, weight - least, 0.0) / width
        return np.where(moves, np.minimum((part * N).astype(np.int64), N - 1), 0)
    if whole and by == "equal_size" and isinstance(groups, int) and 1 < groups <= min(FEW, shape[1]):
        cut = _cut(weight, groups)
        if cut is not None:
            return cut
    value = np.random.default_rng(seed).random(shape) if by == "random" else weight
    order = np.argsort(value if whole else np.where(moves, value, np.inf), axis=1)  # what is not live comes last
    place = np.broadcast_to(np.arange(shape[1]), shape)
    if groups == "all":
        member = place
    elif by == "uneven":
        turn, at = np.divmod(place, np.maximum(1, N))
        member = np.where(turn % 2 == 0, at, N - 1 - at)
    else:
        member = place * N // np.maximum(1, count)
    found = np.empty(shape, dtype=np.int64)
    np.put_along_axis(found, order, np.where(place < count, member, 0), axis=1)
    return found


def _cut(weight: Floats, groups: int) -> Ints | None:
    """Rows cut into groups of equal size by the weights where one ends, without sorting; None where weights tie."""
    n = weight.shape[1]
    ends = np.flatnonzero(np.diff(np.arange(n) * groups // n)) + 1  # the first places of groups 1, 2, ...
    first = np.partition(weight, ends, axis=1)[:, ends]
    found = np.zeros(weight.shape, dtype=np.int64)
    for g, end in enumerate(ends.tolist()):
        above = weight >= first[:, g, None]
        if (np.count_nonzero(above, axis=1) != n - end).any():
            return None
        found += above
    return found


def _runs(groups: int | str, n: int) -> Ints:
    return np.arange(n) * (n if groups == "all" else min(int(groups), n)) // n


def _given(groups: Sequence[Sequence[int]], n: int) -> Ints:
    total = sum(len(group) for group in groups)
    if total != n:
        raise FormulationError(f"the groups hold {total} inputs, the layer has {n}; give a number of groups instead")
    found = np.empty(n, dtype=np.int64)
    for k, group in enumerate(groups):
        found[list(group)] = k
    return found
