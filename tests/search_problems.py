"""Problems around networks, to test searches with, and their optimum by one LP per activation pattern."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import sparse
from scipy.optimize import LinearConstraint, linprog, milp

from omlt_ext import Box, Layer, Network
from omlt_ext.search import Placed, Problem

Pattern = tuple[np.ndarray, ...]


def dense_network(sizes: tuple[int, ...], seed: int, *, scale: float = 1.0, relu_output: bool = False) -> Network:
    """Dense layers with normal weights, ReLUs between them, and behind the last one where asked for."""
    rng = np.random.default_rng(seed)
    layers = []
    for k, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        weight, bias = scale * rng.normal(size=(n_out, n_in)), scale * rng.normal(size=n_out)
        layers.append(Layer(weight, bias, relu=relu_output or k < len(sizes) - 2))
    return Network(layers)


def over_box(sizes: tuple[int, ...], seed: int, **options: object) -> Problem:
    """max sum of outputs of a dense network over [-1, 0.75]^n."""
    network = dense_network(sizes, seed, **options)  # type: ignore[arg-type]
    return Problem.of_network(network, Box.full(sizes[0], -1.0, 0.75), np.ones(sizes[-1]))


def two_networks(seed: int) -> Problem:
    """Two networks that share a column, rows with and without outputs, an equation, whole columns, a free column.

    v = (x0, x1, x2, k, t): f reads x0, x1, x1; g reads x1, x2, k; k and another whole number; t free and at most f + k.
    """
    rng = np.random.default_rng(seed)
    f, g = dense_network((3, 3, 2), seed), dense_network((3, 2, 2, 1), seed + 1)
    n, inf = 6, np.inf
    R = np.zeros((4, n))
    S = np.zeros((4, 3))
    R[0, :3] = rng.normal(size=3)  # a row on inputs alone
    R[1, [0, 2, 5]] = 1.0, 1.0, 0.25  # an equation, with a whole number in it
    R[2, 4], R[2, 3], S[2, 0] = 1.0, -0.5, -1.0  # t <= f_0 + k / 2
    S[3, :] = rng.normal(size=3)  # a row on outputs alone
    return Problem(
        networks=(Placed(f, np.array([0, 1, 1]), slice(0, 2)), Placed(g, np.array([1, 2, 3]), slice(2, 3))),
        c=np.array([0.1, -0.2, 0.0, -0.3, 1.0, 0.2]),
        d=np.array([0.0, 0.7, 1.0]),
        offset=0.5,
        R=sparse.csr_array(R),
        S=sparse.csr_array(S),
        row_lower=np.array([-inf, 0.25, -inf, -4.0]),
        row_upper=np.array([1.5, 0.25, 0.0, 4.0]),
        lower=np.array([-1.0, -1.0, -2.0, 0.0, -inf, -1.0]),
        upper=np.array([1.0, 1.0, 2.0, 2.0, inf, 2.0]),
        integer=np.array([False, False, False, True, False, True]),
    )


def region_value(problem: Problem, pattern: tuple[Pattern, ...], whole: np.ndarray | None = None) -> float:
    """The optimum over the closed region of a pattern, with every row written down; -inf where it is empty."""
    y_rows, y_sides, rows, sides = [], [], [], []
    for placed, part in zip(problem.networks, pattern, strict=True):
        read = np.zeros((placed.network.n_inputs, problem.n))
        read[np.arange(placed.inputs.size), placed.inputs] = 1.0
        A, c = read, np.zeros(placed.network.n_inputs)
        for layer, active in zip(placed.network.layers, part, strict=True):
            A, c = layer.dense_weight() @ A, layer.dense_weight() @ c + layer.bias
            sign = np.where(active, -1.0, 1.0)[layer.relu]
            rows.append(sign[:, None] * A[layer.relu])
            sides.append(-sign * c[layer.relu])
            A, c = A * active[:, None], c * active
        y_rows.append(A)
        y_sides.append(c)
    Y, y = np.concatenate(y_rows), np.concatenate(y_sides)
    G, shift = problem.R.toarray() + problem.S.toarray() @ Y, problem.S.toarray() @ y
    A_all = np.concatenate([*rows, G])
    low = np.concatenate([np.full(sum(map(len, rows)), -np.inf), problem.row_lower - shift])
    high = np.concatenate([*sides, problem.row_upper - shift])
    lower, upper = problem.lower.copy(), problem.upper.copy()
    if whole is not None:
        lower[problem.integer] = upper[problem.integer] = whole[problem.integer]
    cost = problem.c + problem.d @ Y
    constant = problem.offset + float(problem.d @ y)
    if problem.integer.any() and whole is None:
        found = milp(
            -cost,
            constraints=LinearConstraint(A_all, low, high),
            bounds=(lower, upper),
            integrality=problem.integer.astype(int),
        )
    else:
        above, below = np.isfinite(high), np.isfinite(low)
        found = linprog(
            -cost,
            np.concatenate([A_all[above], -A_all[below]]),
            np.concatenate([high[above], -low[below]]),
            bounds=np.column_stack([lower, upper]),
        )
    return -float(found.fun) + constant if found.status == 0 else -np.inf


def patterns(problem: Problem) -> list[tuple[Pattern, ...]]:
    """Every pattern of a small problem."""
    masks = [layer.relu for placed in problem.networks for layer in placed.network.layers]
    every = []
    for bits in itertools.product((False, True), repeat=sum(int(mask.sum()) for mask in masks)):
        rest, flat = list(bits), []
        for mask in masks:
            active = np.ones(mask.size, dtype=bool)
            active[mask] = [rest.pop() for _ in range(int(mask.sum()))]
            flat.append(active)
        parts = []
        for placed in problem.networks:
            parts.append(tuple(flat[: len(placed.network.layers)]))
            flat = flat[len(placed.network.layers) :]
        every.append(tuple(parts))
    return every
