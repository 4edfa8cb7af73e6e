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


def crude_bounds(network: Network, property: Property, goes_on: Callable[[], bool]) -> Iterator[tuple[Ints, Floats]]:
    """(members, bounds): no point of member k's box has a least slack above its bound, in exact arithmetic.

    Nothing where few boxes are different, and nothing of disjuncts with rows over inputs, or within a ball.
    """
    members = [k for k, disjunct in enumerate(property.disjuncts) if disjunct.n_rows and not disjunct.Gx.any()]
    if property.ball is not None or len({_ends(property.disjuncts[k].box) for k in members}) < MANY:
        return
    for first in range(0, len(members), BLOCK):
        if not goes_on():
            return
        block = members[first : first + BLOCK]
        try:
            yield np.array(block), _bounds(network, property, block)
        except BoundsError:  # the box around all of them is too large for floats
            continue


def _bounds(network: Network, property: Property, members: list[int]) -> Floats:
    """The bounds (m,) of `members`."""
    boxes = [property.disjuncts[k].box for k in members]
    lower, upper = np.array([box.lower for box in boxes]), np.array([box.upper for box in boxes])
    roots = Roots(network, property, members, Box(lower.min(axis=0), upper.max(axis=0)))
    roots.tighten("crown", None)
    assert roots.bounds is not None
    crown = BoxCrown(roots.rows, roots.bounds, -sparse.eye_array(roots.rows.n_outputs, format="csr"))
    of_rows = np.repeat(np.arange(len(members)), [roots.at[k].stop - roots.at[k].start for k in members])
    each: dict[bytes, int] = {}  # boxes that several share are bounded once
    place = np.empty(len(members), dtype=np.int64)
    for i, box in enumerate(boxes):
        place[i] = each.setdefault(_ends(box), len(each))
    at = np.unique(place, return_index=True)[1]
    values = np.empty(of_rows.size)
    widths = [layer.n_in for layer in roots.rows.layers]
    step = max(1, NUMBERS // (2 * max(widths) * max(widths[1:], default=1)))
    for start in range(0, at.size, step):
        mine = np.flatnonzero((place[of_rows] >= start) & (place[of_rows] < start + step))
        ends = lower[at[start : start + step]], upper[at[start : start + step]]
        values[mine] = crown.rows(*ends, place[of_rows[mine]] - start, mine)
    least = -np.maximum.reduceat(values, [roots.at[k].start for k in members])
    return np.array([above(bound, roots.margin(k)) for k, bound in zip(members, least.tolist(), strict=True)])


def _ends(box: Box) -> bytes:
    return box.lower.tobytes() + box.upper.tobytes()
