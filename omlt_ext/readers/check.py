"""Every import is checked before it is returned: the lowered network against the source's own evaluator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..domain import Floats
from ..errors import ImportCheckError
from ..mixed import AnyNetwork

POINTS = 24


def probe_points(network: AnyNetwork, count: int = POINTS, seed: int = 0) -> Floats:
    """Points (count + 1, n_in) on which imports are compared: zero, uniform draws, and normal draws of three scales.

    Uniform draws come from the network's own input box where it has one, else from [-1, 1] and [0, 1].
    """
    rng = np.random.default_rng(seed)
    n = network.n_inputs
    box = network.input_box
    quarter = max(1, count // 4)
    uniform = box.sample(2 * quarter, rng) if box else np.r_[rng.uniform(-1, 1, (quarter, n)), rng.random((quarter, n))]
    scales = np.array([0.1, 1.0, 10.0])[np.arange(count - 2 * quarter) % 3]
    normal = rng.standard_normal((count - 2 * quarter, n)) * scales[:, None]
    return np.concatenate([np.zeros((1, n)), uniform, normal])


def check_import(
    network: AnyNetwork,
    evaluate: Callable[[Floats], Floats],
    *,
    source: str,
    tolerance: float = 1e-5,
    points: Floats | None = None,
) -> None:
    """Raise `ImportCheckError` unless `network` and `evaluate` agree on random points.

    `evaluate` maps (batch, n_in) to (batch, n_out). They agree where |f(x) - g(x)| <= tolerance (1 + |g(x)|_inf) at
    every point, the maximum taken over the outputs of the same point: the rounding of single precision passes, another
    function does not.
    """
    probes = probe_points(network) if points is None else points
    ours = network(probes)
    theirs = np.asarray(evaluate(probes), dtype=np.float64).reshape(len(probes), -1)
    if theirs.shape != ours.shape:
        raise ImportCheckError(f"{source}: lowered to {ours.shape[1]} outputs, the source gives {theirs.shape[1]}")
    scale = 1.0 + np.abs(theirs).max(axis=1, keepdims=True)
    gap = np.abs(ours - theirs) / scale
    if not np.isfinite(gap).all() or (gap > tolerance).any():
        worst = np.unravel_index(int(np.argmax(np.where(np.isfinite(gap), gap, np.inf))), gap.shape)
        raise ImportCheckError(
            f"{source}: the lowered network gives {ours[worst]!r} for output {worst[1]} at a random point, the source "
            f"{theirs[worst]!r}; the import is refused. Please report this file: it shows an error in the reader"
        )
