"""The largest value of a linear objective of one network's outputs over a box or polytope, by any heuristic.

    max  objective . f(x)   where   x in the domain

`value` is objective . f(x) at the best point found, always evaluated by the network itself. `bound` is at least the
maximum, whatever has been proved so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from numpy.typing import ArrayLike

from ..domain import Box, Polytope
from ..encoding import Formulation
from ..errors import BoundsError, OptionError
from ..mixed import piecewise_linear
from ..network import Network
from ..options import check_count, check_number
from ..plugins import formulation as find_formulation
from ..tightening import Effort
from .heuristic import Heuristic, heuristic
from .incumbent import Incumbent, bar_of
from .problem import Problem
from .propagated import propagate
from .result import SearchResult
from .several import search_several

KEYWORDS = ("time_limit", "rounds", "seed", "gap", "effort", "executor", "searches", "progress")  # of any method
LEAST_GAP = 1e-5  # a smaller gap cannot be told from the solver's tolerances


def maximize(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    objective: ArrayLike | None = None,
    *,
    method: str | Heuristic = "auto",
    time_limit: float | None = None,
    rounds: int | None = None,
    seed: int = 0,
    gap: float = 1e-4,
    effort: str | Effort = "crown",
    formulation: str | Formulation | None = None,
    executor: Executor | None = None,
    searches: int | None = None,
    progress: bool = False,
) -> SearchResult:
    """The maximum of objective . f(x) over a box or polytope: the best point found, its value, and a bound.

    `domain` is a `Box`, a `Polytope` or a pair (lower, upper), each a number or n_inputs numbers. `objective`
    (n_outputs,) weighs the outputs; a network with one output does not need it. To minimise c . f(x), maximise
    (-c) . f(x): value and bound are then those of (-c) . f(x).

    `method`, a name or a heuristic with options of its own: "auto" (the default), "relaxing_walk", "gradient_ascent",
    "sample_mip", "pruned_surrogate", "milp", or what another package has registered. Before it begins, propagation with
    `effort` (as in `tighten_bounds`) bounds the objective. `formulation`, a name or an object, is that of the
    mixed-integer models that a method makes.

    The search ends when (bound - value) / max(1, |value|) <= gap, with `gap` at least 1e-5; status "optimal" says that
    it did. `time_limit` in seconds covers everything; it is looked at between steps and inside solves, so that one
    pass of `effort` can outlast it. `rounds` limits the work of the method instead: with the same seed, the same rounds
    and no time limit the result is the same again. Ctrl-C ends the search as well, at HiGHS's next look at it: some
    seconds later where one of its own heuristics has just begun. Each leaves the best point and bound so far.

    `executor` runs `searches` of them (8 by default), each with its own seed, and takes the best; those that find no
    time left return at once, so that with a time limit as many count as there are workers. `progress` draws a bar on
    standard error: seconds, out of the time limit if there is one, with the value and the bound.

    Raises `NetworkError` for anything but a `Network`, `BoundsError` for a domain that is missing or infinite or on
    which the network overflows, `ShapeError` for a wrong number of coordinates or weights, `OptionError` for other
    arguments, `FormulationError` for an unknown formulation, `SolverError` for one that HiGHS does not know (logic).

    >>> from omlt_ext import Box, Layer, Network
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, -3.0]], [0.0], relu=False)])
    >>> best = maximize(network, Box([-1, -1], [1, 1]))  # max (x + y)+ - 3 (x - y)+
    >>> best.status, round(best.value, 4), round(best.bound, 4), best.x
    ('optimal', 2.0, 2.0, array([1., 1.]))
    """
    begin = time.time()
    chosen = with_formulation(heuristic(method), formulation)
    check_options(time_limit, rounds, seed, gap, effort, searches)
    piecewise_linear(network)
    problem = Problem.of_network(network, domain, objective)
    with bar_of(time_limit, progress) as bar:
        incumbent = Incumbent(problem, max(float(gap), LEAST_GAP), time_limit, begin, bar)
        try:
            propagate(problem, incumbent, "interval")
            incumbent.offer(problem.box(0).center)
            if incumbent.goes_on():
                bounded = propagate(problem, incumbent, effort)
                search_several(chosen, bounded, incumbent, seed, rounds, executor, searches)
        except KeyboardInterrupt:
            incumbent.stopped_by = "interrupted"
    return incumbent.result()


def with_formulation(chosen: Heuristic, formulation: str | Formulation | None) -> Heuristic:
    """The heuristic with this formulation, where it has that option and one is given."""
    if formulation is None:
        return chosen
    found, options = find_formulation(formulation), cast(Any, chosen)
    knows = is_dataclass(options) and any(option.name == "formulation" for option in fields(options))
    return cast(Heuristic, replace(options, formulation=found)) if knows else chosen


def check_options(
    time_limit: float | None, rounds: int | None, seed: int, gap: float, effort: str | Effort, searches: int | None
) -> None:
    """Raise `OptionError` for what cannot be."""
    try:
        Effort.of(effort)
    except BoundsError as error:
        raise OptionError(str(error)) from None
    check_number("time_limit", 0.0 if time_limit is None else time_limit, most=math.inf)
    check_number("gap", gap, most=math.inf)
    check_count("seed", seed, 0)
    for name, count in (("rounds", rounds), ("searches", searches)):
        if count is not None:
            check_count(name, count, 1)


def maximize_by(
    kind: type[Any],
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    objective: ArrayLike | None,
    options: dict[str, Any],
) -> SearchResult:
    """`maximize` with `method=kind(...)`; `options` are those of `kind` and the other keywords of `maximize`.

    `OptionError` for a name that neither knows.
    """
    own = [option.name for option in fields(kind)]
    for name in options:
        if name not in own and name not in KEYWORDS:
            raise OptionError(f"{kind.__name__} has no option {name!r}; it has {', '.join(own)}, {', '.join(KEYWORDS)}")
    method = kind(**{name: value for name, value in options.items() if name in own})
    others = {name: value for name, value in options.items() if name not in own}
    return maximize(network, domain, objective, method=method, **others)
