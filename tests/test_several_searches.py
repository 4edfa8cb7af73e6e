"""`executor=`: searches side by side, the best of them counts, a lost worker costs its search and nothing else."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omlt_ext import Box, Layer, Network, Polytope
from omlt_ext.errors import OptionError
from omlt_ext.search import Incumbent, Problem, SearchResult, maximize

MakeNetwork = Callable[..., Network]


@dataclass(frozen=True)
class Drift:
    """Better and better uniform points, one a round, and a bound that falls."""

    pause: float = 0.0

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        for k in range(rounds or 10):
            if not incumbent.goes_on():
                return
            time.sleep(self.pause)
            incumbent.offer(problem.lower + rng.random((20, problem.n)) * (problem.upper - problem.lower))
            incumbent.prove(1e3 / (k + 1))


@dataclass(frozen=True)
class Dies:
    """Kills its process where the first number drawn is below `share`."""

    share: float

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        if rng.random() < self.share:
            os._exit(1)
        time.sleep(0.2)
        incumbent.offer(problem.lower)


@dataclass(frozen=True)
class Wrong:
    """A bug in somebody's heuristic."""

    def search(
        self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
    ) -> None:
        raise ZeroDivisionError("a bug")


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Network:
    return make_network((5, 12, 12, 1), 2)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield pool


def check_history(result: SearchResult) -> None:
    history = result.history
    assert history.seconds.is_monotonic_increasing
    assert (history.seconds >= 0).all()
    assert history.value.dropna().is_monotonic_increasing
    assert history.bound.dropna().is_monotonic_decreasing
    assert tuple(history.iloc[-1]) == (result.seconds, result.value, result.bound)


def test_the_same_with_any_workers(network: Network, processes: ProcessPoolExecutor) -> None:
    options: dict[str, Any] = {"method": Drift(), "rounds": 4, "searches": 3, "seed": 5}
    here = maximize(network, (-1, 1), **options)
    with ThreadPoolExecutor(2) as threads:
        others = [maximize(network, (-1, 1), executor=pool, **options) for pool in (processes, threads)]
    assert here.x is not None
    for other in others:
        assert np.array_equal(other.x, here.x)  # type: ignore[arg-type]
        assert (other.value, other.bound) == (here.value, here.bound)
        check_history(other)
    alone = [maximize(network, (-1, 1), **{**options, "searches": 1, "seed": 5})]
    assert here.value >= alone[0].value  # type: ignore[operator]


def test_histories_are_merged_by_time(network: Network) -> None:
    """Two threads that search at the same time: improvements of both stand where they happened."""
    with ThreadPoolExecutor(2) as threads:
        result = maximize(network, (-1, 1), method=Drift(0.05), rounds=6, searches=2, executor=threads)
    check_history(result)
    assert result.seconds < 2 * 6 * 0.05 + 1.0
    assert len(result.history.value.dropna().unique()) >= 4
    spread = result.history.seconds[result.history.value.notna()]
    assert spread.max() - spread.min() >= 0.05


def test_a_lost_worker_costs_its_search_only(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    first = [np.random.default_rng([0, j]).random() for j in range(8)]
    share = sorted(first)[1] - 1e-9  # one of eight
    with (
        ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=None) as pool,
        caplog.at_level(logging.WARNING, logger="omlt_ext"),
    ):
        result = maximize(network, Box.full(5, -1, 1), method=Dies(share), executor=pool, searches=8)
    assert result.value is not None
    assert result.value >= network(np.zeros(5))[0]
    assert " of 8 searches were lost: " in caplog.text
    assert result.bound is not None


def test_an_executor_that_is_gone(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    result = maximize(network, (-1, 1), method=Drift(), rounds=2, executor=pool, searches=3)
    alone = maximize(network, (-1, 1), method=Drift(), rounds=2)
    assert result.value == alone.value
    assert "takes no work" in caplog.text


def test_a_bug_in_a_heuristic_is_not_hidden(network: Network, processes: ProcessPoolExecutor) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        maximize(network, (-1, 1), method=Wrong(), executor=processes, searches=2)


def test_a_bound_that_a_value_refutes_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    @dataclass(frozen=True)
    class Liar:
        def search(
            self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
        ) -> None:
            incumbent.prove(0.5)
            incumbent.offer(problem.upper)

    network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
    with ThreadPoolExecutor(1) as threads:
        result = maximize(network, (-1, 1), method=Liar(), executor=threads, searches=2, effort="interval")
    assert result.value == 1.0
    assert result.bound == pytest.approx(2.0)
    assert (result.history.bound >= 1.0).all()
    check_history(result)


@pytest.mark.parametrize("finder", [0, 1])
def test_a_point_refutes_that_there_is_none(finder: int, network: Network) -> None:
    @dataclass(frozen=True)
    class Disagrees:
        def search(
            self, problem: Problem, incumbent: Incumbent, rng: np.random.Generator, rounds: int | None = None
        ) -> None:
            if next(turns) == finder:
                incumbent.offer(problem.upper)
            else:
                incumbent.stopped_by = "infeasible"

    turns = iter(range(2))
    corner = Polytope(Box.full(5, 0, 1), [[-1.0, 0.0, 0.0, 0.0, 0.0]], [-0.9])
    result = maximize(network, corner, method=Disagrees(), searches=2)
    assert result.x is not None
    assert result.status == "limit"


@pytest.mark.parametrize("searches", [0, -1, 1.5])
def test_counts_that_cannot_be(network: Network, searches: Any) -> None:
    with pytest.raises(OptionError, match="searches is"):
        maximize(network, (-1, 1), searches=searches)


@pytest.mark.dask
def test_dask(network: Network) -> None:
    distributed = pytest.importorskip("distributed")
    here = maximize(network, (-1, 1), method=Drift(), rounds=3, searches=3)
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        there = maximize(network, (-1, 1), method=Drift(), rounds=3, searches=3, executor=client.get_executor())
    assert np.array_equal(here.x, there.x)  # type: ignore[arg-type]
    check_history(there)


SLOW = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from omlt_ext import Layer, Network
from omlt_ext.search import maximize
from omlt_ext.search.several import wait_quietly

@dataclass(frozen=True)
class Slow:
    folder: str
    def search(self, problem, incumbent, rng, rounds=None):
        incumbent.offer(problem.upper)
        Path(self.folder, str(os.getpid())).touch()
        while incumbent.goes_on():
            time.sleep(0.05)

if __name__ == "__main__":
    network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 0.5]], [0.0], relu=False)])
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=wait_quietly) as pool:
        slow = Slow(sys.argv[1])
        result = maximize(network, (-1, 1), method=slow, executor=pool, searches=3, effort="interval")
    print(result.status, result.value)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs process groups")
def test_ctrl_c_collects_what_the_workers_have(tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to all processes in the foreground."""
    (tmp_path / "slow.py").write_text(SLOW)
    folder = tmp_path / "at work"
    folder.mkdir()
    command = [sys.executable, str(tmp_path / "slow.py"), str(folder)]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    waited = time.monotonic() + 100
    while len(list(folder.iterdir())) < 2 and time.monotonic() < waited:
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert err == ""
    assert out.split() == ["interrupted", "1.0"]  # 0.0 in the middle of the box
