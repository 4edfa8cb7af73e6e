"""`omlt-ext prune`: a sparse copy of a network, and what it costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_common import DONE, check_file, load, numbers_in, on_terminal, print_json
from .errors import OptionError
from .plugins import PRUNING, names

if TYPE_CHECKING:
    from .network import Network


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `omlt-ext prune`."""
    command.add_argument("--method", default="magnitude", help=f"{', '.join(names(PRUNING))}; the default is magnitude")
    command.add_argument(
        "--sparsity", type=float, default=0.8, metavar="S", help="share of weights that go; default 0.8"
    )
    command.add_argument("--data", metavar="FILE", help="samples: .npz with X (samples, inputs) and maybe y")
    command.add_argument("--test", metavar="FILE", help="samples that the report is about; default: those of --data")
    command.add_argument("--scope", default="global", help="weights compete in all layers (global) or in each (layer)")
    command.add_argument(
        "--densities", metavar="D0,D1,...", help="share that each layer keeps, or regions: chosen by linear regions"
    )
    command.add_argument("--steps", type=int, default=1, help="prune little by little, in so many steps")
    command.add_argument(
        "--finetune", type=int, metavar="EPOCHS", help="train what is left on --data for EPOCHS after each step"
    )
    command.add_argument("--seed", type=int, default=0, help="of everything random; default 0")
    command.add_argument("-o", "--output", metavar="OUT", help="where the pruned network goes, .onnx")


def run(options: argparse.Namespace) -> int:
    """`omlt-ext prune`."""
    if options.output is not None:
        check_file("--output", options.output, ("onnx",))
    network = load(options)
    from .pruning import prune
    from .pruning.finetune import Finetune

    pruned = prune(
        network,
        options.method,
        options.sparsity,
        options.data,
        scope=options.scope,
        densities=_densities(options.densities),
        steps=options.steps,
        finetune=None if options.finetune is None else Finetune(epochs=options.finetune),
        test=options.test,
        seed=options.seed,
        progress=on_terminal() and not options.json,
    )
    if options.output is not None:
        _write(pruned.network, options.output)
    if options.json:
        print_json({"network": options.network, "output": options.output} | pruned.report.to_dict())
    else:
        print(pruned.report)
        if options.output is not None:
            print(f"written to {Path(options.output)}")
    return DONE


def _densities(given: str | None) -> Any:
    """None, a word or numbers."""
    return given if given is None else numbers_in(given) or given


def _write(network: Network, file: str) -> None:
    try:
        network.save(file)
    except OSError as error:
        raise OptionError(f"cannot write {file}: {error}") from None
