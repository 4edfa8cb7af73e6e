"""`omlt-ext maximize`: the maximum of one output, or of a weighted sum of the outputs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .cli_common import (
    DONE,
    STOPPED,
    box_of,
    check_plot,
    interrupts_announced,
    load,
    numbers_in,
    on_terminal,
    print_json,
    save_figure,
    workers,
)
from .errors import OptionError, ShapeError
from .plugins import HEURISTICS, names

if TYPE_CHECKING:
    from .network import Network
    from .search import SearchResult


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `omlt-ext maximize`."""
    command.add_argument(
        "--effort", default="crown", help="how bounds are found: interval, crown (the default), dual, split, lp or milp"
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--output", type=int, metavar="K", help="maximise output K, counted from 0")
    which.add_argument("--objective", metavar="C0,C1,...", help="maximise the sum of C_k times output k")
    command.add_argument("--minimize", action="store_true", help="minimise instead")
    command.add_argument("--method", default="auto", help=f"{', '.join(names(HEURISTICS))}; the default is auto")
    command.add_argument("--formulation", help="of the mixed-integer models that the method makes: bigm, auto, ...")
    command.add_argument("--time-limit", type=float, metavar="S", help="seconds in all")
    command.add_argument("--rounds", type=int, metavar="N", help="rounds of the method; limits work instead of time")
    command.add_argument("--searches", type=int, metavar="N", help="searches with seeds of their own (default: --jobs)")
    command.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1, only this one)"
    )
    command.add_argument("--gap", type=float, default=1e-4, help="stop at this gap, relative above 1 (default: 1e-4)")
    command.add_argument("--seed", type=int, default=0, help="of everything that is drawn at random (default: 0)")
    command.add_argument("--plot", metavar="FILE.png", help="draw value and bound against time (needs matplotlib)")


def run(options: argparse.Namespace) -> int:
    """`omlt-ext maximize`."""
    from .search import maximize
    from .search.history_plot import plot_history
    from .search.several import wait_quietly

    if options.plot is not None:
        check_plot(options.plot)
    network = load(options)
    box = box_of(options, network)
    objective = _objective(options, network)
    sign = -1.0 if options.minimize else 1.0
    progress = not options.json and on_terminal()
    if progress and options.minimize:
        print("the bar shows the maximum of the negative objective", file=sys.stderr)
    several = options.searches if options.searches is not None or options.jobs == 1 else options.jobs
    with interrupts_announced(), workers(options.jobs, wait_quietly) as executor:
        result: SearchResult = maximize(
            network,
            box,
            [sign * weight for weight in objective],
            method=options.method,
            time_limit=options.time_limit,
            rounds=options.rounds,
            seed=options.seed,
            gap=options.gap,
            effort=options.effort,
            formulation=options.formulation,
            executor=executor,
            searches=several,
            progress=progress,
        )
    # + 0.0 turns -0.0 into 0.0
    value, bound = (None if number is None else sign * number + 0.0 for number in (result.value, result.bound))
    history = result.history.assign(value=sign * result.history.value, bound=sign * result.history.bound)
    if options.json:
        report = {
            "sense": "min" if options.minimize else "max",
            "method": options.method,
            "objective": objective,
            "status": result.status,
            "value": value,
            "bound": bound,
            "gap": result.gap,
            "x": result.x,
            "outputs": None if result.x is None else network(result.x),
            "nodes": result.nodes,
            "seconds": result.seconds,
            "history": {name: history[name].to_numpy() for name in history.columns},
        }
        print_json(report)
    else:
        print(f"status   {result.status.replace('_', ' ')}")
        print(f"value    {_text(value)}")
        print(f"bound    {_text(bound)}  (no point of the box has {'less' if options.minimize else 'more'})")
        print(f"gap      {_text(result.gap)}")
        print(f"seconds  {result.seconds:.2f}, {result.nodes} nodes, method {options.method}")
        print(f"x        {'none' if result.x is None else ' '.join(_text(number) for number in result.x)}")
    if options.plot is not None:
        title = f"{Path(options.network).name}, {options.method}: {result.status.replace('_', ' ')}"
        label = "objective, minimised" if options.minimize else "objective, maximised"
        save_figure(plot_history(history, title=title, label=label), options.plot)
    return DONE if result.status == "optimal" else STOPPED


def _objective(options: argparse.Namespace, network: Network) -> list[float]:
    """The weights of the outputs."""
    n = network.n_outputs
    if options.objective is not None:
        weights = numbers_in(options.objective)
        if weights is None:
            raise OptionError(f"--objective {options.objective!r}: give numbers with commas between them, as in 1,-1")
        if len(weights) != n:
            raise ShapeError(f"--objective has {len(weights)} weights, the network {n} outputs")
        return weights
    if options.output is None and n > 1:
        raise OptionError(f"the network has {n} outputs; give --output K or --objective C0,C1,...")
    chosen = options.output or 0
    if not 0 <= chosen < n:
        raise OptionError(f"--output {chosen}: the network has the outputs 0 to {n - 1}")
    return [float(k == chosen) for k in range(n)]


def _text(number: float | None) -> str:
    return "none" if number is None else f"{number:.10g}"
