"""The LP rung: bounds at the value of the LP over the triangle relaxation, two LPs for each neuron.

Symbols: z = W h' + b pre-activation with h' the layer's inputs, h = max(0, z), g = h - z = max(0, -z), l <= z <= u;
C target rows; alpha z <= h the lower line of a ReLU in the backward pass, mu_h and mu_g the reduced costs of h and g.

An unstable neuron, l < 0 < u, has two columns and two rows. The triangle h >= 0, h >= z, h <= u (z - l)/(u - l) is

    h - g = W h' + b,    h/u + g/(-l) <= 1,    h >= 0,  g >= 0

Validity. The solver only proposes multipliers. Where the coefficient A of h is positive, A h >= alpha A z with

    alpha = mu_g / (mu_g + mu_h)

and any alpha in [0, 1] makes a valid bound. All bounds come from one backward pass of `propagation.crown` with these
slopes, rounded outward: the LP's value at its optimum, a valid bound wherever the solver stopped.
Source of the idea: Neumaier and Shcherbina, Safe bounds in linear and mixed-integer linear programming, 2004.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from ..bounds import Bounds
from ..domain import Floats
from ..encoding import ZERO, Columns, Encoding, Ints, LayerBounds, Rows
from ..network import Bools, Layer, Network
from ..propagation.crown import AffineError, Relaxation, affine_error, backward, relax
from ..propagation.interval import activation_range, given
from ..propagation.rounding import row_blocks
from ..solvers import HighsSolver
from .prefix import Prefix, inside, row_of
from .task import Outcome, Task

CHUNK_BYTES = 2**28
ATTAINED = 1e-9  # of a bound's magnitude: a point this close to it leaves nothing to gain
OPTIONS = {"presolve": "off", "solver": "simplex", "parallel": "off", "simplex_scale_strategy": 0}


@dataclass(frozen=True)
class Triangle:
    """The LP relaxation of a ReLU in two columns h, g and two rows for each unstable neuron.

    >>> from omlt_ext import Layer
    >>> layer = Layer([[2.0, -1.0]], [0.5], relu=True)
    >>> print(Triangle().encode(layer, LayerBounds([-0.5], [2.0], [0, 0], [1, 1])))
    h[0] in [0, 2]
    g[0] in [0, 0.5]
    affine[0]: -2 x[0] + x[1] + h[0] - g[0] = 0.5
    triangle[0]: 0.5 h[0] + 2 g[0] <= 1
    h[0] is h[0]
    """

    name = "triangle"

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        low, high = np.asarray(bounds.lower, dtype=np.float64), np.asarray(bounds.upper, dtype=np.float64)
        inactive = layer.relu & (high <= 0) & (low < 0)
        present = np.flatnonzero(~inactive)
        open_ = layer.relu & (low < 0) & (high > 0)
        j, rest = np.flatnonzero(open_), np.flatnonzero(~open_ & ~inactive)
        z, h, g = np.split(layer.n_in + np.arange(rest.size + 2 * j.size), [rest.size, rest.size + j.size])
        output = np.full(layer.n_out, ZERO)
        output[rest], output[j] = z, h
        n = layer.n_in + rest.size + 2 * j.size
        at = np.full(layer.n_out, ZERO)
        at[present] = np.arange(present.size)
        own = sparse.csr_array(
            (
                np.repeat([1.0, 1.0, -1.0], [rest.size, j.size, j.size]),
                (at[np.concatenate([rest, j, j])], np.concatenate([z, h, g]) - layer.n_in),
            ),
            shape=(present.size, n - layer.n_in),
        )
        affine = sparse.csr_array(sparse.hstack([-layer.csr_weight()[present], own]))
        b = layer.bias[present]
        roof = sparse.csr_array(
            (np.concatenate([1.0 / high[j], -1.0 / low[j]]), (np.tile(np.arange(j.size), 2), np.concatenate([h, g]))),
            shape=(j.size, n),
        )
        zero = np.zeros(j.size)
        return Encoding(
            layer.n_in,
            (Columns("z", rest, low[rest], high[rest]), Columns("h", j, zero, high[j]), Columns("g", j, zero, -low[j])),
            (Rows("affine", present, affine, b, b), Rows("triangle", j, roof, np.full(j.size, -np.inf), zero + 1.0)),
            output,
        )


class Multipliers:
    """What the LPs found for each row: rows 0 .. n-1 bound z_j from below, rows n .. 2n-1 bound -z_j from below.

    `alpha[i]` (2n, n_i) are lower slopes of layer i's unstable neurons `at[i]`, NaN where an LP says nothing;
    `mu` (2n, m) multipliers of the polytope's rows; `known` (2n,) marks the rows that were solved.
    """

    def __init__(self, prefix: Prefix, bounds: Bounds, n: int) -> None:
        self.at = [np.flatnonzero(unstable) for unstable in bounds.unstable[:-1]]
        groups = () if prefix.embedded is None else prefix.embedded.groups
        self.columns = [(group["h"], group["g"]) for group in groups]
        self.slack = prefix.slack
        self.alpha = [np.full((2 * n, at.size), np.nan) for at in self.at]
        self.mu = np.zeros((2 * n, prefix.slack.size))
        self.known = np.zeros(2 * n, dtype=bool)

    def take(self, row: int, reduced: Floats) -> None:
        """Read the reduced costs (columns,) of one LP."""
        self.known[row] = True
        for alpha, (h, g) in zip(self.alpha, self.columns, strict=True):
            mu_h, mu_g = np.maximum(reduced[h], 0.0), np.maximum(reduced[g], 0.0)
            total = mu_h + mu_g
            np.divide(mu_g, total, out=alpha[row], where=total > 0.0)
        self.mu[row] = np.maximum(reduced[self.slack], 0.0)

    def bounds(self, network: Network, bounds: Bounds) -> tuple[Floats, Floats]:
        """Rigorous bounds (n,), (n,) of the last layer; infinite where no LP was solved."""
        k, n = len(network.layers) - 1, network.n_outputs
        eased, errors = _relaxations(network, bounds)
        value = np.full(2 * n, -np.inf)
        signs = sparse.csr_array(sparse.vstack([sparse.eye_array(n), -sparse.eye_array(n)]))
        widest = max(layer.n_in for layer in network.layers)
        solved = np.flatnonzero(self.known)
        for part in row_blocks(solved.size, 5 * widest + 2 * sum(at.size for at in self.at), CHUNK_BYTES):
            rows = solved[part]
            sloped = [_with(ease, at, alpha[rows]) for ease, at, alpha in zip(eased, self.at, self.alpha, strict=True)]
            mu = None if bounds.polytope is None else self.mu[rows]
            value[rows] = backward(network, k, signs[rows], sloped, errors, bounds.box, bounds.polytope, mu)
        return value[:n], -value[n:]


def lp_rung(task: Task) -> Outcome:
    """Bounds of the last layer at the value of the LP over the triangles of all layers before it.

    The lower and the upper bound of a neuron are one LP each. Left out are sides that a point of the domain attains
    and, with `stop_at_sign`, neurons whose sign is decided. An LP that a time limit cuts off still gives a bound.
    """
    network, bounds, n = task.network, task.bounds, task.network.n_outputs
    seconds, points, finished = np.zeros(n), np.empty((0, network.n_inputs)), True
    order = tour(network.layers[-1], open_sides(task))
    if not order or (len(network.layers) == 1 and bounds.polytope is None):  # an interval over a box is exact
        return Outcome(np.full(n, -np.inf), np.full(n, np.inf), seconds, points, finished)
    prefix = Prefix.of(network, bounds, Triangle())
    multipliers = Multipliers(prefix, bounds, n)
    found: list[Floats] = []
    try:
        finished = _solve(task, order, prefix, multipliers, found, seconds)
    except KeyboardInterrupt:
        finished = False
    lower, upper = multipliers.bounds(network, bounds)
    if found:
        points = inside(np.array(found), bounds)
    return Outcome(lower, upper, seconds, points, finished)


def _solve(
    task: Task, order: list[int], prefix: Prefix, multipliers: Multipliers, found: list[Floats], seconds: Floats
) -> bool:
    """One LP for each row in `order`; False where the deadline ended it."""
    layer = task.network.layers[-1]
    solver = HighsSolver(prefix.model, OPTIONS)
    for row in order:
        left = task.seconds_left
        if left == 0.0:
            return False
        begin = time.perf_counter()
        j, sign = row % layer.n_out, 1.0 if row < layer.n_out else -1.0
        solver.set_objective(prefix.cost(sign * row_of(layer, j)), maximize=False)
        limits = [limit for limit in (left, task.effort.seconds_per_solve) if limit is not None]
        result = solver.solve(time_limit=min(limits, default=None))
        if result.status == "infeasible":
            return True  # an empty polytope: there is nothing to bound
        multipliers.take(row, solver.reduced_costs())
        if result.x is not None:
            found.append(result.x[prefix.inputs])
        seconds[j] += time.perf_counter() - begin
    return True


def open_sides(task: Task) -> Bools:
    """(2n,): the lower bounds, then the upper ones, that are worth a solve."""
    network, effort = task.network, task.effort
    low, high = task.bounds.lower[-1], task.bounds.upper[-1]
    worth = np.ones((2, low.size), dtype=bool)
    if task.points.shape[0]:
        z = network.pre_activations(task.points)[-1]
        slack = ATTAINED * np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))
        worth &= np.stack([z.min(axis=0) - low > slack, high - z.max(axis=0) > slack])
    if effort.stop_at_sign:
        worth &= ~network.layers[-1].relu | ((low < 0.0) & (high > 0.0))
    return worth.ravel()


def tour(layer: Layer, chosen: Bools) -> list[int]:
    """The rows of [W; -W] in `chosen`, minima before maxima, each next to the nearest one that is left."""
    weight = layer.dense_weight()
    length = np.linalg.norm(weight, axis=1, keepdims=True)
    unit = weight / np.where(length > 0.0, length, 1.0)
    order: list[int] = []
    for first in (0, layer.n_out):
        left = chosen[first : first + layer.n_out].copy()
        while left.any():
            near = unit @ unit[order[-1] % layer.n_out] if order else np.zeros(layer.n_out)
            j = int(np.argmax(np.where(left, near, -np.inf)))
            left[j] = False
            order.append(first + j)
    return order


def _relaxations(network: Network, bounds: Bounds) -> tuple[list[Relaxation], list[AffineError]]:
    """The relaxation of every layer before the last and the backward errors of all."""
    eased, errors = [], []
    p, q = bounds.box.lower, bounds.box.upper
    for k, layer in enumerate(network.layers):
        errors.append(affine_error(layer, p, q))
        z = given(bounds, k)
        eased.append(relax(layer, z))
        p, q = activation_range(layer, z)
    return eased[:-1], errors


def _with(ease: Relaxation, at: Ints, alpha: Floats) -> Relaxation:
    """The relaxation with a row of slopes for each target; CROWN's own where a slope is not known."""
    full = np.broadcast_to(ease.alpha, (alpha.shape[0], ease.alpha.size)).copy()
    full[:, at] = np.where(np.isnan(alpha), full[:, at], np.clip(alpha, 0.0, 1.0))
    return replace(ease, alpha=full)
