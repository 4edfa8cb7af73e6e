"""What the commands of `omlt-ext` share: exit codes, reading the network and its box, writing results.

The modules that do the work are imported where they are used, so that --help stays quick.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from .errors import MissingDependencyError, OptionError

if TYPE_CHECKING:
    from .domain import Box
    from .network import Network

DONE, FAILED, STOPPED, INTERRUPTED = 0, 1, 3, 130


@contextmanager
def interrupts_announced() -> Iterator[None]:
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


def load(options: argparse.Namespace) -> Network:
    """The network that the command line names."""
    from .readers import load_network

    return load_network(options.network, logits=options.logits)


def box_of(options: argparse.Namespace, network: Network) -> Box:
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


def check_plot(file: str) -> None:
    """Say before the work starts that a plot cannot be written."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("--plot needs matplotlib; install it with: pip install 'omlt-ext[plot]'")
    from matplotlib.backend_bases import FigureCanvasBase

    check_file("--plot", file, FigureCanvasBase.get_supported_filetypes())


def check_file(option: str, file: str, kinds: Iterable[str]) -> None:
    """Say before the work starts that a file cannot be written: its suffix is none of `kinds`, it has no folder."""
    if Path(file).suffix.lstrip(".").lower() not in kinds:
        raise OptionError(f"{option} {file}: choose one of the suffixes {', '.join('.' + kind for kind in kinds)}")
    check_folder(option, file)


def check_folder(option: str, file: str) -> None:
    """Say before the work starts that a file cannot be written: it has no folder."""
    if not Path(file).parent.is_dir():
        raise OptionError(f"{option} {file}: the folder {Path(file).parent} does not exist")


def save_figure(figure: Any, file: str) -> None:
    """Write a matplotlib figure."""
    try:
        figure.savefig(file, dpi=150)
    except OSError as error:
        raise OptionError(f"cannot write {file}: {error}") from None


def on_terminal() -> bool:
    """Whether somebody watches standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def workers(jobs: int, begin: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor | None]:
    """A pool of processes that run `begin` first, None for one job. After Ctrl-C it does not wait for them."""
    if jobs < 1:
        raise OptionError(f"--jobs {jobs}: give the number of worker processes, at least 1")
    if jobs == 1:
        yield None
        return
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of BLAS and HiGHS
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=begin or _die_quietly)
    try:
        yield pool
    finally:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        pool.shutdown(cancel_futures=True)  # its thread still has semaphores to give back


def _die_quietly() -> None:
    """In a worker: Ctrl-C reaches every process of a terminal; this one has nothing to say about it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def numbers_in(text: str) -> list[float] | None:
    """Numbers with commas between them, None where it is anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


def print_json(report: dict[str, Any]) -> None:
    """One JSON object on a line."""
    print(json.dumps(plain(report), allow_nan=False))


def plain(value: Any) -> Any:
    """The same with NumPy's arrays and scalars as Python's, and None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
