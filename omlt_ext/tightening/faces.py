"""Where a target row's LP has its optimum: a guess from dual ascent, and what of it is in doubt.

Symbols as in `propagation.crown`: h = max(0, z) of an unstable neuron, l < 0 < u; s z + t the upper line; A the
coefficients of h (or of x), D those of z, in the backward pass of a target row.

At an optimum of the LP over the triangles nearly every neuron lies on one of three faces: the upper line (A < 0), h = 0
(lower slope 0), or h = z (lower slope 1); and nearly every input at an end of its interval, as the sign of A says. A
few neurons, with slopes between, lie in the corner z = 0; as many inputs and earlier neurons with A = 0 lie between, to
make that so. Some dozen steps of dual ascent tell most of it. What is doubtful, near such a corner or with A near 0, is
`open` or `free`: a small LP decides it. All the rest is checked afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bounds import Bounds
from ..domain import Floats, Ints
from ..network import Bools, Layer
from ..propagation.ascent import Multipliers, Pass
from ..propagation.dual import Head
from ..solvers import BASIC, LOWER, UPPER

Codes = NDArray[np.int8]
LINE, OFF, ON = 0, 1, 2  # faces: h = s z + t, h = 0, h = z
BETWEEN = 0.02  # slopes this far from 0 and 1 are taken to lie between
NEAR = 0.01  # of u - l: pre-activations this near to 0 are in doubt
TIMES, SPARE = 2.5, 8  # coefficients in doubt: so many times those expected to be 0, and some more
SOFT = 30  # coefficients that count as small when a point is sought


@dataclass(frozen=True, eq=False)
class Part:
    """One layer before the last: `passes` where h = z, and its unstable neurons `at` with s, t, l and u."""

    layer: Layer
    passes: Floats
    at: Ints
    s: Floats
    t: Floats
    lower: Floats
    upper: Floats

    @classmethod
    def all_of(cls, head: Head) -> list[Part]:
        """The parts of every layer before the last."""
        parts = []
        for i, ease in enumerate(head.relaxations):
            at = np.flatnonzero(ease.magnitude > 0.0)
            passes = np.where(ease.magnitude > 0.0, 0.0, ease.s)
            ends = (head.bounds.lower[i][at], head.bounds.upper[i][at])
            parts.append(cls(head.network.layers[i], passes, at, ease.s[at], ease.t[at], *ends))
        return parts

    def on_faces(self, z: Floats, faces: Codes) -> Floats:
        """h (m, n_i) from z (m, n_i), with the unstable neurons on their faces."""
        h = z * self.passes
        mine = z[:, self.at]
        h[:, self.at] = np.select([faces == LINE, faces == ON], [self.s * mine + self.t, mine], 0.0)
        return h


@dataclass(eq=False)
class Guess:
    """The faces of m target rows, and the basis that goes with them.

    `ends` (m, n_in) are the inputs' values where they are not `free` (m, n_in). For each layer, `faces[i]` (m,
    unstable) hold where not `open[i]`; `alphas[i]` are the slopes; `h[i]`, `g[i]`, `roof[i]` the states of the small
    LP's columns and row of these neurons, `x` and `slack` those of inputs and of the polytope's rows; `mu` (m, p) the
    multipliers of the latter.
    """

    ends: Floats
    free: Bools
    x: Codes
    faces: list[Codes]
    open: list[Bools]
    alphas: list[Floats]
    h: list[Codes]
    g: list[Codes]
    roof: list[Codes]
    slack: Codes
    mu: Floats

    def take(self, rows: Any) -> Guess:
        """Some rows, copied."""
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        taken: list[Any] = [[part[rows] for part in v] if isinstance(v, list) else v[rows] for v in values]
        return Guess(*taken)

    def put(self, rows: Any, other: Guess) -> None:
        """Write `other` over some rows."""
        for name in self.__dataclass_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            for part, fresh in zip(mine, theirs, strict=True) if isinstance(mine, list) else [(mine, theirs)]:
                part[rows] = fresh

    def doubt_everything(self, rows: Any) -> None:
        """Open and free all there is."""
        self.free[rows] = True
        for part in self.open:
            part[rows] = True


@np.errstate(all="ignore")
def guess(parts: list[Part], bounds: Bounds, given: Multipliers, back: Pass) -> Guess:
    """From the ascent's multipliers and their backward pass; rows that overflowed there are in doubt altogether."""
    box = bounds.box
    A = np.asarray(back.A, dtype=np.float64)
    coefficients = [np.asarray(mine, dtype=np.float64) for mine in back.coefficients]
    alphas = [np.nan_to_num(np.asarray(alpha, dtype=np.float64)) for alpha in given.alphas]
    mu = np.zeros((A.shape[0], 0)) if given.mu is None else np.nan_to_num(np.asarray(given.mu, dtype=np.float64))
    faces = [
        np.where(mine > 0.0, np.where(alpha > 0.5, ON, OFF), LINE).astype(np.int8)
        for mine, alpha in zip(coefficients, alphas, strict=True)
    ]
    between = [
        (mine > 0.0) & (alpha > BETWEEN) & (alpha < 1.0 - BETWEEN)
        for mine, alpha in zip(coefficients, alphas, strict=True)
    ]
    found = Guess(
        ends=np.where(A >= 0.0, box.lower, box.upper),
        free=np.zeros(A.shape, dtype=bool),
        x=np.where(A >= 0.0, LOWER, UPPER).astype(np.int8),
        faces=faces,
        open=[part | near for part, near in zip(between, _near_corner(parts, bounds, A, faces), strict=True)],
        alphas=alphas,
        h=[
            np.where((face != OFF) & ~part, BASIC, LOWER).astype(np.int8)
            for face, part in zip(faces, between, strict=True)
        ],
        g=[
            np.where((face != ON) & ~part, BASIC, LOWER).astype(np.int8)
            for face, part in zip(faces, between, strict=True)
        ],
        roof=[np.where(face == LINE, UPPER, BASIC).astype(np.int8) for face in faces],
        slack=np.where(mu > 0.0, LOWER, BASIC).astype(np.int8),
        mu=mu,
    )
    _zero_coefficients(found, between, A, coefficients)
    if mu.shape[1]:
        found.free[:] = True  # an input that is not free could contradict a row of the polytope
    found.doubt_everything(~np.isfinite(np.concatenate([A, *coefficients], axis=1)).all(axis=1))
    return found


def _near_corner(parts: list[Part], bounds: Bounds, A: Floats, faces: list[Codes]) -> list[Bools]:
    """Neurons on the lower faces whose z, at a point between the ends where A is small, is near 0 or beyond."""
    box = bounds.box
    small = np.partition(np.abs(A), min(SOFT, box.n - 1), axis=1)[:, [min(SOFT, box.n - 1)]]
    part_way = np.divide(A, small, out=np.zeros_like(A), where=small > 0.0)
    h = np.clip(box.center - 0.5 * part_way * box.width, box.lower, box.upper)
    doubts = []
    for part, face in zip(parts, faces, strict=True):
        z = part.layer.pre_activation(h)
        mine, near = z[:, part.at], NEAR * (part.upper - part.lower)
        doubts.append(((face == OFF) & (mine > -near)) | ((face == ON) & (mine < near)))
        h = part.on_faces(z, face)
        h[:, part.at] = np.where(face == LINE, h[:, part.at], np.maximum(mine, 0.0))
    return doubts


def _zero_coefficients(found: Guess, between: list[Bools], A: Floats, coefficients: list[Floats]) -> None:
    """Expect the smallest coefficients to be 0, as many as there are corners; doubt some more."""
    m = A.shape[0]
    corners = sum((part.sum(axis=1) for part in between), (found.mu > 0.0).sum(axis=1))[:, None]
    doubts = TIMES * corners + SPARE
    sizes = [np.abs(A) / _typical(A)]
    for mine, part in zip(coefficients[:-1], between[:-1], strict=True):
        sizes.append(np.where(part, np.inf, np.abs(mine) / _typical(mine)))
    order = np.argsort(np.concatenate(sizes, axis=1), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), (m, order.shape[1])), axis=1)
    ranks = np.split(rank, np.cumsum([size.shape[1] for size in sizes])[:-1], axis=1)
    found.free |= ranks[0] < doubts
    found.x[ranks[0] < corners] = BASIC
    for i, own in enumerate(ranks[1:]):
        found.open[i] |= own < doubts
        for states in (found.h[i], found.g[i], found.roof[i]):
            states[own < corners] = BASIC


def _typical(A: Floats) -> Floats:
    """The root mean square of each row (m, 1), 1 where it is 0."""
    size = np.sqrt(np.square(A).mean(axis=1, keepdims=True)) if A.shape[1] else np.ones((A.shape[0], 1))
    return np.where(size > 0.0, size, 1.0)
