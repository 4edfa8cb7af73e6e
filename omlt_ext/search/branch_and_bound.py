"""The exact maximum of a linear objective of a network's inputs and outputs over a box or polytope.

    max  inputs . x + objective . f(x)   where   x in the domain

Branch and bound over the network itself: no mixed-integer model is made. See `relu_tree` and `box_tree` for the two
ways of splitting, `race` for a second tree where the first does not end soon, `shared_tree` for executors.
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
from ..propagation.backend import BACKENDS, Backend, open_backend
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
    "auto" begins with what suits the number of inputs and, up to 14 of them, tries the other beside it where that does
    not end soon. `start` (n_inputs,) is a first point in the domain, from which the search begins without a climb.
    `seed` is that of the climbs that look for points. The result is the same again for the same arguments without a
    time limit.

    `executor`, any of `concurrent.futures`, divides the open nodes of a large tree among its workers, in rounds, from
    1.6e9 multiplications on. The result is then another one than without, but the same again on any workers.

    `backend` of dual ascent: "numpy"; "numba", which compiles it, many times as fast; "torch" on a `device` such as
    "cuda", for wide networks. "auto" is numpy, and numba in large trees where it is installed (the extra "fast"). An
    `Effort` keeps its own for the root. Loops are compiled once on a machine: twenty seconds that no limit cuts short,
    for which "auto" asks that 60 seconds be left.

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
    ascent: Backend | None = open_backend("numpy" if backend == "auto" else backend, device)
    if backend == "auto":
        ascent = None  # for the tree to choose
    elif isinstance(effort, str):
        effort = Effort(effort, backend=backend, device=device)
    piecewise_linear(network)
    problem = Problem.of_network(network, domain, objective)
    if inputs is not None:
        problem = replace(problem, c=_vector(inputs, network.n_inputs, "inputs"))
    where = problem.domain(0)
    target = Target.linear(network, where, problem.d, problem.c)
    with bar_of(time_limit, progress) as bar:
        incumbent = Incumbent(problem, max(float(gap), LEAST_GAP), time_limit, begin, bar)
        try:
            if start is not None:
                incumbent.offer(_vector(start, network.n_inputs, "start"))
            climbed = incumbent.v is not None
            incumbent.offer(problem.box(0).center)
            rng = np.random.default_rng(seed)
            explore(target, incumbent, rng, effort, split, executor, ascent, climbed=climbed)
        except KeyboardInterrupt:
            incumbent.stopped_by = "interrupted"
    return incumbent.result()


def _vector(values: ArrayLike, n: int, name: str) -> Floats:
    """(n,), finite."""
    found = np.array(numbers(values, name, OptionError))
    if found.shape != (n,):
        raise ShapeError(f"{name} has shape {found.shape}; the network has {n} inputs, so it must be ({n},)")
    if not np.isfinite(found).all():
        raise OptionError(f"{name} must be finite numbers")
    return found
