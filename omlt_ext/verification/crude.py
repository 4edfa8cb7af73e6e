"""Crude bounds of many disjuncts over boxes of their own: CROWN on many boxes at once.

Disjuncts over one domain share a pass of CROWN (see `roots`); those over different ones would take a pass each. Here
the rows of a block of them are the outputs of one network, bounded over a box that holds all of theirs; then each row
gets a bound on its own box (see `propagation.boxes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse

from ..domain import Box, Floats, Ints
from ..errors import BoundsError
from ..network import Network
from ..propagation.boxes import BoxCrown
from .property import Property
from .roots import Roots, above

MANY = 4  # boxes that are worth it
BLOCK = 1024  # disjuncts of a network of rows
NUMBERS = 2**23  # coefficients of the neurons of a batch of boxes
WORTH = 32  # boxes in a batch, below which a pass for each is as quick


def crude_bounds(
    network: Network, property: Property, left: Callable[[], float | None]
) -> Iterator[tuple[Ints, Floats]]:
    """(members, bounds): no point of member k's box has a least slack above its bound, in exact arithmetic.

    Nothing where few boxes are different or layers are wide, and nothing of disjuncts with rows over inputs, or within
    a ball. `left()` are the seconds that are left, None without a limit.
    """
    members = [k for k, disjunct in enumerate(property.disjuncts) if disjunct.n_rows and not disjunct.Gx.any()]
    if property.ball is not None or len({_ends(property.disjuncts[k].box) for k in members}) < MANY:
        return
    widths = [network.n_inputs, *(layer.n_out for layer in network.layers)]
    step = NUMBERS // (2 * max(widths) * max(widths[1:]))
    if step < WORTH:
        return
    for first in range(0, len(members), BLOCK):
        if left() == 0.0:
            return
        try:
            yield from _bounds(network, property, members[first : first + BLOCK], step, left)
        except BoundsError:  # the box around all of them is too large for floats
            continue


def _bounds(
    network: Network, property: Property, members: list[int], step: int, left: Callable[[], float | None]
) -> Iterator[tuple[Ints, Floats]]:
    """Those of a block, `step` different boxes at a time."""
    boxes = [property.disjuncts[k].box for k in members]
    lower, upper = np.array([box.lower for box in boxes]), np.array([box.upper for box in boxes])
    roots = Roots(network, property, members, Box(lower.min(axis=0), upper.max(axis=0)))
    roots.tighten("crown", left())
    assert roots.bounds is not None
    crown = BoxCrown(roots.rows, roots.bounds, -sparse.eye_array(roots.rows.n_outputs, format="csr"))
    each: dict[bytes, int] = {}  # boxes that several share are bounded once
    place: Ints = np.array([each.setdefault(_ends(box), len(each)) for box in boxes])
    at = np.unique(place, return_index=True)[1]
    for start in range(0, at.size, step):
        if left() == 0.0:
            return
        here = np.flatnonzero((place >= start) & (place < start + step))
        slices = [roots.at[members[i]] for i in here]
        rows = np.concatenate([np.arange(part.start, part.stop) for part in slices])
        count = np.array([part.stop - part.start for part in slices])
        ends = lower[at[start : start + step]], upper[at[start : start + step]]
        values = crown.rows(*ends, np.repeat(place[here] - start, count), rows)
        least = -np.maximum.reduceat(values, np.cumsum(count) - count)
        mine = np.array(members)[here]
        yield mine, np.array([above(v, roots.margin(k)) for v, k in zip(least.tolist(), mine.tolist(), strict=True)])


def _ends(box: Box) -> bytes:
    return box.lower.tobytes() + box.upper.tobytes()
