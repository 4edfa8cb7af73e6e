"""All regions that meet at a point at once: a MIP whose only binaries are those of the neurons at the border there.

    max  c v + d y + offset   where   z = a v + g h + c,   h >= z,   h <= z - l (1 - sigma),   h <= u sigma,   h >= 0

for each *free* neuron, one with z = 0 at the best point of a region: h what it hands on, sigma its binary, [l, u] its
bounds. All other neurons keep the region's pattern and are substituted, so that z and y are affine in v and in the h of
free neurons before; their sign rows join the MIP as solutions violate them. The largest value over the union of up to
2^(free neurons) regions; that of the point itself is among them.
Source: Perakis and Tsiourvas, arXiv 2205.14189 (Sample-MIP), where the full model is solved with fixed binaries.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats
from omlt_ext.milp import MatrixModel
from omlt_ext.search.problem import Problem
from omlt_ext.solvers import HighsSolver

from .region import MIP_OPTIONS, OPTIONS, Local, Regions
from .sign_rows import BATCH, TIGHT, Free, Patterns, Region, generate

DEPTH = 2  # passes of interval arithmetic over the free neurons
LAST = 0.1  # share of the time that is kept for the LP over the region that the MIP found
GAIN = 1e-9  # what counts as better, relative to max(1, |value|)


def border_mip(
    problem: Problem,
    regions: Regions,
    local: Local,
    pattern: Patterns,
    *,
    nodes: int,
    border: float = TIGHT,
    nearest: int = 0,
    time_limit: float | None = None,
) -> Local | None:
    """The best point that HiGHS finds within `nodes` nodes in the regions around `local`, the best of `pattern`'s.

    Free are the ReLUs with |z| <= `border` times the length of their row, and so many beside them that are `nearest` to
    that. Integer columns are decided with them. `problem.bounds` limit the free neurons (`Problem.with_bounds` before
    many calls). None where no point is better than `local`, or the time is up; `KeyboardInterrupt` where Ctrl-C came.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[-1.0, 2.0]], [0.0], relu=False)])
    >>> problem = Problem.of_network(network, Box([-1], [1])).with_bounds()
    >>> regions = Regions(problem)
    >>> pattern = regions.pattern(np.array([0.3]))
    >>> local = regions.solve(pattern)
    >>> local.value
    0.0
    >>> border_mip(problem, regions, local, pattern, nodes=100).value
    2.0
    """
    deadline = None if time_limit is None else time.perf_counter() + time_limit
    bounded = problem if problem.bounds is not None else problem.with_bounds("interval")
    free = _free(Region(bounded, pattern, regions.unit), local.v, border, nearest)
    region = Region(bounded, pattern, regions.unit, free)
    model, start = _model(region), _start(region, local.v)
    held = float(model.c @ start)
    least = held + GAIN * max(1.0, abs(held))
    slack = region.slack(start * region.unit)
    near = np.argsort(np.where(region.free, np.inf, slack), kind="stable")[:BATCH]
    work = np.sort(near[~region.free[near]])

    u, work = generate(HighsSolver(region.with_rows(model.relax(), work), OPTIONS), region, work, deadline)
    if u is None or model.c @ u <= least:
        return None
    solver = HighsSolver(region.with_rows(model, work), MIP_OPTIONS | {"mip_max_nodes": nodes})
    until = None if deadline is None else deadline - LAST * (deadline - time.perf_counter())
    u, _ = generate(solver, region, work, until, start)
    if u is None or model.c @ u <= least:
        return None
    left = None if deadline is None else deadline - time.perf_counter()
    found = regions.solve(_flipped(region, pattern, free, u), whole=u[: problem.n], time_limit=left)
    return found if found is not None and found.value > local.value else None


def _free(region: Region, v: Floats, border: float, nearest: int) -> Free:
    """The ReLUs that lie within `border` of 0 at v, and those `nearest` to it."""
    distance = np.abs(region.slack(v))
    some = distance <= border
    some[np.argsort(distance, kind="stable")[: np.count_nonzero(some) + nearest]] = True
    return tuple(tuple(map(np.flatnonzero, part)) for part in region.masks(some))


def _model(region: Region) -> MatrixModel:
    """The region's LP with h = max(0, z) for each free neuron, its rows divided by the length of z's."""
    problem, which = region.problem, np.flatnonzero(region.free)
    assert problem.bounds is not None
    low = np.minimum(region.of_relus([known.lower for known in problem.bounds])[which], 0.0)
    high = np.maximum(region.of_relus([known.upper for known in problem.bounds])[which], 0.0)
    A, c, length = region.affine(which)
    lp, m, n = region.model(), which.size, problem.n
    for _ in range(DEPTH):  # what z can be where the other neurons keep their pattern; h of a layer before is in it
        ends = lp.lower, np.concatenate([lp.upper[:n], high, np.ones(m)])
        low, high = (
            np.maximum(low, np.minimum(_least(A, *ends) + c, 0.0)),
            np.minimum(high, np.maximum(c - _least(-A, *ends), 0.0)),
        )
    low, high, c = low / length, high / length, c / length
    z, inverse = sparse.csr_array(A / length[:, None]), sparse.diags_array(1.0 / length)
    h = sparse.hstack([sparse.csr_array((m, n)), inverse, sparse.csr_array((m, m))])
    l_sigma, u_sigma = (sparse.hstack([sparse.csr_array((m, n + m)), sparse.diags_array(end)]) for end in (low, high))
    rows = sparse.csr_array(sparse.vstack([h - z, h - z - l_sigma, h - u_sigma]))
    none = np.full(m, np.inf)
    upper = np.concatenate([lp.upper[:n], high * length, np.ones(m)])
    integer = np.concatenate([problem.integer, np.zeros(m, dtype=bool), np.ones(m, dtype=bool)])
    ends = np.concatenate([c, -none, -none]), np.concatenate([none, c - low, np.zeros(m)])
    return replace(lp, upper=upper, integer=integer).with_rows(rows, *ends)


def _least(A: Floats, lower: Floats, upper: Floats) -> Floats:
    """min A u over lower <= u <= upper, where a column without an end counts only where A holds it."""
    with np.errstate(invalid="ignore"):
        parts = np.where(A > 0.0, A * lower, np.where(A < 0.0, A * upper, 0.0))
    return np.asarray(parts.sum(axis=1))


def _start(region: Region, v: Floats) -> Floats:
    """The columns at v: what free neurons hand on there, and whether they do."""
    networks = region.problem.networks
    z = region.of_relus([placed.network.pre_activations(v[placed.inputs]) for placed in networks])[region.free]
    return np.concatenate([v, np.maximum(z, 0.0), z > 0.0]) / region.unit


def _flipped(region: Region, pattern: Patterns, free: Free, u: Floats) -> Patterns:
    """The pattern with the free neurons as their binaries say."""
    sigma = u[region.n - region.n_free :] > 0.5
    flipped, first = [], 0
    for part, opened in zip(pattern, free, strict=True):
        layers = []
        for active, at in zip(part, opened, strict=True):
            layers.append(active.copy())
            layers[-1][at] = sigma[first : first + at.size]
            first += at.size
        flipped.append(tuple(layers))
    return tuple(flipped)
