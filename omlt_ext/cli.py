"""The command line `omlt-ext`: look at a network file, bound its neurons, maximise an output, verify it, prune it.

Each command prints a table, or with --json one JSON object and nothing else on standard output. Errors go to standard
error in one line. One module for each command: `cli_bounds`, `cli_maximize`, `cli_verify`, ...; what they share is in
`cli_common`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from . import cli_bounds, cli_maximize, cli_prune, cli_verify
from .cli_common import DONE, FAILED, INTERRUPTED, load, numbers_in, print_json
from .errors import OmltExtError

EXIT_CODES = """\
exit codes:
  0    done; maximize: the value is proved optimal within the gap; verify: unsat, proved
  1    an error: the file, the box or an option cannot be used (one line on standard error)
  2    wrong arguments
  3    stopped early, the result so far is printed: time limit, Ctrl-C, a lost worker, a limit of the solver;
       verify: unknown
  10   verify: sat, the counterexample is printed
  130  Ctrl-C anywhere else
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `omlt-ext` with `arguments` (default: the process's own) and return its exit code.

    Wrong arguments raise `SystemExit(2)`, as argparse does; errors of `omlt_ext` become a line and the code 1.

    >>> main(["info", "nowhere.onnx"])
    1
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args([_shielded(argument) for argument in given])
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except OmltExtError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` say, has gone; Python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _fail(message: str) -> int:
    print(f"omlt-ext: error: {' '.join(message.split())}", file=sys.stderr)
    return FAILED


def _shielded(argument: str) -> str:
    """A negative number, or a list that starts with one, with a space before it: argparse then reads it as a value.

    >>> _shielded("-1e-3"), _shielded("-1,2"), _shielded("-o")
    (' -1e-3', ' -1,2', '-o')
    """
    return f" {argument}" if argument.startswith("-") and numbers_in(argument) is not None else argument


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    from . import __version__

    kind = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="omlt-ext",
        description="Trained ReLU networks: what a file holds, bounds of neurons, the largest output, properties, "
        "sparse copies.",
        epilog=EXIT_CODES,
        formatter_class=kind,
    )
    top.add_argument("--version", action="version", version=f"omlt-ext {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    file = argparse.ArgumentParser(add_help=False)
    file.add_argument("network", metavar="NET", help="a network file: .onnx, .nnet, .pt, .keras, ...")
    file.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    source = argparse.ArgumentParser(add_help=False, parents=[file])
    source.add_argument("--logits", action="store_true", help="drop a softmax or sigmoid that ends the network")

    domain = argparse.ArgumentParser(add_help=False)
    box = domain.add_mutually_exclusive_group()
    box.add_argument("--box", nargs=2, type=float, metavar=("LO", "HI"), help="the same interval for every input")
    box.add_argument(
        "--box-file",
        metavar="FILE",
        help="a box from .npz (arrays lower and upper, or what `bounds -o` wrote) or .json (an OMLT .bounds.json); "
        "without either option: the network's own input box",
    )

    def command(name: str, run: Any, help: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, parents=parents, help=help, description=help, epilog=EXIT_CODES, formatter_class=kind
        )
        made.set_defaults(run=run)
        return made

    command("info", info, "What a network file holds: layers, inputs, outputs, input box.", source)
    title = "Bounds of every neuron over a box, layer by layer."
    cli_bounds.add_arguments(command("bounds", cli_bounds.run, title, source, domain))
    title = "The maximum of one output, or of a weighted sum."
    cli_maximize.add_arguments(command("maximize", cli_maximize.run, title, source, domain))
    title = "Whether a network has a counterexample to a VNN-LIB property."
    cli_verify.add_arguments(command("verify", cli_verify.run, title, file))
    title = "A sparse copy of a network, and what it costs."
    cli_prune.add_arguments(command("prune", cli_prune.run, title, source))
    return top


def info(options: argparse.Namespace) -> int:
    """`omlt-ext info`."""
    network = load(options)
    if not options.json:
        print(network.summary())
        for title, slices in (("input", network.input_slices), ("output", network.output_slices)):
            shape = network.input_shape if title == "input" else network.output_shape
            parts = ", ".join(f"{name} [{part.start}:{part.stop}]" for name, part in slices.items())
            print(f"  {title}s: shape {shape}, {parts}")
        if network.input_box is None:
            print("  input box: none in the file")
        return DONE
    box = network.input_box
    print_json(
        {
            "source": network.source,
            "n_inputs": network.n_inputs,
            "n_outputs": network.n_outputs,
            "n_relus": network.n_relus,
            "input_shape": network.input_shape,
            "output_shape": network.output_shape,
            "inputs": {name: [part.start, part.stop] for name, part in network.input_slices.items()},
            "outputs": {name: [part.start, part.stop] for name, part in network.output_slices.items()},
            "input_box": None if box is None else {"lower": box.lower, "upper": box.upper},
            "layers": [
                {
                    "inputs": layer.n_in,
                    "neurons": layer.n_out,
                    "relus": layer.relu.sum(),
                    "nonzeros": layer.nnz,
                    "stored": "csr" if layer.is_sparse else "dense",
                }
                for layer in network.layers
            ],
        }
    )
    return DONE
