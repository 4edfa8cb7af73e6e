"""The LP over the triangle relaxation, written from its definition: what bounds are held against in several tests."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from omlt_ext import Bounds, Network


def triangle_lp(network: Network, bounds: Bounds, k: int, row: np.ndarray) -> float:
    """min row . z^k over the domain of the bounds and the triangles of all layers before k."""
    sizes = [network.n_inputs, *(layer.n_out for layer in network.layers[:k])]
    starts = np.cumsum([0, *sizes])
    rows, sides, equal, level = [], [], [], []
    if bounds.polytope is not None:
        rows += list(np.hstack([bounds.polytope.A, np.zeros((bounds.polytope.b.size, starts[-1] - starts[1]))]))
        sides += list(bounds.polytope.b)
    for i, layer in enumerate(network.layers[:k]):
        for n in range(layer.n_out):
            z, h = np.zeros(starts[-1]), np.zeros(starts[-1])
            z[starts[i] : starts[i + 1]] = layer.dense_weight()[n]
            h[starts[i + 1] + n] = 1.0
            b, low, high = layer.bias[n], bounds.lower[i][n], bounds.upper[i][n]
            if not layer.relu[n] or low >= 0:
                equal.append(h - z), level.append(b)
            elif high <= 0:
                equal.append(h), level.append(0.0)
            else:
                s = high / (high - low)
                rows += [-h, z - h, h - s * z]
                sides += [0.0, -b, s * (b - low)]
    cost = np.zeros(starts[-1])
    cost[starts[k] : starts[k + 1]] = row @ network.layers[k].dense_weight()
    ends = list(zip(bounds.box.lower, bounds.box.upper, strict=True)) + [(None, None)] * (starts[-1] - network.n_inputs)
    given = {"A_ub": np.array(rows), "b_ub": sides} if rows else {}
    exact = {"A_eq": np.array(equal), "b_eq": level} if equal else {}
    solved = linprog(cost, **given, **exact, bounds=ends)
    assert solved.status == 0
    return float(solved.fun) + float(row @ network.layers[k].bias)
