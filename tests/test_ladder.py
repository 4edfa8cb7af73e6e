"""A run up the ladder: nested and valid, and it ends well at a time limit, at Ctrl-C and where nothing is left."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tqdm.auto import tqdm

from omlt_ext import Bounds, Box, Effort, Network, Polytope, tighten_bounds
from omlt_ext.bounds import METHODS
from omlt_ext.errors import InfeasibleError
from omlt_ext.tightening.effort import LADDER

MakeNetwork = Callable[..., Network]


def nested(inner: Bounds, outer: Bounds, slack: float = 0.0) -> bool:
    return all(
        (inner.lower[k] >= outer.lower[k] - slack).all() and (inner.upper[k] <= outer.upper[k] + slack).all()
        for k in range(len(outer.lower))
    )


def holds(bounds: Bounds, network: Network, count: int = 20_000) -> bool:
    points = bounds.box.sample(count, np.random.default_rng(1))
    if bounds.polytope is not None:
        points = points[(points @ bounds.polytope.A.T <= bounds.polytope.b).all(axis=1)]
        assert points.shape[0] > 50
    zs = network.pre_activations(points)
    slack = 1e-9  # of the forward pass
    return all(
        (z >= lower - slack).all() and (z <= upper + slack).all()
        for z, lower, upper in zip(zs, bounds.lower, bounds.upper, strict=True)
    )


def test_every_rung_nests_in_the_one_before_and_holds(make_network: MakeNetwork) -> None:
    network = make_network((6, 10, 10, 2), 2)
    before = None
    for rung in LADDER:
        found = tighten_bounds(network, (-1, 1), Effort(rung, leaves=8))
        assert found.notes == ()
        assert holds(found, network)
        assert before is None or nested(found, before, slack=1e-6)  # a MILP may end at another of two equal bounds
        before = found


def test_methods_and_seconds_say_what_each_neuron_took(make_network: MakeNetwork) -> None:
    network = make_network((6, 10, 10, 2), 2)
    begin = time.perf_counter()
    found = tighten_bounds(network, (-1, 1), "split")
    took = time.perf_counter() - begin
    frame = found.to_frame()
    assert set(frame.lower_method[frame.layer == 0]) == {"interval"}
    assert set(frame.lower_method[frame.layer > 0]) <= set(METHODS[1:5])
    assert (frame.upper_method == "split").sum() >= 10
    assert 0.2 * took < frame.seconds.sum() <= took
    assert frame.seconds[frame.layer == 0].max() < frame.seconds[frame.layer == 2].min()


@pytest.mark.parametrize("limit", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rung", ["split", "lp", "milp"])
def test_a_time_limit_cuts_in(make_network: MakeNetwork, rung: str, limit: float) -> None:
    network = make_network((784, 100, 100, 100, 10), 0, scale=0.05)
    outer = tighten_bounds(network, (0, 1), "crown")
    begin = time.perf_counter()
    found = tighten_bounds(network, (0, 1), rung, time_limit=limit)
    assert time.perf_counter() - begin < limit + 1.5
    assert len(found.notes) == 1
    assert re.match(r"stopped at the time limit in layer [123] of the rung '(dual|split|lp)'", found.notes[0])
    assert nested(found, outer)
    assert holds(found, network, 500)
    assert limit == 0.0 or found.width()[1].sum() < outer.width()[1].sum()


def test_a_time_limit_that_is_not_met_changes_nothing(make_network: MakeNetwork) -> None:
    network = make_network((6, 10, 10, 2), 2)
    free = tighten_bounds(network, (-1, 1), "lp")
    for limit in (1e3, 1e300, np.inf):
        found = tighten_bounds(network, (-1, 1), "lp", time_limit=limit)
        assert found.notes == ()
        assert all(map(np.array_equal, found.lower + found.upper, free.lower + free.upper))


def test_an_executor_that_answers_nothing_ends_at_the_limit(make_network: MakeNetwork, monkeypatch) -> None:
    """A cluster without workers."""

    class Silent(Executor):
        def submit(self, *_: object, **__: object) -> Future:
            return Future()

    monkeypatch.setattr("omlt_ext.tightening.parallel.PATIENCE", 0.2)
    network = make_network((6, 10, 10, 2), 2)
    begin = time.perf_counter()
    found = tighten_bounds(network, (-1, 1), Effort("dual", chunk_rows=2), time_limit=0.3, executor=Silent())
    assert time.perf_counter() - begin < 1.5
    assert "neurons 0, 1 keep the bounds they had (no answer by the time limit)" in found.notes[0]
    assert "stopped at the time limit in layer 1 of the rung 'dual'" in found.notes[-1]
    assert nested(found, tighten_bounds(network, (-1, 1), "crown"))


def test_an_empty_polytope_is_seen(make_network: MakeNetwork) -> None:
    box = Box.full(4, 0, 1)
    network = make_network((4, 8, 8, 2), 0)
    for rung in ("dual", "split", "lp"):
        with pytest.raises(InfeasibleError, match=r"layer \d, neuron \d: no value is left .* the polytope"):
            tighten_bounds(network, Polytope(box, [[1.0, 1.0, 1.0, 1.0]], [-0.5]), rung)


def test_progress_counts_every_bound(make_network: MakeNetwork, capsys: pytest.CaptureFixture[str]) -> None:
    network = make_network((6, 10, 10, 2), 2)
    for executor in (None, ThreadPoolExecutor(2)):
        tighten_bounds(network, (-1, 1), Effort("lp", leaves=4), progress=True, executor=executor)
        out, err = capsys.readouterr()
        assert out == ""
        assert "lp, layer 2" in err
        assert " 128/132 " in err  # 22 neurons, two bounds each, on three rungs; the last two neurons are at work
    tighten_bounds(network, (-1, 1), "lp")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("rung", ["lp", "milp"])
def test_progress_moves_inside_a_layer(make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch, rung: str) -> None:
    """With every solve, though the layer is one task."""
    seen = []

    class Bar(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            seen.append(n)
            return super().update(n)

    monkeypatch.setattr("omlt_ext.tightening.ladder.tqdm", Bar)
    network = make_network((6, 10, 10, 2), 2)
    tighten_bounds(network, (-1, 1), Effort(rung, leaves=1, chunk_rows=100), progress=True)
    assert sum(seen) == 2 * 22 * (2 if rung == "lp" else 3)
    assert seen.count(1) >= 10


def test_what_happened_is_logged(make_network: MakeNetwork, caplog: pytest.LogCaptureFixture) -> None:
    network = make_network((6, 10, 10, 2), 2)
    with caplog.at_level(logging.INFO, logger="omlt_ext"):
        tighten_bounds(network, (-1, 1), "dual")
        assert [record.message.split(":")[0] for record in caplog.records] == ["dual, layer 1", "dual, layer 2"]
        caplog.clear()
        found = tighten_bounds(network, (-1, 1), "dual", time_limit=0)
    assert [record.message for record in caplog.records] == list(found.notes)
    assert caplog.records[0].levelno == logging.WARNING


INTERRUPTED = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import numpy as np
from omlt_ext import Effort, Layer, Network, tighten_bounds

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    sizes = (30, 80, 80, 80, 5)
    layers = [Layer(rng.normal(size=(n, m)), rng.normal(size=n), n > 5) for m, n in zip(sizes, sizes[1:])]
    network = Network(layers)
    executor = None if sys.argv[1] == "here" else ProcessPoolExecutor(2, get_context("spawn"))
    effort = Effort(sys.argv[2], leaves=64, chunk_rows=4)
    found = tighten_bounds(network, (-1, 1), effort, executor=executor, progress=True)
    outer = tighten_bounds(network, (-1, 1), "crown")
    print(found.notes)
    print(all((a >= b).all() for a, b in zip(found.lower, outer.lower)))
    print(sum(width.sum() for width in found.width()) < sum(width.sum() for width in outer.width()), flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize(("where", "rung"), [("here", "split"), ("here", "lp"), ("processes", "split")])
def test_ctrl_c_returns_the_best_so_far(where: str, rung: str, tmp_path: Path) -> None:
    """A real SIGINT to a process that is at work, or that waits for its executor."""
    script = tmp_path / "run.py"
    script.write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(script), where, rung]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, env=environment, start_new_session=True)
    seen = b""
    while f"{rung}, layer 2".encode() not in seen:  # the bar says that the rung is at work, after some of its layers
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, seen
        seen += piece
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    begin = time.perf_counter()
    out, err = process.communicate(timeout=60)
    assert time.perf_counter() - begin < 20.0
    notes, valid, tighter = out.decode().splitlines()
    assert re.match(rf"\(\"stopped by Ctrl-C in layer [23] of the rung '{rung}'; the bounds are valid", notes)
    assert (valid, tighter, process.returncode) == ("True", "True", 0)
    assert b"Traceback" not in err
