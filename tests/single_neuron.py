"""One neuron over a box: what its LP relaxation says, and what its convex hull does."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

from omlt_ext import Bounds, Box, Layer, Network, tighten_bounds
from omlt_ext.encoding import Encoding, Formulation
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver


def random_neuron(seed: int, n: int = 5) -> tuple[Network, Bounds]:
    """An unstable neuron; every second one has a zero weight and a fixed input."""
    rng = np.random.default_rng(seed)
    weight, low = rng.normal(size=(1, n)), rng.normal(size=n)
    high = low + rng.uniform(0.1, 2.0, n)
    if seed % 2:
        weight[0, 0], high[1] = 0.0, low[1]
    middle = float(weight[0] @ (low + high) / 2)
    spread = float(abs(weight[0]) @ (high - low) / 2)
    network = Network([Layer(weight, [spread * rng.uniform(-0.8, 0.8) - middle], relu=True)])
    return network, tighten_bounds(network, Box(low, high), effort="interval")


def directions(n: int, seed: int) -> np.ndarray:
    """Slopes a (8, n) to try, of the size of the neuron's own."""
    return np.random.default_rng(seed).normal(size=(8, n))


def relaxed_max(network: Network, bounds: Bounds, formulation: Formulation, a: np.ndarray) -> float:
    """max of sum f(x) - a x over the LP relaxation."""
    model = network_model(network, bounds, formulation).relax()
    embedded = model.networks[0]
    present = embedded.outputs[embedded.outputs >= 0]
    columns = np.concatenate([embedded.inputs, present])
    model = model.with_objective(columns, np.concatenate([-a, np.ones(present.size)]), maximize=True)
    result = HighsSolver(model).solve()
    assert result.status == "optimal"
    assert result.value is not None
    return result.value


def hull_max(network: Network, box: Box, a: np.ndarray) -> float:
    """max of h - a x over one neuron: over its convex hull as well, being linear. One LP for each state."""
    layer, ends = network.layers[0], list(zip(box.lower, box.upper, strict=True))
    w, b = layer.dense_weight()[0], layer.bias[0]
    off = linprog(a, A_ub=w[None, :], b_ub=[-b], bounds=ends)
    on = linprog(a - w, A_ub=-w[None, :], b_ub=[b], bounds=ends)
    assert off.status == on.status == 0
    return max(-off.fun, b - on.fun)


def exact_slack(encoding: Encoding, layer: Layer, x: np.ndarray, rest: Callable[[int], list[Fraction]]) -> Fraction:
    """The least slack of any row at the network's own point, in exact arithmetic.

    `rest(sigma)`: the values of the columns after z, h and sigma.
    """
    exact = [Fraction(float(v)) for v in x]
    z = sum(Fraction(float(w)) * v for w, v in zip(layer.dense_weight()[0], exact, strict=True))
    z += Fraction(float(layer.bias[0]))
    sigma = int(z > 0)
    point = [*exact, z, sigma * z, Fraction(sigma), *rest(sigma)]
    slacks = [Fraction(0)]
    for rows in encoding.rows:
        matrix = rows.matrix.tocsr()
        for i in range(rows.neuron.size):
            part = slice(matrix.indptr[i], matrix.indptr[i + 1])
            terms = zip(matrix.indices[part], matrix.data[part], strict=True)
            value = sum((Fraction(float(a)) * point[c] for c, a in terms), Fraction(0))
            slacks += [Fraction(float(rows.upper[i])) - value] if np.isfinite(rows.upper[i]) else []
            slacks += [value - Fraction(float(rows.lower[i]))] if np.isfinite(rows.lower[i]) else []
    return min(slacks)
