"""`verify` on properties known by hand, and what it says of what it cannot settle (see `test_exactness` as well)."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest
from search_problems import dense_network

from omlt_ext import Box, Layer, Network
from omlt_ext.domain import Polytope
from omlt_ext.errors import OmltExtError, OptionError, ReadError, ShapeError
from omlt_ext.verification import Disjunct, Property, robustness, verify

SPLITS = ("auto", "relu", "input")


def plus(bias: float = 0.0) -> Network:
    """f(x) = max(0, x_0 + x_1) + max(0, x_0 - x_1) + bias; at most 2 + bias over [-1, 1]^2, at (1, -1) to (1, 1)."""
    hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    return Network([hidden, Layer([[1.0, 1.0]], [bias], relu=False)])


SQUARE = ([-1.0, -1.0], [1.0, 1.0])


def above(value: float, domain: object = SQUARE, strict: bool = False) -> Disjunct:
    return Disjunct(domain, Gy=[[-1.0]], g=[-value], strict=strict)  # type: ignore[arg-type]


@pytest.mark.parametrize("split", SPLITS)
def test_a_value_that_is_just_reached_is_a_counterexample_and_a_strict_one_is_not_proved(split):
    reached = verify(plus(), Property([above(2.0)]), split=split)
    assert reached.verdict == "sat"
    strict = verify(plus(), Property([above(2.0, strict=True)]), split=split, time_limit=5)
    assert strict.verdict == "unknown"
    assert strict.bound >= 0
    assert verify(plus(), Property([above(2.0 + 1e-6, strict=True)]), split=split).verdict == "unsat"


def test_no_disjunct_no_rows_and_an_empty_domain():
    nothing = verify(plus(), Property([], 2, 1))
    assert (nothing.verdict, nothing.bound) == ("unsat", -np.inf)
    everything = verify(plus(), Property([Disjunct(SQUARE, np.empty((0, 1)), [])]))
    assert everything.verdict == "sat"
    empty = Polytope(Box(*SQUARE), [[1.0, 1.0], [-1.0, -1.0]], [0.5, -1.0])
    assert verify(plus(), Property([above(-5.0, empty)])).verdict == "unsat"
    line = Polytope(Box(*SQUARE), [[1.0, 1.0], [-1.0, -1.0]], [0.5, -0.5])
    assert verify(plus(), Property([above(-5.0, line)])).verdict == "sat"


def test_zero_width_boxes_and_dead_neurons():
    point = [0.5, 0.25], [0.5, 0.25]
    assert verify(plus(), Property([above(1.0, point)])).verdict == "sat"
    assert verify(plus(), Property([above(1.0 + 1e-9, point)])).verdict == "unsat"
    dead = Network([Layer(np.ones((3, 2)), np.full(3, -9.0), relu=True), Layer(np.ones((1, 3)), [1.0], relu=False)])
    assert verify(dead, Property([above(1.0)])).verdict == "sat"
    assert verify(dead, Property([above(1.0 + 1e-9)])).verdict == "unsat"


def test_the_disjunct_that_holds_is_named_and_the_others_are_counted():
    cases = [above(3.5), above(3.25, ([0.0, 0.0], [1.0, 1.0])), above(1.5), above(4.0)]
    found = verify(plus(), Property(cases))
    assert found.counterexample is not None
    assert found.counterexample.disjunct == 2
    assert found.disjuncts.state.tolist() == ["proved", "proved", "violated", "proved"]
    assert "disjunct 2 holds" in repr(found)
    assert found.disjuncts.bound.to_numpy()[[0, 1, 3]] == pytest.approx([-0.5, -0.75, -1.0])  # CROWN's


def test_an_l1_ball_is_searched_and_its_border_is_kept():
    network = dense_network((4, 8, 3), 2)
    x = np.full(4, 0.25)
    label = int(np.argmax(network(x)))
    verdicts = []
    for radius in (1e-4, 0.3, 1.0, 3.0):
        ball = robustness(network, x, radius, norm="1")
        found = verify(network, ball)
        verdicts.append(found.verdict)
        if found.counterexample is not None:
            assert np.abs(found.counterexample.x - x).sum() <= radius
            assert int(np.argmax(found.counterexample.y)) != label
    assert verdicts[0] == "unsat"
    assert verdicts[-1] == "sat"
    assert verdicts == sorted(verdicts, key=["unsat", "sat"].index)


def hard() -> tuple[Network, Property]:
    """A property that no tree settles in seconds."""
    network = dense_network((20, 60, 60, 2), 7)
    box = Box.full(20, -1.0, 1.0)
    best = max(float((network(box.sample(20_000, np.random.default_rng(0))) @ [1.0, -1.0]).max()), 0.0)
    return network, Property([Disjunct(box, Gy=[[-1.0, 1.0]], g=[-3.0 * best])])


def test_a_time_limit_leaves_what_is_known():
    network, property = hard()
    begin = time.perf_counter()
    found = verify(network, property, time_limit=1.0)
    assert (found.verdict, found.status) == ("unknown", "time_limit")
    assert time.perf_counter() - begin < 5.0
    assert 0.0 <= found.bound < np.inf
    assert found.nodes > 0
    assert verify(network, property, time_limit=0).status == "time_limit"


def test_ctrl_c_leaves_what_is_known():
    network, property = hard()
    timer = threading.Timer(1.0, signal.raise_signal, [signal.SIGINT])
    timer.start()
    found = verify(network, property, time_limit=30.0)
    timer.join()
    assert (found.verdict, found.status) == ("unknown", "interrupted")
    assert found.seconds < 20.0


def test_without_a_time_limit_a_run_repeats_itself():
    network, box = dense_network((4, 14, 14, 2), 8), Box.full(4, -1.0, 1.0)
    y = network(box.sample(10_000, np.random.default_rng(0)))
    rows = ([[-1.0, 0.0]], -1.2 * y[:, :1].max(axis=0)), ([[0.0, 1.0]], 1.2 * y[:, 1:].min(axis=0))
    property = Property([Disjunct(box, Gy, g) for Gy, g in rows])
    first, again = (verify(network, property, time_limit=None, split="relu") for _ in range(2))
    assert first.nodes > 0
    assert first.disjuncts.equals(again.disjuncts)
    assert (first.verdict, first.nodes, first.bound) == (again.verdict, again.nodes, again.bound)


def test_what_cannot_be_is_refused(tmp_path):
    network = plus()
    with pytest.raises(ShapeError, match="is it the property of another network"):
        verify(network, Property([Disjunct(([0.0], [1.0]), Gy=[[1.0]], g=[0.0])]))
    with pytest.raises(OptionError, match="split is 'both'"):
        verify(network, Property([above(1.0)]), split="both")
    with pytest.raises(OptionError, match="unknown effort 'more'"):
        verify(network, Property([above(1.0)]), effort="more")
    with pytest.raises(OptionError, match="time_limit is -1"):
        verify(network, Property([above(1.0)]), time_limit=-1)
    with pytest.raises(OptionError, match="of type int"):
        verify(network, 3)  # type: ignore[arg-type]
    with pytest.raises(ReadError, match=r"missing\.vnnlib"):
        verify(network, tmp_path / "missing.vnnlib")
    with pytest.raises(OmltExtError):
        verify(tmp_path / "missing.onnx", Property([above(1.0)]))
