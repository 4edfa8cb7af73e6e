"""Dual ascent: CROWN with multipliers optimised for each bound, up to the value of the LP relaxation.

Symbols as in `crown`; the Lagrangian and the ascent are in `ascent`. C = [I; -I] gives both bounds of a layer's
neurons.

Validity. The ascent runs in single precision and only proposes multipliers. The bound is then evaluated once in double
precision by `crown.backward`, rounded outward, so that neither the ascent nor its precision has to be trusted.
Sources: Xu et al., Fast and complete, ICLR 2021 (optimised lower slopes); Salman et al., A convex relaxation barrier to
tight robustness verification, NeurIPS 2019 (the LP as their limit).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ..bounds import Bounds
from ..domain import Box, Floats, Ints, Polytope
from ..network import Layer, Network, Weight, dense
from .ascent import Before, Lagrangian, Multipliers, Pace, Slopes, ascend
from .backend import Array, Backend, NumpyBackend
from .crown import (
    CONSTANT,
    AffineError,
    Relaxation,
    affine_error,
    backward,
    both_signs,
    crown,
    layer_by_layer,
    over_box,
    relax,
    step_error,
)
from .flat import Flat, FlatErrors, FlatLayer, Passed, pass_flat
from .interval import Range, activation_range, collect, given
from .rounding import row_blocks

STEPS = 12
POLYTOPE = 4  # times as many over a polytope
MARGIN = 1e-4  # how far past 0 a value in single precision decides a sign, in widths of the neuron


class Head:
    """The last layer of a network over the relaxations of the layers before, all from `bounds`."""

    def __init__(self, network: Network, bounds: Bounds, backend: Backend | None = None) -> None:
        self.network, self.bounds = network, bounds
        self.k = len(network.layers) - 1
        self.backend = NumpyBackend() if backend is None else backend
        self.relaxations: list[Relaxation] = []
        self.errors: list[AffineError] = []
        p, q = bounds.box.lower, bounds.box.upper
        for i, layer in enumerate(network.layers):
            self.errors.append(affine_error(layer, p, q))
            if i < self.k:
                z = given(bounds, i)
                self.relaxations.append(relax(layer, z))
                p, q = activation_range(layer, z)
        self.slopes: list[Slopes] = []
        before = Before(bounds.box)
        for layer, ease in zip(network.layers, self.relaxations, strict=False):
            self.slopes.append(Slopes.of(layer, ease, before, self.backend))
            before = Before(bounds.box, self.slopes[-1].order)
        self.unstable = sum(slopes.at.size for slopes in self.slopes)
        self.widest = max(layer.n_in for layer in network.layers)

    @property
    def n(self) -> int:
        """Neurons of the last layer."""
        return self.network.n_outputs

    def pace(self, steps: int) -> Pace:
        """Of an ascent from CROWN's slopes; multipliers of a polytope's rows need more steps to find their scale."""
        return Pace(steps if self.bounds.polytope is None else POLYTOPE * steps)

    def problem(self, C: Weight) -> Lagrangian:
        """The Lagrangian of the target rows C z^k."""
        top = self.network.layers[-1]
        with np.errstate(all="ignore"):
            rows, c = dense(C @ top.weight), C @ top.bias
            return Lagrangian(self.backend, self.slopes, self.bounds.box, self.bounds.polytope, rows, c)

    def evaluate(self, C: Weight, found: Multipliers, chunk_bytes: int) -> Floats:
        """Lower bounds (m,) of C z^k by the multipliers found, in double precision and rounded outward."""
        values = np.empty(C.shape[0])
        split = 4 if found.signs else 1
        for rows in row_blocks(C.shape[0], split * (self.unstable + 1) + 5 * self.widest, chunk_bytes):
            part = found.take(rows).map(self.backend.numpy)
            mu = None if part.mu is None else np.maximum(part.mu, 0.0).astype(np.float64)
            polytope = self.bounds.polytope
            if self.flat is not None:
                passed = self.passes(C[rows], part)
                values[rows] = over_box(passed.A, passed.c, passed.e, self.bounds.box, polytope, mu)
                continue
            eased = [self._eased(i, part) for i in range(self.k)]
            values[rows] = backward(self.network, self.k, C[rows], eased, self.errors, self.bounds.box, polytope, mu)
        return values

    @cached_property
    def flat(self) -> tuple[Flat, FlatErrors] | None:
        """The layers for compiled loops; None without these or where a weight is sparse."""
        weights = [layer.weight for layer in self.network.layers]
        if not self.backend.compiled or any(sparse.issparse(weight) for weight in weights):
            return None
        layers, lost, below = [], [], np.arange(self.bounds.box.n)
        for layer, ease, error, slopes in zip(
            self.network.layers, self.relaxations, self.errors, self.slopes, strict=False
        ):
            order, at = slopes.order, slopes.at
            layers.append(FlatLayer(layer.weight[np.ix_(order, below)], layer.bias[order], ease.s[at], ease.t[at]))
            step = step_error(layer, ease, error)
            lost.append(step._replace(row=step.row[order]))
            below = order
        rows = np.concatenate([np.zeros(0), *(step.row for step in lost)])
        gammas = np.array([CONSTANT, *(step.lift for step in lost)])
        errors = FlatErrors(rows, gammas, np.array([step.constant for step in lost], dtype=np.float64))
        return Flat.of(layers, self.bounds.box.n, np.float64), errors

    def passes(self, C: Weight, found: Multipliers) -> Passed:
        """Backward passes of C z^k by compiled loops, in double precision."""
        assert self.flat is not None
        top, error = self.network.layers[-1], self.errors[self.k]
        weight = top.weight[:, self.slopes[-1].order] if self.slopes else top.weight
        rows, c, e = dense(C @ weight), C @ top.bias, abs(C) @ error.row + error.constant
        none = np.zeros((c.size, 0), np.float32)
        numbers, signs = (np.concatenate([none, *part], axis=1) for part in (found.alphas, found.signs))
        return pass_flat(*self.flat, rows, c, e, numbers, signs)

    def _eased(self, i: int, found: Multipliers) -> Relaxation:
        """Layer i's relaxation with a row's own slopes and, where neurons are split, their signs and shifts."""
        ease, at, multipliers = self.relaxations[i], self.slopes[i].at, found.alphas[i]
        full = np.broadcast_to(ease.alpha, (multipliers.shape[0], ease.alpha.size)).copy()
        full[:, at] = np.clip(multipliers, 0.0, 1.0)
        if not found.signs:
            return replace(ease, alpha=full)
        sign = found.signs[i]
        s, t = (np.broadcast_to(part, full.shape).copy() for part in (ease.s, ease.t))
        shift = np.zeros_like(full)
        split, active = sign != 0.0, np.maximum(sign, 0.0)
        full[:, at] = np.where(split, active, full[:, at])
        s[:, at] = np.where(split, active, s[:, at])
        t[:, at] = np.where(split, 0.0, t[:, at])
        shift[:, at] = np.where(split, -sign * np.maximum(multipliers, 0.0), 0.0)
        return replace(ease, alpha=full, s=s, t=t, shift=shift)

    def thresholds(self, rows: slice) -> tuple[Array, Ints]:
        """(enough, pairs): the value at which a ReLU's sign is decided, and the other row of each row's neuron."""
        relu = self.network.layers[-1].relu[rows]
        width = (self.bounds.upper[-1] - self.bounds.lower[-1])[rows]
        enough = np.where(relu, MARGIN * width, np.inf)
        m = relu.size
        pairs = np.concatenate([np.arange(m, 2 * m), np.arange(m)])
        return self.backend.array(np.concatenate([enough, enough])), self.backend.array(pairs)


def dual_rows(
    network: Network,
    bounds: Bounds,
    *,
    steps: int = STEPS,
    stop_at_sign: bool = False,
    backend: Backend | None = None,
    deadline: float | None = None,
    chunk_bytes: int = 2**28,
) -> tuple[Floats, Floats]:
    """(lower, upper) of every neuron of the network's last layer by dual ascent over the relaxations of `bounds`.

    `stop_at_sign` leaves a ReLU alone as soon as its sign is decided. Rows go in chunks whose work arrays stay near
    `chunk_bytes`; those that come after `deadline`, a time of `time.time()`, get infinite bounds.
    """
    head = Head(network, bounds, backend)
    lower, upper = np.full(head.n, -np.inf), np.full(head.n, -np.inf)
    # Two rows a neuron: alpha, its best and two moments in single precision, and the work of one backward pass.
    for rows in row_blocks(head.n, 2 * (4 * head.unstable // 2 + 5 * head.widest), chunk_bytes):
        if deadline is not None and time.time() > deadline:
            break
        C = both_signs(rows, head.n)
        problem = head.problem(C)
        stop = head.thresholds(rows) if stop_at_sign else (None, None)
        with np.errstate(all="ignore"):
            _, found = ascend(problem, problem.start(), head.pace(steps), *stop)
        lower[rows], upper[rows] = np.split(head.evaluate(C, found, chunk_bytes), 2)
    return lower, -upper


def dual(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    bounds: Bounds | None = None,
    *,
    steps: int = STEPS,
    chunk_bytes: int = 2**28,
) -> Bounds:
    """Bounds of every pre-activation over the domain by dual ascent, never wider than `crown`'s from the same start.

    Starts from `crown(network, domain, bounds)`. Then, layer by layer, each side is the best of that, of the interval
    recomputed from the tighter layer before, and of the backward pass with the multipliers that `steps` steps of ascent
    found. The first layer is affine in x: over a box its interval is as tight as can be, over a polytope it takes part.
    Raises as `crown` does.

    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]], [0.0, 0.0, 0.0], relu=[True, True, False])
    >>> network = Network([hidden, Layer([[1.0, 1.0, -1.0]], [0.0], relu=False)])
    >>> box = Box([-1.0, -1.0], [2.0, 1.0])  # max(0, x + y) + max(0, x - y) - x >= (2 alpha - 1) x
    >>> print(f"crown {crown(network, box).lower[1][0]:.1f}, dual {abs(dual(network, box).lower[1][0]):.1f}")
    crown -1.0, dual 0.0
    """
    start = crown(network, domain, bounds)

    def by_ascent(k: int, ranges: Sequence[Range], p: Floats, q: Floats) -> Range | None:
        if k == 0 and start.polytope is None:
            return None
        part, known = head(network, start, ranges, np.arange(network.layers[k].n_out))
        return Range.by("dual", *dual_rows(part, known, steps=steps, chunk_bytes=chunk_bytes))

    return layer_by_layer(network, start, by_ascent)


def head(network: Network, start: Bounds, ranges: Sequence[Range], neurons: Ints) -> tuple[Network, Bounds]:
    """The network up to the last layer of `ranges`, there with only some neurons, and what is known of it."""
    k = len(ranges) - 1
    top, chosen = network.layers[k], list(ranges)
    if neurons.size < top.n_out:
        top = Layer(top.weight[neurons], top.bias[neurons], top.relu[neurons])
        chosen[k] = chosen[k].take(neurons)
    part = Network([*network.layers[:k], top])
    return part, collect(chosen, part, start.box, start.polytope)
