"""A point well inside a polytope."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from ..domain import Floats, Polytope


def inner_point(polytope: Polytope) -> Floats | None:
    """The centre of a largest ball between the rows of a polytope, inside its box; None where there is no point.

    max r  where  A x + r |A_i| <= b, l <= x <= u, 0 <= r <= 1 + |u - l|: a ball of radius 0 where rows leave no room.

    >>> from omlt_ext import Box
    >>> inner_point(Polytope(Box.full(2, 0, 1), [[1.0, 0.0], [-1.0, 0.0]], [0.75, -0.25])).round(6)[:1]
    array([0.5])
    """
    A, b, box = polytope.A, polytope.b, polytope.box
    rows = np.column_stack([A, np.linalg.norm(A, axis=1)])
    ends = [*zip(box.lower, box.upper, strict=True), (0.0, 1.0 + float(np.linalg.norm(box.width)))]
    found = linprog(np.append(np.zeros(box.n), -1.0), rows, b, bounds=ends)
    return np.asarray(np.clip(found.x[:-1], box.lower, box.upper)) if found.status == 0 else None
