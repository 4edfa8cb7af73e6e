"""`branch_and_bound` against enumeration of activation patterns, and how it ends."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from search_problems import dense_network, patterns, region_value

from omlt_ext import Box, Layer, Network, branch_and_bound
from omlt_ext.domain import Polytope
from omlt_ext.errors import OptionError, ShapeError
from omlt_ext.search import Problem, relu_tree
from omlt_ext.verification import Disjunct, Property, verify

SPLITS = ("auto", "relu", "input")
SIZES = ((1, 3, 1), (2, 4, 2), (3, 2, 3, 1), (2, 3, 2, 2))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_optimum_is_that_of_enumeration(sizes, split):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        network, n = dense_network(sizes, seed), sizes[0]
        lower = rng.uniform(-1, 0, n)
        domain: Box | Polytope = Box(lower, lower + 2.0 * (rng.random(n) < 0.8))
        if seed % 2:
            row = rng.normal(size=(1, n))
            domain = Polytope(domain, row, row @ domain.center)
        c, d = rng.normal(size=n) * (seed % 3 > 0), rng.normal(size=sizes[-1])
        problem = replace(Problem.of_network(network, domain, d), c=c)
        best = max(region_value(problem, pattern) for pattern in patterns(problem))
        found = branch_and_bound(network, domain, d, inputs=c, split=split, gap=1e-6)
        assert found.status == "optimal", f"seed {seed}"
        assert found.value == pytest.approx(best, abs=3e-5), f"seed {seed}"
        assert found.bound >= best - 1e-7
        assert problem.violations(found.x[None, :])[0] <= 1e-6
        assert found.value == pytest.approx(float(d @ network(found.x) + c @ found.x), abs=1e-12)


@pytest.mark.parametrize("split", SPLITS)
def test_linear_constant_and_dead_networks(split):
    box = Box.full(2, -1.0, 2.0)
    linear = Network([Layer([[1.0, -1.0]], [0.5], relu=False)])
    constant = Network([Layer(np.ones((3, 2)), np.full(3, -9.0), relu=True), Layer(np.ones((1, 3)), [1.5], relu=False)])
    for network, value in ((linear, 3.5), (constant, 1.5)):
        found = branch_and_bound(network, box, split=split)
        assert (found.status, found.value) == ("optimal", pytest.approx(value))
    point = branch_and_bound(dense_network((2, 5, 1), 1), Box([0.5, 0.5], [0.5, 0.5]), split=split)
    assert point.status == "optimal"
    assert point.x.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("split", SPLITS)
def test_an_empty_polytope_is_infeasible(split):
    empty = Polytope(Box.full(2, -1, 1), [[1.0, 1.0], [-1.0, -1.0]], [0.5, -1.0])
    found = branch_and_bound(dense_network((2, 5, 1), 1), empty, split=split, time_limit=20)
    assert (found.status, found.x, found.value) == ("infeasible", None, None)


def test_the_same_again_and_a_start():
    network, box = dense_network((6, 16, 16, 1), 3), Box.full(6, -1, 1)
    first, again = (branch_and_bound(network, box, gap=1e-3) for _ in range(2))
    assert first.nodes == again.nodes > 0
    assert (first.value, first.bound) == (again.value, again.bound)
    assert first.x.tolist() == again.x.tolist()
    started = branch_and_bound(network, box, start=first.x, time_limit=0)
    assert (started.status, started.value) == ("time_limit", first.value)
    assert first.history.bound.dropna().is_monotonic_decreasing
    assert first.history.value.dropna().is_monotonic_increasing


def test_time_limit_and_ctrl_c_leave_value_and_bound():
    network, box = dense_network((20, 60, 60, 1), 7), Box.full(20, -1, 1)
    found = branch_and_bound(network, box, time_limit=1.0)
    assert found.status == "time_limit"
    assert found.value < found.bound < np.inf
    timer = threading.Timer(1.0, signal.raise_signal, [signal.SIGINT])
    timer.start()
    found = branch_and_bound(network, box, time_limit=30.0)
    timer.join()
    assert found.status == "interrupted"
    assert found.value < found.bound < np.inf


def test_what_cannot_be_is_refused():
    network, box = dense_network((2, 5, 1), 1), Box.full(2, -1, 1)
    with pytest.raises(OptionError, match="split is 'sideways'"):
        branch_and_bound(network, box, split="sideways")
    with pytest.raises(ShapeError, match=r"it must be \(2,\)"):
        branch_and_bound(network, box, inputs=[1.0])
    with pytest.raises(OptionError, match="inputs must be finite"):
        branch_and_bound(network, box, inputs=[1.0, np.nan])


@pytest.mark.parametrize("seed", [4, 7])
def test_plateaus_end_by_signs_where_boxes_do_not(seed: int) -> None:
    """Whole weights: the maximum is that of many regions, whose borders no box follows."""
    rng = np.random.default_rng(seed)
    weights = [rng.integers(-1, 2, shape).astype(float) for shape in ((6, 3), (5, 6), (1, 5))]
    network = Network([Layer(W, rng.integers(-1, 2, len(W)), relu=len(W) > 1) for W in weights])
    best = branch_and_bound(network, Box.full(3, -1, 1), time_limit=60.0)
    assert best.status == "optimal"
    assert best.value == pytest.approx(1.0, abs=1e-9)
    alone = branch_and_bound(network, Box.full(3, -1, 1), split="relu")
    assert alone.nodes < 100 < best.nodes


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_a_device_is_for_torch(backend: str) -> None:
    with pytest.raises(OptionError, match=r"device 'cuda' is for backend=\"torch\""):
        branch_and_bound(dense_network((2, 3, 1), 0), Box.full(2, -1, 1), backend=backend, device="cuda")


@pytest.mark.parametrize(
    ("start", "error", "match"),
    [
        ([0.5], ShapeError, r"start has shape \(1,\); the network has 2 inputs"),
        (np.zeros((1, 2)), ShapeError, r"start has shape \(1, 2\)"),
        ([0.0, np.nan], OptionError, "start must be finite"),
        (["a", "b"], OptionError, "start"),
    ],
)
def test_a_start_is_a_point(start: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        branch_and_bound(dense_network((2, 3, 1), 0), Box.full(2, -1, 1), start=start)


@pytest.mark.parametrize("room", [0.1, 1e-3])
def test_rows_that_contradict_each_other_are_infeasible(room: float) -> None:
    """Rows that add up to 0 <= -4 room: no interval sees it."""
    rows = np.random.default_rng(0).normal(size=(3, 10))
    domain = Polytope(Box.full(10, -1, 1), np.vstack([rows, -rows.sum(axis=0)]), np.full(4, -room))
    network = dense_network((10, 20, 20, 1), 0)
    found = branch_and_bound(network, domain, time_limit=60.0)
    assert (found.status, found.value) == ("infeasible", None)
    empty = verify(network, Property([Disjunct(domain, [[-1.0]], [0.0])]), time_limit=60.0)
    assert (empty.verdict, empty.status) == ("unsat", "proved")


def test_without_a_numba_that_works_large_trees_stay_with_numpy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, box = dense_network((10, 20, 20, 1), 5), Box.full(10, -1, 1)
    plain = branch_and_bound(network, box, split="relu", backend="numpy")
    monkeypatch.setattr(relu_tree, "COMPILED", 1e5)
    monkeypatch.setattr(relu_tree, "has_numba", lambda: True)
    monkeypatch.setattr("omlt_ext.propagation.backend.has_numba", lambda: True)
    monkeypatch.setitem(sys.modules, "omlt_ext.propagation.fused", None)  # importing it fails
    found = branch_and_bound(network, box, split="relu")
    assert (found.value, found.bound, found.nodes) == (plain.value, plain.bound, plain.nodes)
    assert "numba cannot be used (ModuleNotFoundError" in caplog.text
