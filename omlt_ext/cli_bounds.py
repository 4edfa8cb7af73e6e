"""`omlt-ext bounds`: bounds of every neuron over a box, with the effort and the dials of `Effort`."""

from __future__ import annotations

import argparse
import logging
import os
from typing import TYPE_CHECKING, Any

from .cli_common import (
    DONE,
    STOPPED,
    box_of,
    check_file,
    check_plot,
    interrupts_announced,
    load,
    on_terminal,
    print_json,
    save_figure,
    workers,
)
from .errors import OptionError

if TYPE_CHECKING:
    from .bounds import Bounds

DIALS = (
    *("steps", "leaves", "neurons", "stop_at_sign", "seconds_per_solve"),
    *("gap", "layers", "formulation", "solver", "backend", "device"),
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `omlt-ext bounds`."""
    add = command.add_argument
    add("--effort", default="dual", help="interval, crown, dual (the default), split, lp or milp")
    add("--steps", type=int, metavar="N", help="steps of dual ascent")
    add("--leaves", type=int, metavar="N", help="parts that the rung split divides the box into, for each bound")
    add("--neurons", metavar="WHICH", help="on the last rung: all, unstable, or a number: the widest of each layer")
    add("--stop-at-sign", action="store_true", default=None, help="leave a ReLU alone once its sign is decided")
    add("--seconds-per-solve", type=float, metavar="S", help="seconds for each LP or MILP")
    add("--layers", metavar="K,K,...", help="on the last rung: only these layers, counted from 0")
    add("--gap", type=float, metavar="G", help="a MILP ends within this share of the neuron's width (default: 1e-3)")
    add("--solver", help="of LPs and MILPs: highs (the default), scip or gurobi")
    add("--formulation", help="of MILPs: bigm (the default), auto, ...; ideal_cuts adds LPs with cuts to the rung lp")
    add("--backend", help="of dual ascent and splits: numpy (the default), numba or torch")
    add("--device", help="for torch: cpu (the default), cuda, ...")
    add("--time-limit", type=float, metavar="S", help="seconds in all; the best bounds so far are printed and saved")
    add("--jobs", type=int, default=1, metavar="N", help="worker processes (default: 1, none but this one)")
    add("--resume", metavar="FILE", help="write the run to this file after each layer; go on from it if it is there")
    add("-o", "--output-file", metavar="OUT.npz", help="save the bounds (Bounds.load reads them)")
    add("--plot", metavar="FILE.png", help="draw the bounds, layer by layer (needs matplotlib)")


def run(options: argparse.Namespace) -> int:
    """Tighten, print, save and draw; `STOPPED` where the run did less than it was asked."""
    from .tightening import tighten_bounds

    effort = _effort(options)
    if options.output_file is not None:
        check_file("-o", options.output_file, ["npz"])
        if options.resume is not None and os.path.realpath(options.output_file) == os.path.realpath(options.resume):
            raise OptionError("-o and --resume name the same file; the run's file holds the bounds already")
    if options.plot is not None:
        check_plot(options.plot)
    network = load(options)
    box = box_of(options, network)
    logging.getLogger("omlt_ext").addHandler(logging.NullHandler())  # notes are printed below
    with interrupts_announced(), workers(options.jobs) as executor:
        found = tighten_bounds(
            *(network, box, effort),
            time_limit=options.time_limit,
            executor=executor,
            progress=on_terminal(),
            resume=options.resume,
        )
    if options.output_file is not None:
        try:
            found.save(options.output_file)
        except OSError as error:
            raise OptionError(f"cannot write {options.output_file}: {error}") from None
    if options.plot is not None:
        save_figure(found.plot(), options.plot)
    if options.json:
        print_json(_report(options.effort, found))
    else:
        seconds = sum(float(part.sum()) for part in found.seconds)
        print(f"{options.effort} bounds of {network!r}, {found.n_unstable} of {network.n_relus} ReLUs unstable")
        print(found.summary())
        print(f"  {seconds:.2f} s of work")
        for note in found.notes:
            print(f"note: {note}")
    return STOPPED if found.notes else DONE


def _effort(options: argparse.Namespace) -> Any:
    from .tightening import Effort

    dials = {name: getattr(options, name) for name in DIALS if getattr(options, name) is not None}
    if dials.get("neurons", "").isdigit():
        dials["neurons"] = int(dials["neurons"])
    if "layers" in dials:
        try:
            dials["layers"] = tuple(int(k) for k in dials["layers"].split(","))
        except ValueError:
            raise OptionError(f"--layers {dials['layers']}: give numbers with commas between them, as in 1,2") from None
    return Effort(options.effort, **dials)


def _report(effort: str, found: Bounds) -> dict[str, Any]:
    """What --json prints."""
    frame, layers = found.to_frame(), []
    for k, table in frame.groupby("layer"):
        states = {state: (table.state == state).sum() for state in ("linear", "active", "inactive", "unstable")}
        columns = ("lower", "upper", "lower_method", "upper_method", "seconds")
        width = (table.upper - table.lower).mean()
        layers.append(
            {"layer": k, "neurons": len(table), **states, "mean_width": width}
            | {name: table[name].to_numpy() for name in columns}
        )
    return {
        "effort": effort,
        "box": {"lower": found.box.lower, "upper": found.box.upper},
        "n_unstable": found.n_unstable,
        "seconds": frame.seconds.sum(),
        "finished": not found.notes,
        "notes": found.notes,
        "layers": layers,
    }
