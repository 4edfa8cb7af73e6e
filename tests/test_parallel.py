"""Executors: the same bounds bit for bit whatever works on them, and a lost worker costs its tasks, never the run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from omlt_ext import Bounds, Box, Effort, Layer, Network, Polytope, tighten_bounds
from omlt_ext.errors import OptionError

MakeNetwork = Callable[..., Network]
EFFORTS = {
    "dual": Effort("dual", chunk_rows=3),
    "split": Effort("split", leaves=6, chunk_rows=3),
    "lp": Effort("lp", leaves=2, chunk_rows=3),
    "milp": Effort("milp", leaves=1, chunk_rows=3),
}


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Network:
    return make_network((6, 10, 10, 3), 4)


@pytest.fixture(scope="module")
def here(network: Network) -> dict[str, Bounds]:
    """What one process finds by itself."""
    return {rung: tighten_bounds(network, (-1, 1), effort) for rung, effort in EFFORTS.items()}


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield pool


def same(first: Bounds, second: Bounds) -> bool:
    """Bit for bit, with the methods."""
    names = ("lower", "upper", "lower_method", "upper_method")
    pairs = (pair for name in names for pair in zip(getattr(first, name), getattr(second, name), strict=True))
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def nested(inner: Bounds, outer: Bounds) -> bool:
    return all(
        (inner.lower[k] >= outer.lower[k]).all() and (inner.upper[k] <= outer.upper[k]).all()
        for k in range(len(outer.lower))
    )


@pytest.mark.parametrize("rung", EFFORTS)
def test_threads(network: Network, here: dict[str, Bounds], rung: str) -> None:
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool:
            found = tighten_bounds(network, (-1, 1), EFFORTS[rung], executor=pool)
        assert found.notes == ()
        assert same(found, here[rung])


@pytest.mark.parametrize("rung", EFFORTS)
def test_processes(network: Network, here: dict[str, Bounds], rung: str, processes: ProcessPoolExecutor) -> None:
    found = tighten_bounds(network, (-1, 1), EFFORTS[rung], executor=processes)
    assert found.notes == ()
    assert same(found, here[rung])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # Python 3.12 on; asked for here
@pytest.mark.parametrize(("method", "workers"), [("fork", 1), ("fork", 3)])
def test_other_ways_to_start_processes(network: Network, here: dict[str, Bounds], method: str, workers: int) -> None:
    if method not in get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    with ProcessPoolExecutor(workers, get_context(method)) as pool:
        for rung in ("dual", "lp"):
            found = tighten_bounds(network, (-1, 1), EFFORTS[rung], executor=pool)
            assert found.notes == ()
            assert same(found, here[rung])


def test_polytopes_and_sparse_layers(make_network: MakeNetwork, processes: ProcessPoolExecutor) -> None:
    dense = make_network((6, 10, 3), 4)
    first = dense.layers[0]
    thin = Layer(sparse.csr_array(np.where(first.weight > 0.5, first.weight, 0.0)), first.bias, first.relu)
    network, domain = Network([thin, dense.layers[1]]), Polytope(Box.full(6, -1, 1), [[1.0] * 6], [0.5])
    alone = tighten_bounds(network, domain, EFFORTS["lp"])
    assert same(tighten_bounds(network, domain, EFFORTS["lp"], executor=processes), alone)


BITS = """
import hashlib
import numpy as np
from omlt_ext import Layer, Network, tighten_bounds
rng = np.random.default_rng(0)
sizes = (784, 60, 60, 5)
layers = [Layer(rng.normal(size=(n, m)) / 28, rng.normal(size=n), n > 5) for m, n in zip(sizes, sizes[1:])]
found = tighten_bounds(Network(layers), (0, 1), "dual")
print(hashlib.sha256(b"".join(part.tobytes() for part in found.lower + found.upper)).hexdigest())
"""


def test_the_number_of_blas_threads_changes_no_bit() -> None:
    """Dask gives its workers one thread each, a process of its own has as many as there are cores."""
    found = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", BITS], env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


class Sabotaged(Executor):
    """A real pool; a thing is done to it when the n-th task is handed in."""

    def __init__(self, pool: Executor, n: int, deed: Callable[[Executor], object]) -> None:
        self.pool, self.n, self.deed, self.count = pool, n, deed, 0

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future:
        self.count += 1
        if self.count == self.n:
            self.deed(self.pool)
        return self.pool.submit(function, *arguments, **keywords)


DIE = (signal.raise_signal, signal.SIGKILL) if os.name == "posix" else ()  # what a worker cannot survive


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_a_worker_that_is_killed(network: Network) -> None:
    """A pool of processes breaks as a whole: its tasks of this layer are lost, the rest of the run works here."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        executor = Sabotaged(pool, 1, lambda pool: [pool.submit(*DIE) for _ in range(2)])  # both workers, first thing
        found = tighten_bounds(network, (-1, 1), EFFORTS["split"], executor=executor)
    lost = [note for note in found.notes if note.startswith("lost in layer 1 of the rung 'dual': neurons ")]
    assert len(lost) == 4, found.notes
    assert all(re.search(r"neurons \d+.* keep the bounds they had \(BrokenProcessPool: ", note) for note in lost)
    assert len(found.notes) == len(lost) + 1
    assert found.notes[-1].startswith("the executor takes no more tasks (BrokenProcessPool")
    assert nested(found, tighten_bounds(network, (-1, 1), "crown"))
    assert (found.to_frame().lower_method == "split").sum() > 5  # later rungs did their work
    zs = network.pre_activations(found.box.sample(10_000, np.random.default_rng(0)))
    assert all((z >= low).all() and (z <= up).all() for z, low, up in zip(zs, found.lower, found.upper, strict=True))


def test_an_executor_that_is_shut_down(network: Network, here: dict[str, Bounds]) -> None:
    with ThreadPoolExecutor(2) as pool:
        executor = Sabotaged(pool, 6, lambda pool: pool.shutdown(wait=True))
        found = tighten_bounds(network, (-1, 1), EFFORTS["lp"], executor=executor)
    assert same(found, here["lp"])  # the tasks that it did not take were worked on here
    assert found.notes == (
        "the executor takes no more tasks (RuntimeError: cannot schedule new futures after shutdown); "
        "the rest of the run works here",
    )


@pytest.mark.torch
def test_errors_of_a_task_are_its_own(network: Network, processes: ProcessPoolExecutor) -> None:
    """An error that is no loss of a worker ends the run, wherever it happens, and says the same."""
    pytest.importorskip("torch")
    effort = Effort(backend="torch", device="nowhere")
    for executor in (None, processes):
        with pytest.raises(OptionError, match="torch has no device 'nowhere'"):
            tighten_bounds(network, (-1, 1), effort, executor=executor)


def test_threads_that_come_and_go_leave_blas_as_it_was(network: Network) -> None:
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = threads()
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(tighten_bounds, network, (-1, 1), EFFORTS["dual"]) for _ in range(6)]
        assert all(same(run.result(), runs[0].result()) for run in runs)
    assert threads() == before


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two real worker processes of Dask."""
    distributed = pytest.importorskip("distributed")
    quiet = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0", "silence_logs": 50}
    with distributed.LocalCluster(**quiet) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.dask
@pytest.mark.parametrize("rung", EFFORTS)
def test_dask(network: Network, here: dict[str, Bounds], rung: str, client: Any) -> None:
    found = tighten_bounds(network, (-1, 1), EFFORTS[rung], executor=client.get_executor())
    assert found.notes == ()
    assert same(found, here[rung])


@pytest.mark.dask
def test_a_dask_worker_that_is_killed(network: Network, here: dict[str, Bounds], client: Any) -> None:
    """Dask hands its tasks to another worker: nothing is lost."""
    victim = next(iter(client.run(os.getpid).values()))

    def strike(_: Executor) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)

    executor = Sabotaged(client.get_executor(), 5, strike)
    found = tighten_bounds(network, (-1, 1), EFFORTS["lp"], executor=executor)
    assert victim not in client.run(os.getpid).values()
    assert found.notes == ()
    assert same(found, here["lp"])


@pytest.mark.dask
def test_a_dask_task_that_kills_every_worker_it_gets(network: Network, client: Any) -> None:
    """Dask gives a task up after some workers: its neurons keep what they had, all others go on."""

    class Deadly(Sabotaged):
        def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future:
            self.count += 1
            return self.pool.submit(*DIE) if self.count == self.n else self.pool.submit(function, *arguments)

    executor = Deadly(client.get_executor(), 2, lambda pool: None)
    found = tighten_bounds(network, (-1, 1), EFFORTS["split"], executor=executor)
    assert any(  # Dask may suspect tasks that stood beside it in a dying worker as well
        note.startswith("lost in layer 1 of the rung 'dual': neurons 3, 4, 5 keep the bounds they had (KilledWorker")
        for note in found.notes
    )
    assert all("KilledWorker" in note for note in found.notes)
    assert nested(found, tighten_bounds(network, (-1, 1), "crown"))
    assert (found.to_frame().lower_method == "split").sum() > 5
