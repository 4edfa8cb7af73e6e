"""The command line `omlt-ext`: look at a network file, bound its neurons, maximise an output.

Each command prints a table, or with --json one JSON object and nothing else on standard output. Errors go to standard
error in one line. The modules that do the work are imported where they are used, so that --help stays quick.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from .errors import MissingDependencyError, OmltExtError, OptionError, ShapeError

if TYPE_CHECKING:
    from .domain import Box
    from .network import Network
    from .search import SearchResult

DONE, FAILED, USAGE, GAP, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = """\
exit codes:
  0    done; maximize: the value is proved optimal within the gap
  1    an error: the file, the box or an option cannot be used (one line on standard error)
  2    wrong arguments
  3    maximize stopped with a gap: time limit, Ctrl-C during the search, or a limit of the solver
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
    return f" {argument}" if argument.startswith("-") and _numbers(argument) is not None else argument


def _numbers(text: str) -> list[float] | None:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    from . import __version__

    kind = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="omlt-ext",
        description="Trained ReLU networks: what a file holds, bounds of its neurons, the maximum of an output.",
        epilog=EXIT_CODES,
        formatter_class=kind,
    )
    top.add_argument("--version", action="version", version=f"omlt-ext {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    source = argparse.ArgumentParser(add_help=False)
    source.add_argument("network", metavar="NET", help="a network file: .onnx, .nnet, .pt, .keras, ...")
    source.add_argument("--logits", action="store_true", help="drop a softmax or sigmoid that ends the network")
    source.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    domain = argparse.ArgumentParser(add_help=False)
    box = domain.add_mutually_exclusive_group()
    box.add_argument("--box", nargs=2, type=float, metavar=("LO", "HI"), help="the same interval for every input")
    box.add_argument(
        "--box-file",
        metavar="FILE",
        help="a box from .npz (arrays lower and upper, or what `bounds -o` wrote) or .json (an OMLT .bounds.json); "
        "without either option: the network's own input box",
    )
    domain.add_argument("--effort", default="crown", help="how bounds are found: interval, crown (the default) or dual")

    def command(name: str, run: Any, help: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, parents=parents, help=help, description=help, epilog=EXIT_CODES, formatter_class=kind
        )
        made.set_defaults(run=run)
        return made

    command("info", info, "What a network file holds: layers, inputs, outputs, input box.", source)
    bounds_ = command("bounds", bounds, "Bounds of every neuron over a box, layer by layer.", source, domain)
    bounds_.add_argument("-o", "--output-file", metavar="OUT.npz", help="save the bounds (Bounds.load reads them)")
    best = command("maximize", maximize, "The maximum of one output, or of a weighted sum.", source, domain)
    which = best.add_mutually_exclusive_group()
    which.add_argument("--output", type=int, metavar="K", help="maximise output K, counted from 0")
    which.add_argument("--objective", metavar="C0,C1,...", help="maximise the sum of C_k times output k")
    best.add_argument("--minimize", action="store_true", help="minimise instead")
    best.add_argument("--method", default="auto", help="auto (the default) or milp")
    best.add_argument("--time-limit", type=float, metavar="S", help="seconds in all")
    best.add_argument("--gap", type=float, default=1e-4, help="stop at this gap, relative above 1 (default: 1e-4)")
    best.add_argument("--seed", type=int, default=0, help="of the sampled starting points (default: 0)")
    best.add_argument("--plot", metavar="FILE.png", help="draw value and bound against time (needs matplotlib)")
    return top


def info(options: argparse.Namespace) -> int:
    """`omlt-ext info`."""
    network = _network(options)
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
    _print_json(
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


def bounds(options: argparse.Namespace) -> int:
    """`omlt-ext bounds`."""
    from .tightening import tighten_bounds

    if options.output_file is not None:
        _check_file("-o", options.output_file, ["npz"])
    network = _network(options)
    found = tighten_bounds(network, _box(options, network), options.effort)
    if options.output_file is not None:
        try:
            found.save(options.output_file)
        except OSError as error:
            raise OptionError(f"cannot write {options.output_file}: {error}") from None
    if not options.json:
        print(f"{options.effort} bounds of {network!r}, {found.n_unstable} of {network.n_relus} ReLUs unstable")
        print(found.summary())
        return DONE
    layers = []
    for k, relu in enumerate(found.relu):
        states = {"neurons": relu.size, "linear": (~relu).sum(), "active": found.stable_active[k].sum()}
        states |= {"inactive": found.stable_inactive[k].sum(), "unstable": found.unstable[k].sum()}
        layers.append(states | {"lower": found.lower[k], "upper": found.upper[k]})
    box = {"lower": found.box.lower, "upper": found.box.upper}
    _print_json({"effort": options.effort, "box": box, "n_unstable": found.n_unstable, "layers": layers})
    return DONE


def maximize(options: argparse.Namespace) -> int:
    """`omlt-ext maximize`."""
    from .plugins import HEURISTICS, load

    if options.plot is not None:
        _check_plot(options.plot)
    network = _network(options)
    box = _box(options, network)
    objective = _objective(options, network)
    sign = -1.0 if options.minimize else 1.0
    search = load(HEURISTICS, "maximize")
    progress = not options.json and sys.stderr is not None and sys.stderr.isatty()
    if progress and options.minimize:
        print("the bar shows the maximum of the negative objective", file=sys.stderr)
    with _interrupts_announced():
        result: SearchResult = search(
            network,
            box,
            [sign * weight for weight in objective],
            method=options.method,
            time_limit=options.time_limit,
            seed=options.seed,
            gap=options.gap,
            effort=options.effort,
            progress=progress,
        )
    # + 0.0 turns -0.0 into 0.0
    value, bound = (None if number is None else sign * number + 0.0 for number in (result.value, result.bound))
    if options.json:
        history = result.history.assign(value=sign * result.history.value, bound=sign * result.history.bound)
        report = {
            "sense": "min" if options.minimize else "max",
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
        _print_json(report)
    else:
        print(f"status   {result.status.replace('_', ' ')}")
        print(f"value    {_text(value)}")
        print(f"bound    {_text(bound)}  (no point of the box has {'less' if options.minimize else 'more'})")
        print(f"gap      {_text(result.gap)}")
        print(f"seconds  {result.seconds:.2f}, {result.nodes} nodes")
        print(f"x        {'none' if result.x is None else ' '.join(_text(number) for number in result.x)}")
    if options.plot is not None:
        _plot(result, sign, options)
    return DONE if result.status == "optimal" else GAP


@contextmanager
def _interrupts_announced() -> Iterator[None]:
    """Say at once that Ctrl-C was seen: HiGHS may take seconds to look at it."""
    # Elsewhere than in the main thread, or where Ctrl-C is ignored or handled by a caller, it is not ours.
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def announce(number: int, frame: FrameType | None) -> None:
        os.write(2, b"\nomlt-ext: stopping at the best so far\n")  # print may not be entered twice, a handler may
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, announce)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _network(options: argparse.Namespace) -> Network:
    from .readers import load_network

    return load_network(options.network, logits=options.logits)


def _box(options: argparse.Namespace, network: Network) -> Box:
    """The box of --box or --box-file, else the network's own."""
    from .domain import Box
    from .readers.box_file import read_box

    if options.box is not None:
        return Box.full(network.n_inputs, *options.box)
    if options.box_file is not None:
        return read_box(options.box_file, network.input_shape)
    if network.input_box is None:
        raise OptionError(f"{options.network} declares no box for its inputs; give --box LO HI or --box-file FILE")
    return network.input_box


def _objective(options: argparse.Namespace, network: Network) -> list[float]:
    """The weights of the outputs."""
    n = network.n_outputs
    if options.objective is not None:
        weights = _numbers(options.objective)
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


def _check_plot(file: str) -> None:
    """Say before the work starts that a plot cannot be written."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("--plot needs matplotlib; install it with: pip install 'omlt-ext[plot]'")
    from matplotlib.backend_bases import FigureCanvasBase

    _check_file("--plot", file, FigureCanvasBase.get_supported_filetypes())


def _check_file(option: str, file: str, kinds: Iterable[str]) -> None:
    """Say before the work starts that a file cannot be written: its suffix is none of `kinds`, it has no folder."""
    if Path(file).suffix.lstrip(".").lower() not in kinds:
        raise OptionError(f"{option} {file}: choose one of the suffixes {', '.join('.' + kind for kind in kinds)}")
    if not Path(file).parent.is_dir():
        raise OptionError(f"{option} {file}: the folder {Path(file).parent} does not exist")


def _plot(result: SearchResult, sign: float, options: argparse.Namespace) -> None:
    """Value and bound as steps over time."""
    from matplotlib.figure import Figure

    history = result.history
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, color in (("bound", "tab:red"), ("value", "tab:blue")):
        axes.step(history.seconds, sign * history[name], where="post", label=name, color=color)
    axes.set_xlabel("seconds")
    axes.set_ylabel("objective, minimised" if options.minimize else "objective, maximised")
    axes.set_title(f"{Path(options.network).name}: {result.status.replace('_', ' ')}")
    axes.legend()
    try:
        figure.savefig(options.plot, dpi=150)
    except OSError as error:
        raise OptionError(f"cannot write {options.plot}: {error}") from None


def _text(number: float | None) -> str:
    return "none" if number is None else f"{number:.10g}"


def _print_json(report: dict[str, Any]) -> None:
    print(json.dumps(_plain(report), allow_nan=False))


def _plain(value: Any) -> Any:
    """The same with NumPy's arrays and scalars as Python's, and None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
