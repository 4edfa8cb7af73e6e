"""How one network hangs on the model around it: rows of its inputs alone, and whether there is more than those."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from .domain import Floats, Ints
from .encoding import ZERO
from .propagation.feasibility import activity
from .surroundings import Surroundings


def links(outputs: Ints, carried: Ints) -> tuple[Any, Ints, Floats, Floats]:
    """Rows y - h = 0 from the columns that carry the outputs to those of the model's variables; y = 0 at `ZERO`."""
    n, at = outputs.size, np.flatnonzero(carried != ZERO)
    data = np.concatenate([np.ones(n), -np.ones(at.size)])
    position = (np.concatenate([np.arange(n), at]), np.arange(n + at.size))
    rows = sparse.csr_array((data, position), shape=(n, n + at.size))
    return rows, np.concatenate([outputs, carried[at]]), np.zeros(n), np.zeros(n)


def input_rows(around: Surroundings, b: int) -> tuple[Floats, Floats] | None:
    """Rows A x <= b of network b's inputs that the constraints around it imply; None where there are none.

    Other columns of a row count with the range that the model itself declares, so that what follows from the rows stays
    true as long as the model has them.
    """
    A, inputs = sparse.csr_array(around.A), around.inputs[b]
    place = np.full(A.shape[1], -1)
    place[inputs[::-1]] = np.arange(inputs.size)[::-1]  # an input that stands there twice: the first place
    i, j, data = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr)), A.indices, A.data
    own = place[j] >= 0
    mine = sparse.csr_array((data[own], (i[own], place[j[own]])), shape=(A.shape[0], inputs.size))
    rest = sparse.csr_array((data[~own], (i[~own], j[~own])), shape=A.shape)
    least, most = activity(rest, around.lower, around.upper)
    sides = [_side(around.row_upper, least), _side(-around.row_lower, -most)]
    picked = [np.isfinite(side) & (np.diff(mine.indptr) >= 2) for side in sides]  # one input alone: the box has it
    rows = np.concatenate([mine[picked[0]].toarray(), -mine[picked[1]].toarray()])
    if rows.shape[0] == 0:
        return None
    return rows, np.concatenate([side[mask] for side, mask in zip(sides, picked, strict=True)])


def _side(upper: Floats, least: Floats) -> Floats:
    """upper - least, rounded up; infinite where either is."""
    known = np.isfinite(upper) & np.isfinite(least)
    side = np.where(known, upper, 0.0) - np.where(known, least, 0.0)
    return np.where(known, np.where(least == 0.0, side, np.nextafter(side, np.inf)), np.inf)


def is_coupled(around: Surroundings, b: int) -> bool:
    """Whether the model says more about network b than its box and the rows of its inputs alone."""
    A, inputs, outputs = sparse.csr_array(around.A), around.inputs[b], around.outputs[b]
    i, j = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr)), A.indices
    own = np.isin(j, inputs)
    others = np.bincount(i[~own & (around.lower[j] < around.upper[j])], minlength=A.shape[0]) > 0
    elsewhere = [part for c in range(len(around.blocks)) for part in (around.inputs[c], around.outputs[c]) if c != b]
    return bool(
        others[i[own]].any()
        or np.isin(j, outputs).any()
        or np.isfinite([around.lower[outputs], around.upper[outputs]]).any()
        or around.integer[inputs].any()
        or np.unique(inputs).size < inputs.size
        or np.isin(np.concatenate([inputs, outputs]), np.concatenate([*elsewhere, np.empty(0)])).any()
    )
