"""`omlt-ext verify`: does a network have a counterexample to a VNN-LIB property?

Standard output is a result file of the verification competitions: the verdict on a line of its own, and for "sat" the
counterexample. What else is known goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_common import DONE, STOPPED, check_folder, interrupts_announced, on_terminal, print_json
from .errors import OptionError

if TYPE_CHECKING:
    from .verification import Verdict

VIOLATED = 10
CODES = {"unsat": DONE, "sat": VIOLATED, "unknown": STOPPED}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `omlt-ext verify`."""
    command.add_argument("property", metavar="PROP", help="a VNN-LIB file, .vnnlib or .vnnlib.gz")
    command.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds in all (default: 60)")
    command.add_argument(
        "--effort", help="bounds before the search: interval, crown, dual, split, lp or milp (default: what suits)"
    )
    command.add_argument("--split", default="auto", help="relu, input, or auto (the default)")
    command.add_argument("--seed", type=int, default=0, help="of everything that is drawn at random (default: 0)")
    command.add_argument("--counterexample", metavar="FILE", help="where to write the counterexample, if there is one")


def run(options: argparse.Namespace) -> int:
    """`omlt-ext verify`."""
    from .verification import verify

    if options.counterexample is not None:
        check_folder("--counterexample", options.counterexample)
    with interrupts_announced():
        verdict = verify(
            options.network,
            options.property,
            time_limit=options.timeout,
            effort=options.effort,
            seed=options.seed,
            split=options.split,
            progress=on_terminal() and not options.json,
        )
    found = verdict.counterexample
    if found is not None and options.counterexample is not None:
        _write(found.to_vnnlib(), options.counterexample)
    if options.json:
        print_json(_report(verdict))
    else:
        print(verdict.verdict)
        if found is not None:
            print(found.to_vnnlib())
        print(verdict, file=sys.stderr)
    return CODES[verdict.verdict]


def _report(verdict: Verdict) -> dict[str, Any]:
    """What --json prints."""
    found = verdict.counterexample
    point = None if found is None else {name: getattr(found, name) for name in ("x", "y", "disjunct", "evaluator")}
    table = verdict.disjuncts
    return {
        "verdict": verdict.verdict,
        "status": verdict.status,
        "counterexample": point,
        "bound": verdict.bound,
        "trusts_solver": verdict.trusts_solver,
        "nodes": verdict.nodes,
        "seconds": verdict.seconds,
        "disjuncts": {name: table[name].to_numpy() for name in table.columns},
    }


def _write(text: str, file: str) -> None:
    try:
        Path(file).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OptionError(f"cannot write {file}: {error}") from None
