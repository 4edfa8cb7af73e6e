"""The file of a run: after a kill the run goes on and ends bit for bit where it would have; other files are refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omlt_ext import Bounds, Box, Effort, Layer, Network, Polytope, tighten_bounds
from omlt_ext.errors import BoundsError, OptionError, ReadError

MakeNetwork = Callable[..., Network]
EFFORT = Effort("split", leaves=4)


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Network:
    return make_network((6, 10, 10, 3), 4)


def same(first: Bounds, second: Bounds, names: tuple[str, ...] = ("lower", "upper", "lower_method", "upper_method")):
    pairs = (pair for name in names for pair in zip(getattr(first, name), getattr(second, name), strict=True))
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def position(path: Path) -> list[int]:
    with np.load(path) as file:
        return file["run_position"].tolist()


KILLED = """
import sys
import numpy as np
from omlt_ext import Effort, Layer, Network, tighten_bounds
rng = np.random.default_rng(0)
sizes = (10, 30, 30, 30, 30, 5)
layers = [Layer(rng.normal(size=(n, m)), rng.normal(size=n), n > 5) for m, n in zip(sizes, sizes[1:])]
found = tighten_bounds(Network(layers), (-1, 1), Effort(sys.argv[1], leaves=int(sys.argv[2])), resume=sys.argv[3])
found.save(sys.argv[4])
"""


@pytest.mark.parametrize(("rung", "leaves", "after"), [("split", 96, [3, 2]), ("lp", 2, [4, 2])])
def test_a_run_that_is_killed_goes_on(rung: str, leaves: int, after: list[int], tmp_path: Path) -> None:
    """SIGKILL in the middle of a rung; then the same command again. The result is that of a run without the kill."""
    file, result, whole = (tmp_path / name for name in ("run.npz", "result.npz", "whole.npz"))
    command = [sys.executable, "-c", KILLED, rung, str(leaves)]
    process = subprocess.Popen([*command, str(file), str(result)])
    while not (file.exists() and position(file) >= after):
        assert process.poll() is None, "over before it could be killed"
        time.sleep(0.002)
    process.kill()
    assert process.wait() != 0
    assert not result.exists()
    reached = position(file)
    assert after <= reached < [after[0], 4]
    first = subprocess.Popen([*command, str(file), str(result)])
    subprocess.run([*command, str(tmp_path / "other.npz"), str(whole)], check=True)
    assert first.wait() == 0
    assert same(Bounds.load(result), Bounds.load(whole))
    assert position(file) == [after[0], 4]


def test_a_finished_run_returns_at_once(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "run"
    found = tighten_bounds(network, (-1, 1), EFFORT, resume=path)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
    written = path.stat().st_mtime_ns
    again = tighten_bounds(network, (-1, 1), EFFORT, resume=str(path), time_limit=0)
    assert again.notes == ()
    assert same(again, found, ("lower", "upper", "lower_method", "upper_method", "seconds"))
    assert path.stat().st_mtime_ns == written
    loaded = Bounds.load(path)  # it is a file of bounds like any other
    assert same(loaded, found)


def test_a_run_that_was_stopped_goes_on(make_network: MakeNetwork, tmp_path: Path) -> None:
    network, path, effort = make_network((10, 40, 40, 40, 5), 4), tmp_path / "run", Effort("split", leaves=24)
    whole = tighten_bounds(network, (-1, 1), effort)
    limit = 0.02
    while (found := tighten_bounds(network, (-1, 1), effort, resume=path, time_limit=limit)).notes:
        assert found.notes[0].startswith("stopped at the time limit")
        assert all((a >= b).all() for a, b in zip(whole.lower, found.lower, strict=True))
        limit *= 2.0
    assert limit > 0.02
    assert same(found, whole)


def test_points_found_on_the_way_are_kept(network: Network, tmp_path: Path) -> None:
    """LPs leave out what a point attains: points of earlier layers decide results, so they are in the file."""
    path = tmp_path / "run"
    tighten_bounds(network, (-1, 1), Effort("lp", leaves=1), resume=path)
    with np.load(path) as file:
        points = file["run_points"]
    assert points.shape[0] > 10
    assert Box.full(6, -1, 1).contains(points)


def test_another_effort_starts_from_the_bounds(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "run"
    tight = tighten_bounds(network, (-1, 1), Effort("split", leaves=32), resume=path)
    quick = tighten_bounds(network, (-1, 1), "dual", resume=path)
    for k in range(3):
        assert (quick.lower[k] >= tight.lower[k]).all()
        assert (quick.upper[k] <= tight.upper[k]).all()
    assert position(path) == [2, 2]  # the file is now the last run's
    assert same(tighten_bounds(network, (-1, 1), "dual", resume=path), quick)


def test_given_bounds_belong_to_the_run(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "run"
    tighten_bounds(network, (-1, 1), EFFORT, resume=path)
    known = tighten_bounds(network, (-1, 1), Effort("split", leaves=64))
    found = tighten_bounds(network, (-1, 1), EFFORT, bounds=known, resume=path)
    assert all((a >= b).all() for a, b in zip(found.lower, known.lower, strict=True))
    assert same(tighten_bounds(network, (-1, 1), EFFORT, bounds=known, resume=path), found)
    other = tighten_bounds(network, (0, 1), "interval")
    with pytest.raises(BoundsError, match="the given bounds hold on"):
        tighten_bounds(network, (-1, 1), EFFORT, bounds=other, resume=path)


def test_what_was_lost_is_done_again(network: Network, tmp_path: Path) -> None:
    from concurrent.futures import Executor, Future, ThreadPoolExecutor

    class Leaky(Executor):
        """Loses the first task."""

        def __init__(self, pool: Executor) -> None:
            self.pool, self.lost = pool, False

        def submit(self, *arguments: object) -> Future:
            future: Future = Future()
            if self.lost:
                return self.pool.submit(*arguments)
            self.lost = True
            future.set_exception(RuntimeError("gone"))
            return future

    with ThreadPoolExecutor(1) as pool:
        found = tighten_bounds(network, (-1, 1), EFFORT, executor=Leaky(pool), resume=tmp_path / "run")
    (note,) = found.notes
    assert "lost in layer 1 of the rung 'dual': neurons 0, 1, 2, 3, 4 and 5 more" in note
    again, clean = (
        tighten_bounds(network, (-1, 1), EFFORT, resume=tmp_path / "run"),
        tighten_bounds(network, (-1, 1), EFFORT),
    )
    assert again.notes == ()
    assert again.width()[-1].mean() == pytest.approx(clean.width()[-1].mean(), rel=1e-3)


def test_what_a_limit_cut_short_is_kept(network: Network, tmp_path: Path) -> None:
    """A layer goes on with the neurons that were not done, so that runs with a limit come to an end."""
    effort = replace(EFFORT, rung="milp", leaves=1, chunk_rows=1)
    for _ in range(200):
        found = tighten_bounds(network, (-1, 1), effort, time_limit=0.3, resume=tmp_path / "run")
        if found.notes == ():
            break
    else:
        pytest.fail("never finished")
    whole = tighten_bounds(network, (-1, 1), effort)
    for k in range(len(network.layers)):
        gap = 4 * effort.gap * whole.width()[k].max()  # where a MILP may end, within one and from layer to layer
        np.testing.assert_allclose(found.lower[k], whole.lower[k], atol=gap)
        np.testing.assert_allclose(found.upper[k], whole.upper[k], atol=gap)


def test_another_network_or_domain_is_refused(network: Network, tmp_path: Path) -> None:
    path, box = tmp_path / "run", Box.full(6, -1, 1)
    tighten_bounds(network, box, EFFORT, resume=path)
    nudged = network.layers[1].weight.copy()
    nudged[3, 4] = np.nextafter(nudged[3, 4], np.inf)
    layer = Layer(nudged, network.layers[1].bias, True)
    linear = Layer(network.layers[1].weight, network.layers[1].bias, False)
    others = [Network([network.layers[0], middle, network.layers[2]]) for middle in (layer, linear)]
    cases = [(other, box) for other in others]
    cases += [(network, Box.full(6, -1, np.nextafter(1, 2))), (network, Polytope(box, [[1.0] * 6], [2.0]))]
    before = path.read_bytes()
    for other, domain in cases:
        with pytest.raises(OptionError, match="run belongs to another network or domain; give another file, or delete"):
            tighten_bounds(other, domain, EFFORT, resume=path)
    assert path.read_bytes() == before


def test_files_that_hold_no_run(network: Network, tmp_path: Path) -> None:
    plain, run = tmp_path / "plain.npz", tmp_path / "run.npz"
    tighten_bounds(network, (-1, 1)).save(plain)
    with pytest.raises(
        ReadError, match=r"plain\.npz: holds bounds, but no run to resume; tighten_bounds takes them as bounds="
    ):
        tighten_bounds(network, (-1, 1), resume=plain)
    tighten_bounds(network, (-1, 1), EFFORT, resume=run)
    whole = run.read_bytes()
    for damaged in (b"", b"noise", whole[: len(whole) // 2], whole[:-30]):
        run.write_bytes(damaged)
        with pytest.raises(ReadError, match=r"run\.npz cannot be read"):
            tighten_bounds(network, (-1, 1), EFFORT, resume=run)
    with np.load(plain) as file:
        arrays = dict(file)
    np.savez(run, **arrays, run_problem="x", run="y", run_position=[1], run_points=np.zeros((0, 6)))
    with pytest.raises(ReadError, match="holds bounds, but no run"):
        tighten_bounds(network, (-1, 1), EFFORT, resume=run)


def test_no_flipped_byte_is_taken_for_another_run(network: Network, tmp_path: Path) -> None:
    path, small = tmp_path / "run", Network([network.layers[0], Layer(np.ones((1, 10)), [0.0], False)])
    found = tighten_bounds(small, (-1, 1), EFFORT, resume=path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 41):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            again = tighten_bounds(small, (-1, 1), EFFORT, resume=path)
        except (ReadError, OptionError):
            continue
        assert same(again, found)


def test_names_that_are_no_files(network: Network, tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "nowhere" / "run"):
        with pytest.raises(OptionError, match="is no file in an existing folder"):
            tighten_bounds(network, (-1, 1), EFFORT, resume=name)
    with pytest.raises(OptionError, match="resume is 5; it must be the name of a file"):
        tighten_bounds(network, (-1, 1), EFFORT, resume=5)
    if os.name == "posix" and os.geteuid() != 0:
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(OptionError, match=re.escape("cannot write")):
                tighten_bounds(network, (-1, 1), EFFORT, resume=tmp_path / "run")
        finally:
            tmp_path.chmod(0o700)
