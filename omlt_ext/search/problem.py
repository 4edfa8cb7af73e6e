"""What a search works on: a linear objective and linear rows around one or more networks.

    max  c v + d y + offset   where   row_lower <= R v + S y <= row_upper,   lower <= v <= upper,
                                      v_j whole for integer j,   y = (f_1(v[I_1]), ..., f_p(v[I_p]))

Symbols: v (n,) the columns that a search decides, f_b the networks, I_b the columns that are the inputs of f_b, y all
their outputs one after the other. A search over one network is the case v = x, c = 0, d = objective; a whole model has
other columns and rows beside it. Minimising is maximising the negative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ..bounds import Bounds
from ..domain import Box, Floats, Ints, Polytope, as_domain
from ..encoding import ZERO, Formulation, encode_network
from ..errors import OptionError, ShapeError
from ..milp import MatrixModel, ModelBuilder
from ..network import Bools, Network
from ..tightening import Effort, tighten_bounds

TOLERANCE = 1e-6  # of rows and whole numbers, absolute: the solvers' own for a feasible point

Confirm: TypeAlias = Callable[["Floats"], bool]


@dataclass(frozen=True, eq=False)
class Placed:
    """A network, the columns `inputs` (n_in,) of v that it reads, and where its `outputs` stand in y."""

    network: Network
    inputs: Ints
    outputs: slice


@dataclass(frozen=True, eq=False)
class Problem:
    """The problem as arrays: `R` (m, n) and `S` (m, n_y) CSR, everything else as in the head of this file.

    `bounds` are those of each network where they are known already; `held` marks neurons whose range follows from the
    problem only, not from the network's inputs (`LayerBounds.held`). `confirm(v)` has the last word on a point: whether
    it is one of whatever the problem stands for, which may have more rows than these.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> problem = Problem.of_network(network, Box([-1], [1]), [1.0])
    >>> problem.values(np.array([[0.5], [-1.0], [-2.0]])), problem.violations(np.array([[0.5], [-1.0], [-2.0]]))
    (array([0.5, 2. , 4. ]), array([0., 0., 1.]))
    """

    networks: tuple[Placed, ...]
    c: Floats
    d: Floats
    offset: float
    R: Any  # scipy.sparse.csr_array
    S: Any
    row_lower: Floats
    row_upper: Floats
    lower: Floats
    upper: Floats
    integer: Bools
    bounds: tuple[Bounds, ...] | None = None
    confirm: Confirm | None = None
    held: tuple[tuple[Bools, ...], ...] | None = None

    @classmethod
    def of_network(
        cls, network: Network, domain: Box | Polytope | Iterable[ArrayLike], objective: ArrayLike | None = None
    ) -> Problem:
        """max objective . f(x) over a box, a pair (lower, upper) or a polytope; see `weights_of`."""
        box, polytope = as_domain(domain, network.n_inputs)
        n, m = network.n_inputs, network.n_outputs
        A, b = (np.empty((0, n)), np.empty(0)) if polytope is None else (polytope.A, polytope.b)
        return cls(
            networks=(Placed(network, np.arange(n), slice(0, m)),),
            c=np.zeros(n),
            d=weights_of(objective, network),
            offset=0.0,
            R=sparse.csr_array(A),
            S=sparse.csr_array((b.size, m)),
            row_lower=np.full(b.size, -np.inf),
            row_upper=b,
            lower=box.lower,
            upper=box.upper,
            integer=np.zeros(n, dtype=bool),
        )

    @property
    def n(self) -> int:
        """Columns."""
        return int(self.c.size)

    @property
    def n_rows(self) -> int:
        return int(self.row_lower.size)

    @cached_property
    def on_outputs(self) -> Bools:
        """(m,): the rows in which a network's output stands."""
        return np.asarray(np.diff(self.S.indptr) > 0)

    @property
    def is_box(self) -> bool:
        """Whether there is nothing but a box around the networks: every point of it is feasible."""
        return self.n_rows == 0 and not self.integer.any() and self.confirm is None

    def box(self, b: int) -> Box:
        """The box of network b's inputs."""
        at = self.networks[b].inputs
        return Box(self.lower[at], self.upper[at])

    def domain(self, b: int) -> Box | Polytope:
        """The box of network b's inputs, within the rows that say something about these inputs alone."""
        at, box = self.networks[b].inputs, self.box(b)
        inside = np.zeros(self.n, dtype=bool)
        inside[at] = True
        others = abs(self.R) @ (~inside).astype(float)
        mine = np.flatnonzero(~self.on_outputs & (others == 0.0) & (np.diff(self.R.indptr) > 0))
        if mine.size == 0 or np.unique(at).size < at.size:
            return box
        rows = self.R[mine][:, at].toarray()
        A = np.concatenate([rows, -rows])
        sides = np.concatenate([self.row_upper[mine], -self.row_lower[mine]])
        there = np.isfinite(sides)
        return Polytope(box, A[there], sides[there])

    def finite_ends(self) -> tuple[Floats, Floats]:
        """(lower, upper) to draw points between: a column without an end stays at the one that it has, or at 0."""
        low, high = np.isfinite(self.lower), np.isfinite(self.upper)
        lower = np.where(low, self.lower, np.where(high, self.upper, 0.0))
        return lower, np.where(low & high, self.upper, lower)

    def inside(self, V: Floats) -> Floats:
        """Points (m, n) moved into the bounds of the columns, whole ones rounded."""
        moved = np.clip(V, self.lower, self.upper)
        moved[..., self.integer] = np.round(moved[..., self.integer])
        return moved

    def outputs(self, V: Floats) -> Floats:
        """y for points (n,) or (m, n)."""
        parts = [placed.network(V[..., placed.inputs]) for placed in self.networks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def value(self, v: Floats) -> float:
        """The objective at one point."""
        return float(self.c @ v + self.d @ self.outputs(v) + self.offset)

    def values(self, V: Floats, Y: Floats | None = None) -> Floats:
        """The objective at points (m, n), whose outputs may be known."""
        return np.asarray(V @ self.c + (self.outputs(V) if Y is None else Y) @ self.d + self.offset)

    def violations(self, V: Floats, Y: Floats | None = None) -> Floats:
        """The largest violation of a row, a bound or a whole number at points (m, n), absolute."""
        worst = np.maximum(self.lower - V, V - self.upper).max(axis=1, initial=0.0)
        if self.integer.any():
            whole = V[:, self.integer]
            worst = np.maximum(worst, np.abs(whole - np.round(whole)).max(axis=1))
        if self.n_rows:
            activity = (self.R @ V.T).T
            if self.on_outputs.any():
                activity = activity + (self.S @ (self.outputs(V) if Y is None else Y).T).T
            worst = np.maximum(worst, np.maximum(self.row_lower - activity, activity - self.row_upper).max(axis=1))
        return np.asarray(worst)

    def with_bounds(self, effort: str | Effort = "crown") -> Problem:
        """The same problem with bounds of every network, found with `effort` where there are none yet."""
        if self.bounds is not None:
            return self
        found = [tighten_bounds(placed.network, self.domain(b), effort) for b, placed in enumerate(self.networks)]
        return replace(self, bounds=tuple(found))

    def model(self, formulation: Formulation) -> MatrixModel:
        """The mixed-integer model: v first, then each network's columns; `with_bounds` comes before."""
        if self.bounds is None:
            return self.with_bounds().model(formulation)
        builder = ModelBuilder()
        v = builder.add_columns(self.lower, self.upper, self.integer)
        outputs = []
        for b, (placed, bounds) in enumerate(zip(self.networks, self.bounds, strict=True)):
            held = None if self.held is None else self.held[b]
            encodings = encode_network(placed.network, bounds, formulation, held)
            outputs.append(builder.add_network(placed.network, encodings, v[placed.inputs]).outputs)
        columns = np.concatenate([v, *outputs])
        rows = sparse.csr_array(sparse.hstack([self.R, self.S], format="csr"))
        builder.add_rows(rows, columns, self.row_lower, self.row_upper)
        costs, present = np.concatenate([self.c, self.d]), columns != ZERO
        c = np.zeros(builder.n_columns)
        np.add.at(c, columns[present], costs[present])
        return builder.model(c, self.offset, maximize=True)


def weights_of(objective: ArrayLike | None, network: Network) -> Floats:
    """c (n_outputs,), finite; (1,) where a network of one output has no objective.

    Raises `ShapeError` for a wrong number of weights and `OptionError` for what is no finite number.
    """
    n = network.n_outputs
    if objective is None:
        if n != 1:
            raise ShapeError(f"the network has {n} outputs; give an objective with one weight for each of them")
        return np.ones(1)
    try:
        weights = np.array(objective, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(f"the objective must be numbers: {error}") from None
    if weights.shape != (n,):
        raise ShapeError(f"objective has shape {weights.shape}; it weighs the {n} outputs, so it must be ({n},)")
    if not np.isfinite(weights).all():
        j = int(np.flatnonzero(~np.isfinite(weights))[0])
        raise OptionError(f"objective[{j}] is {weights[j]}; it must be a finite number")
    return weights
