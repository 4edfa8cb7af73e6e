"""The exact maximum of a linear objective of a network's inputs and outputs over a box or polytope.

    max  inputs . x + objective . f(x)   where   x in the domain

Branch and bound over the network itself: no mixed-integer model is made. See `relu_tree` and `box_tree` for the two
ways of splitting, `race` for the choice between them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ..domain import Box, Floats, Polytope, numbers
from ..errors import OptionError, ShapeError
from ..mixed import piecewise_linear
from ..network import Network
from ..options import check_choice
from ..propagation.backend import BACKENDS, open_backend
from ..tightening import Effort
from ..tightening.parallel import check_executor
from .explore import SPLITS, explore
from .incumbent import Incumbent, bar_of
from .maximize import LEAST_GAP, check_options
from .problem import Problem
from .result import SearchResult
from .target import Target


def branch_and_bound(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    objective: ArrayLike | None = None,
    *,
    inputs: ArrayLike | None = None,
    time_limit: float | None = None,
    gap: float = 1e-4,
    seed: int = 0,
    effort: str | Effort = "dual",
    split: str = "auto",
    start: ArrayLike | None = None,
    executor: Executor | None = None,
    backend: str = "auto",
    device: str = "cpu",
    progress: bool = False,
) -> SearchResult:
    """The maximum of inputs . x + objective . f(x), proved to `gap`: the best point, its value, and a bound.

    `domain` is a `Box`, a `Polytope` or a pair (lower, upper). `objective` (n_outputs,) weighs the outputs, `inputs`
    (n_inputs,) the inputs; a network with one output needs neither. To minimise, maximise the negative.

    `effort` bounds the neurons at the root. `split`: "relu" divides at the signs of neurons, "input" divides the box,
    "auto" tries both where the network has few inputs. `start` (n_inputs,) is a first point; the search then does not
    begin with a climb for one.
    `seed` is that of the climbs that look for points. The result is the same again for the same arguments without a
    time limit.

    `executor`, any of `concurrent.futures`, divides the open nodes of a large tree among its workers, in rounds. The
    result is then another one than without, but the same again on any workers.

    `backend` of dual ascent: "numpy"; "numba", which compiles it, many times as fast; "torch" on a `device` such as
    "cuda", for wide networks. "auto" is numpy, and numba in large trees where it is installed (the extra "fast").

    Ends when (bound - value) / max(1, |value|) <= gap (status "optimal"), at `time_limit` seconds, or at Ctrl-C, with
    the best so far. The bound is rounded outward, so that it holds in exact arithmetic, except where an LP of HiGHS's
    has closed a leaf: there its dual bound, widened by its tolerance, counts.

    Raises as `maximize` does.

    >>> from omlt_ext import Box, Layer, Network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)])
    >>> best = branch_and_bound(network, Box([-1, -1], [1, 1]), inputs=[0.5, 0.0])  # (x + y)+ - 3 (x - y)+ + x / 2
    >>> best.status, round(best.value, 3), round(best.bound, 3), best.x
    ('optimal', 2.5, 2.5, array([1., 1.]))
    """
    begin = time.time()
    check_options(time_limit, None, seed, gap, effort, None)
    check_choice("split", split, SPLITS)
    check_choice("backend", backend, ("auto", *BACKENDS))
    check_executor(executor)
    ascent = None if backend == "auto" else open_backend(backend, device)
    if ascent is not None and isinstance(effort, str):
        effort = Effort(effort, backend=backend, device=device)
    piecewise_linear(network)
    problem = Problem.of_network(network, domain, objective)
    if inputs is not None:
        problem = replace(problem, c=_weights(inputs, network.n_inputs))
    where = problem.domain(0)
    target = Target.linear(network, where, problem.d, problem.c)
    with bar_of(time_limit, progress) as bar:
        incumbent = Incumbent(problem, max(float(gap), LEAST_GAP), time_limit, begin, bar)
        try:
            if start is not None:
                incumbent.offer(np.array(start, dtype=np.float64))
            incumbent.offer(problem.box(0).center)
            rng = np.random.default_rng(seed)
            explore(target, incumbent, rng, effort, split, executor, ascent, climbed=start is not None)
        except KeyboardInterrupt:
            incumbent.stopped_by = "interrupted"
    return incumbent.result()


def _weights(inputs: ArrayLike, n: int) -> Floats:
    """c (n,), finite."""
    weights = np.array(numbers(inputs, "inputs", OptionError))
    if weights.shape != (n,):
        raise ShapeError(f"inputs has shape {weights.shape}; it weighs the {n} inputs, so it must be ({n},)")
    if not np.isfinite(weights).all():
        raise OptionError("inputs must be finite numbers")
    return weights
