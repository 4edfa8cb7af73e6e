"""`branch_and_bound(executor=)`: the same on any workers, bit for bit; no part of the domain is ever lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_problems import dense_network

from omlt_ext import Box, Layer, Network, Polytope, branch_and_bound, tighten_bounds
from omlt_ext.domain import Floats
from omlt_ext.errors import OptionError
from omlt_ext.search import Problem, shared_tree
from omlt_ext.search.box_tree import BoxTree
from omlt_ext.search.incumbent import Incumbent
from omlt_ext.search.pool import Pool
from omlt_ext.search.relu_tree import ReluTree
from omlt_ext.search.shared_tree import SharedTree
from omlt_ext.search.target import Target

HARD = (16, 40, 40, 1)  # far from done after some rounds


class Here(Executor):
    """Works at once, in the thread that asks; counts the tasks."""

    def __init__(self) -> None:
        self.tasks = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.tasks += 1
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Loses(Here):
    """Loses every third task."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        if self.tasks % 3 == 0:
            future = Future()
            future.set_exception(ConnectionError("the machine went away"))
        return future


@pytest.fixture
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees are shared as soon as they have some nodes, in tiny hands; a worker's budget comes with its hand."""
    monkeypatch.setattr(shared_tree, "FEW", 2)
    monkeypatch.setattr(shared_tree, "HANDS", 5)
    monkeypatch.setattr(shared_tree, "NODES", (2, 8))
    monkeypatch.setattr(shared_tree, "WORK", (1e3, 1e5))


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield pool


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize(
    ("sizes", "split"),
    [
        ((12, 24, 1), "relu"),
        ((3, 8, 8, 1), "auto"),
        ((3, 8, 8, 1), "relu"),
        ((4, 7, 7, 2), "input"),
        ((4, 7, 7, 2), "relu"),
        ((7, 8, 8, 1), "auto"),
    ],
)
def test_the_optimum_is_that_without(sizes: tuple[int, ...], split: str) -> None:
    tasks = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        network, n = dense_network(sizes, seed), sizes[0]
        domain: Box | Polytope = Box.full(n, -1.0, 1.0)
        if seed % 2:
            row = rng.normal(size=(2, n))
            domain = Polytope(domain, row, row @ domain.center + 0.1)
        c, d = rng.normal(size=n), rng.normal(size=sizes[-1])
        options: dict[str, Any] = {"inputs": c, "split": split, "gap": 1e-5, "time_limit": 60.0}
        alone = branch_and_bound(network, domain, d, **options)
        here = Here()
        shared = branch_and_bound(network, domain, d, executor=here, **options)
        tasks += here.tasks
        assert alone.status == shared.status == "optimal"
        assert shared.value == pytest.approx(alone.value, abs=3e-5 * max(1.0, abs(alone.value)))
        assert shared.value <= shared.bound
        assert shared.bound >= alone.value
        assert shared.history.bound.dropna().is_monotonic_decreasing
    assert tasks > 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_whole_weights(seed: int) -> None:
    """Ties, dead neurons, leaves that need an LP; hands of one or two nodes, and no more work than a batch."""
    rng = np.random.default_rng(seed)
    shapes = (6, 3), (5, 6), (1, 5)
    weights = [rng.integers(-1, 2, shape).astype(float) for shape in shapes]
    network = Network([Layer(W, rng.integers(-1, 2, len(W)), relu=len(W) > 1) for W in weights])
    box = Box.full(3, -1.0, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_tree, "FEW", 1)
        patch.setattr(shared_tree, "NODES", (1, 2))
        patch.setattr(shared_tree, "WORK", (1.0, 1.0))
        found = branch_and_bound(network, box, split="relu", executor=Here(), time_limit=60.0)
    alone = branch_and_bound(network, box, split="relu")
    assert found.status == alone.status == "optimal"
    assert found.value == pytest.approx(alone.value, abs=2e-4 * max(1.0, abs(alone.value)))
    assert found.bound >= alone.value


def started(executor: Executor, split: str, *, gap: float, limit_bytes: int = 2**31) -> SharedTree:
    """A shared tree of a network that takes long."""
    network, box = dense_network((6, 20, 20, 1), 4), Box.full(6, -1.0, 1.0)
    problem = Problem.of_network(network, box)
    target = Target.linear(network, box, problem.d)
    bounds = tighten_bounds(target.network, box, "dual")
    tree = BoxTree(target, bounds, limit_bytes) if split == "input" else ReluTree(target, bounds, None, limit_bytes)
    return SharedTree(tree, Incumbent(problem, gap), executor)


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize("executor", [Here, Loses])
def test_signs_stay_a_partition(executor: type[Here]) -> None:
    """With nothing closed, the shares 2^-k of nodes with k signs add up to 1, whatever workers lose."""
    shared = started(executor(), "relu", gap=-1e6)
    tree = shared.tree
    assert isinstance(tree, ReluTree)
    tree.ladder = []
    for _ in range(15):
        shared.grow(np.inf, lambda points: np.inf)
        if tree.closed < np.inf:
            break
        waiting = [signs for _, _, signs in (*tree.leaves, *tree.hard)]
        there = np.concatenate([tree.pool.signs[tree.pool.values < np.inf], *waiting])
        assert np.exp2(-np.abs(there).sum(axis=1, dtype=float)).sum() == 1.0
    assert tree.nodes > 500
    assert shared.executor.tasks > 20


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize("executor", [Here, Loses])
def test_boxes_stay_a_partition(executor: type[Here]) -> None:
    shared = started(executor(), "input", gap=-1e6)
    tree = shared.tree
    assert isinstance(tree, BoxTree)
    for _ in range(30):
        shared.grow(np.inf, lambda points: np.inf)
        assert tree.closed == np.inf
        there = tree.pool.numbers[tree.pool.values < np.inf]
        assert (there[:, 6:12] - there[:, :6]).prod(axis=1).sum() == pytest.approx(2.0**6, rel=1e-12)
    assert tree.nodes > 500
    assert shared.executor.tasks > 20


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize("split", ["relu", "input"])
def test_lost_parts_and_little_memory(split: str, caplog: pytest.LogCaptureFixture) -> None:
    """At every moment the bound is valid; with a third of the hands lost, and depth first, the end is the same."""
    best = branch_and_bound(dense_network((6, 20, 20, 1), 4), Box.full(6, -1.0, 1.0), gap=1e-3)
    shared = started(Loses(), split, gap=1e-3, limit_bytes=1)
    shared.incumbent.offer(best.x)

    def offer(points: Floats) -> float:
        shared.incumbent.offer(points)
        return -shared.incumbent.worth

    while not shared.done:
        shared.grow(-shared.incumbent.worth, offer)
        assert shared.bound >= best.value
    assert shared.bound <= shared.incumbent.worth
    assert "came back as they were: ConnectionError: the machine went away" in caplog.text


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize("split", ["relu", "input"])
def test_the_same_on_any_workers(split: str, processes: ProcessPoolExecutor) -> None:
    network, box = dense_network((7, 16, 16, 1), 3), Box.full(7, -1, 1)
    here = Here()
    first = branch_and_bound(network, box, split=split, gap=1e-3, executor=here)
    assert here.tasks > 10
    with ThreadPoolExecutor(3) as threads:
        for pool in (Here(), threads, processes):
            again = branch_and_bound(network, box, split=split, gap=1e-3, executor=pool)
            assert first.x is not None
            assert again.x is not None
            assert (again.value, again.bound, again.nodes) == (first.value, first.bound, first.nodes)
            assert again.x.tolist() == first.x.tolist()


@pytest.mark.usefixtures("small_rounds")
def test_a_time_limit_ends_the_workers_too() -> None:
    network, box = dense_network(HARD, 7), Box.full(HARD[0], -1, 1)
    with ThreadPoolExecutor(2) as threads:
        begin = time.monotonic()
        found = branch_and_bound(network, box, executor=threads, time_limit=2.0)
        assert found.status == "time_limit"
        assert found.value < found.bound < np.inf
    assert time.monotonic() - begin < 7.0


@pytest.mark.usefixtures("small_rounds")
def test_ctrl_c_in_a_round_keeps_what_was_dealt() -> None:
    class Interrupts(Here):
        """Ctrl-C while the hundredth task is under way."""

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if self.tasks == 100:
                signal.raise_signal(signal.SIGINT)
            return super().submit(fn, *args, **kwargs)

    shared = started(Interrupts(), "relu", gap=1e-3)
    for _ in range(1000):
        before, nodes = shared.bound, len(shared.tree.pool)
        try:
            shared.grow(np.inf, lambda points: np.inf)
        except KeyboardInterrupt:
            break
    assert (shared.bound, len(shared.tree.pool)) == (before, nodes)
    assert shared.executor.tasks == 100
    network, box = dense_network(HARD, 7), Box.full(HARD[0], -1, 1)
    found = branch_and_bound(network, box, executor=Interrupts(), time_limit=60.0)
    assert found.status == "interrupted"
    assert found.value < found.bound < np.inf


@pytest.mark.usefixtures("small_rounds")
def test_an_executor_that_is_gone_or_loses_everything(caplog: pytest.LogCaptureFixture) -> None:
    class LosesAll(Here):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(ConnectionError("the machine went away"))
            return future

    network, box = dense_network((7, 12, 12, 1), 3), Box.full(7, -1, 1)
    alone = branch_and_bound(network, box, split="relu", gap=1e-3)
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    for executor, words in ((pool, "takes no work"), (LosesAll(), "came back as they were")):
        found = branch_and_bound(network, box, split="relu", gap=1e-3, executor=executor)
        assert found.status == "optimal"
        assert found.value == pytest.approx(alone.value, abs=2e-3 * max(1.0, abs(alone.value)))
        assert words in caplog.text
    with pytest.raises(OptionError, match="executor is 3; it must be an executor"):
        branch_and_bound(network, box, executor=3)


def test_small_trees_are_not_shared() -> None:
    here = Here()
    found = branch_and_bound(dense_network((3, 8, 8, 1), 1), Box.full(3, -1, 1), executor=here)
    assert found.status == "optimal"
    assert here.tasks == 0


def test_all_nodes_leave_a_pool_whose_memory_was_full() -> None:
    pool = Pool(1, 1, limit_bytes=1)  # room for 1024
    for _ in range(3):
        pool.add(np.arange(500.0), np.zeros((500, 1), np.float32), np.zeros((500, 1), np.int8))
    assert len(pool.take(100)[0]) == 100
    pool.add(np.arange(50.0), np.zeros((50, 1), np.float32), np.zeros((50, 1), np.int8))
    assert len(pool.take(len(pool))[0]) == 1450
    assert len(pool) == 0
    pool.add(np.ones(3), np.zeros((3, 1), np.float32), np.zeros((3, 1), np.int8))
    assert len(pool.take(9)[0]) == 3


SLOW = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from search_problems import dense_network
from omlt_ext import Box, branch_and_bound
from omlt_ext.search import shared_tree
from omlt_ext.search.several import wait_quietly

class Tells(ProcessPoolExecutor):
    def submit(self, fn, /, *args):
        Path(sys.argv[1]).touch()
        return super().submit(fn, *args)

if __name__ == "__main__":
    with Tells(2, get_context("spawn"), initializer=wait_quietly) as pool:
        warm = [ProcessPoolExecutor.submit(pool, time.sleep, 1.0) for _ in range(2)]
        [future.result() for future in warm]
        shared_tree.WORK = 1e7, 1e9
        result = branch_and_bound(dense_network((20, 60, 60, 1), 7), Box.full(20, -1, 1), executor=pool)
    print(result.status, result.value < result.bound < float("inf"))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs process groups")
def test_ctrl_c_at_a_terminal(tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to all processes in the foreground."""
    script, told = tmp_path / "slow.py", tmp_path / "told"
    script.write_text(SLOW)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    running = subprocess.Popen(
        [sys.executable, str(script), str(told)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    waited = time.monotonic() + 100
    while not told.exists() and time.monotonic() < waited:
        time.sleep(0.1)
    time.sleep(1.0)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert err == ""
    assert out.split() == ["interrupted", "True"]


def test_an_executor_that_never_answers_has_to_keep_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Here):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return Future()

    monkeypatch.setattr("omlt_ext.tightening.parallel.PATIENCE", 0.2)
    for name, value in (("FEW", 2), ("NODES", (2, 8)), ("WORK", (1e3, 1e5))):
        monkeypatch.setattr(shared_tree, name, value)
    begin = time.monotonic()
    found = branch_and_bound(*hard(), split="relu", executor=Silent(), time_limit=1.5)
    assert time.monotonic() - begin < 6.0
    assert found.status == "time_limit"
    assert found.bound > found.value


def hard() -> tuple[Network, Box]:
    """A network that takes minutes."""
    return dense_network((30, 40, 40, 1), 0), Box.full(30, -1.0, 1.0)
