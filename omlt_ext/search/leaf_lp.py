"""The LP of a leaf: the relaxation with the signs that the leaf has given to neurons."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..bounds import Bounds
from ..domain import Floats, Polytope
from ..encoding import encode_network
from ..errors import SolverError
from ..milp import ModelBuilder
from ..plugins import formulation
from ..propagation.dual import Head
from ..solvers import HighsSolver, raised
from .target import Target


def leaf_bound(target: Target, head: Head, signs: np.ndarray) -> tuple[float, Floats | None]:
    """(at least the largest t on the leaf, the LP's point); -inf where the leaf is empty, inf where the LP fails.

    `signs` (u,) are those of the unstable neurons in the order of `head.slopes`: 1, -1, or 0 where there is none.
    """
    lower, upper, held = [], [], []
    first = 0
    bounds = head.bounds
    for k, (low, high) in enumerate(zip(bounds.lower, bounds.upper, strict=True)):
        low, high, mask = low.copy(), high.copy(), np.zeros(low.size, dtype=bool)
        if k < len(head.slopes):
            at = head.slopes[k].at
            mine = signs[first : first + at.size]
            first += at.size
            low[at[mine > 0]], high[at[mine < 0]] = 0.0, 0.0
            mask[at[mine != 0]] = True
        lower.append(low)
        upper.append(high)
        held.append(mask)
    known = Bounds.of(target.network, bounds.box, lower, upper)
    builder = ModelBuilder()
    x = builder.add_columns(bounds.box.lower, bounds.box.upper, np.zeros(bounds.box.n, dtype=bool))
    encodings = encode_network(target.network, known, formulation("triangle"), tuple(held))
    outputs = builder.add_network(target.network, encodings, x).outputs
    if isinstance(target.domain, Polytope):
        A, b = target.domain.A, target.domain.b
        builder.add_rows(sparse.csr_array(A), x, np.full(b.size, -np.inf), b)
    c = np.zeros(builder.n_columns)
    c[outputs] = 1.0
    try:
        result = HighsSolver(builder.model(c, 0.0, maximize=True)).solve()
    except SolverError:
        return np.inf, None
    if result.status == "infeasible":
        return -np.inf, None
    bound = np.inf if result.bound is None else raised(result.bound)
    return bound, None if result.x is None else result.x[: bounds.box.n]
