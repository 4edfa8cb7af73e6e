"""Tighter bounds of hidden neurons for a tree that has grown large: the ladder's "split" rung, a little at a time.

A tree keeps the relaxation of its root: refreshing it in subtrees, after splits of early layers, was tried and never
paid. A tighter relaxation at the root does: four times the leaves for each bound leave a half to a third of the nodes.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ..bounds import Bounds
from ..network import Network
from ..propagation.backend import Backend
from ..propagation.crown import both_signs
from ..propagation.dual import STEPS, Head, head
from ..propagation.interval import Range, activation_range, affine_range, checked, collect, given
from ..propagation.rounding import row_blocks
from ..propagation.split import Forest

SPLITS = 16  # of every bound's worst leaf, between two yields
CHUNK = 2**28  # bytes of all trees at a time


def refined(
    network: Network, bounds: Bounds, leaves: int, backend: Backend | None = None
) -> Generator[int, None, Bounds]:
    """Bounds where each open ReLU behind the first layer has been split into `leaves` parts; yields leaves on the way.

    The other neurons and the outputs keep theirs, or what the interval from the layer before gives.
    """
    ranges: list[Range] = []
    p, q = bounds.box.lower, bounds.box.upper
    for k, layer in enumerate(network.layers):
        z = checked(given(bounds, k).meet(affine_range(layer, p, q)), k)
        open_ = np.flatnonzero(layer.relu & (z.lower < 0.0) & (z.upper > 0.0))
        if 0 < k < len(network.layers) - 1 and open_.size:
            part, known = head(network, bounds, [*ranges, z], open_)
            lower, upper = np.full(layer.n_out, -np.inf), np.full(layer.n_out, np.inf)
            lower[open_], upper[open_] = yield from _split(Head(part, known, backend), leaves)
            z = checked(z.meet(Range.by("split", lower, upper)), k)
        ranges.append(z)
        p, q = activation_range(layer, z)
    return collect(ranges, network, bounds.box, bounds.polytope)


def _split(top: Head, leaves: int) -> Generator[int, None, tuple[np.ndarray, np.ndarray]]:
    """(lower, upper) of the head's neurons; some at a time, so that the leaves of their trees stay near `CHUNK`."""
    lower, upper = np.empty(top.n), np.empty(top.n)
    size = (2 * leaves + 16) * (top.unstable + 1) + 12 * top.widest
    for rows in row_blocks(top.n, size, CHUNK):
        C = both_signs(rows, top.n)
        with np.errstate(all="ignore"):
            forest = Forest(top, C, leaves, STEPS, None)
        done = 0
        while forest.grows():
            with np.errstate(all="ignore"):
                forest.split()
            done += 1
            if done % SPLITS == 0:
                yield SPLITS * C.shape[0]
        lower[rows], upper[rows] = np.split(forest.evaluate(CHUNK), 2)
    return lower, -upper


def tightened(before: Bounds, after: Bounds) -> float:
    """The part of the open ReLUs' widths that is gone, behind the first layer."""
    pairs = list(zip(before.width(), after.width(), before.unstable, strict=True))[1:-1]
    old, new = (sum(float(part[i][part[2]].sum()) for part in pairs) for i in (0, 1))
    return 1.0 - new / old if old > 0.0 else 0.0


def open_behind(bounds: Bounds) -> int:
    """Open ReLUs that refinement works on."""
    return sum(int(mask.sum()) for mask in bounds.unstable[1:-1])
