"""Whether a polytope holds no point, proved by multipliers of its rows (Farkas' lemma).

min z over x in [lo, hi] with A x - b <= z: where that is positive, its multipliers mu >= 0 give mu (A x - b) > 0 for
all x of the box. The LP only proposes them; the proof is their value over the box, rounded outward.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from ..domain import Polytope
from .crown import over_box


def is_empty(polytope: Polytope) -> bool:
    """Whether no point satisfies the rows; False where that cannot be proved.

    >>> from omlt_ext import Box
    >>> [is_empty(Polytope(Box.full(2, 0, 1), [[1.0, 1.0], [-1.0, -1.0]], [0.5, -b])) for b in (0.5, 0.75)]
    [False, True]
    """
    A, b, box = polytope.A, polytope.b, polytope.box
    rows = np.column_stack([A, -np.ones(b.size)])
    ends = [*zip(box.lower, box.upper, strict=True), (None, None)]
    found = linprog(np.append(np.zeros(box.n), 1.0), rows, b, bounds=ends)
    if found.status != 0:
        return False
    mu = np.maximum(-found.ineqlin.marginals, 0.0)[None, :]
    nothing = np.zeros(1)
    return bool(over_box(np.zeros((1, box.n)), nothing, nothing.copy(), box, polytope, mu)[0] > 0.0)
