"""`verify` against enumeration of activation patterns, against points, and what it says of what it cannot settle."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest
from scipy import sparse
from search_problems import dense_network, patterns, region_value

from omlt_ext import Box, Layer, Network
from omlt_ext.domain import Polytope
from omlt_ext.errors import OmltExtError, OptionError, ReadError, ShapeError
from omlt_ext.search import Placed, Problem
from omlt_ext.verification import Disjunct, Property, robustness, verify

SPLITS = ("auto", "relu", "input")


def slack_problem(network: Network, disjunct: Disjunct) -> Problem:
    """max s where s <= g_i - Gx_i x - Gy_i f(x) for every row, x in the domain."""
    n, m, polytope = network.n_inputs, network.n_outputs, disjunct.domain
    A, b = (polytope.A, polytope.b) if isinstance(polytope, Polytope) else (np.empty((0, n)), np.empty(0))
    R = np.block([[disjunct.Gx, np.ones((disjunct.n_rows, 1))], [A, np.zeros((b.size, 1))]])
    S = np.concatenate([disjunct.Gy, np.zeros((b.size, m))])
    sides = np.concatenate([disjunct.g, b])
    return Problem(
        networks=(Placed(network, np.arange(n), slice(0, m)),),
        c=np.append(np.zeros(n), 1.0),
        d=np.zeros(m),
        offset=0.0,
        R=sparse.csr_array(R),
        S=sparse.csr_array(S),
        row_lower=np.full(sides.size, -np.inf),
        row_upper=sides,
        lower=np.append(disjunct.box.lower, -np.inf),
        upper=np.append(disjunct.box.upper, 1e6),
        integer=np.zeros(n + 1, dtype=bool),
    )


def largest_slack(network: Network, disjunct: Disjunct) -> float:
    """The largest least slack on the domain, by one LP for each pattern; -inf where the domain is empty."""
    problem = slack_problem(network, disjunct)
    return max(region_value(problem, pattern) for pattern in patterns(problem))


def random_network(rng: np.random.Generator) -> Network:
    """At most five ReLUs: some dead, some the same as others, weights and biases that tie."""
    n, m = rng.integers(1, 4), rng.integers(1, 4)
    hidden = [int(rng.integers(1, 5))] if rng.random() < 0.5 else [2, int(rng.integers(1, 4))]
    hidden = [] if rng.random() < 0.05 else hidden
    layers, before = [], n
    for width in hidden:
        ties = rng.random() < 0.4
        weight = rng.integers(-1, 2, (width, before)).astype(float) if ties else rng.normal(size=(width, before))
        bias = rng.integers(-1, 2, width).astype(float) if ties else rng.normal(size=width)
        bias -= 100.0 * (rng.random(width) < 0.1)
        layers.append(Layer(weight, bias, relu=rng.random(width) < 0.9))
        before = width
    layers.append(Layer(rng.normal(size=(m, before)), rng.normal(size=m), relu=rng.random() < 0.1))
    return Network(layers)


def random_property(network: Network, rng: np.random.Generator) -> tuple[Property, float]:
    """One to three disjuncts with overlapping domains, and the largest slack: near zero on either side, or far away."""
    n, m = network.n_inputs, network.n_outputs
    goal = float(rng.choice([-1.0, -1e-3, -1e-6, 1e-6, 1e-3, 1.0]))
    disjuncts, best = [], -np.inf
    shared = None
    for _ in range(int(rng.integers(1, 4))):
        lower = rng.uniform(-1, 0.5, n)
        width = rng.uniform(0, 1.5, n) * (rng.random(n) < 0.85)
        domain: Box | Polytope = Box(lower, lower + width)
        if rng.random() < 0.3:
            rows = rng.normal(size=(int(rng.integers(1, 3)), n))
            domain = Polytope(domain, rows, rows @ (lower + rng.random(n) * width) + 0.1)
        domain = shared if shared is not None and rng.random() < 0.5 else domain
        shared = domain
        k = int(rng.integers(1, 4))
        Gx = rng.normal(size=(k, n)) if rng.random() < 0.3 else None
        part = Disjunct(domain, rng.normal(size=(k, m)), rng.normal(size=k), Gx)
        slack = largest_slack(network, part)
        if slack > -np.inf:  # else the rows leave no point
            wanted = goal - float(rng.choice([0.0, 0.5]))
            part = Disjunct(domain, part.Gy, part.g - slack + wanted, Gx)
            best = max(best, wanted)
        disjuncts.append(part)
    return Property(disjuncts), best


@pytest.mark.parametrize("first", range(0, 300, 25))
def test_verdicts_are_those_of_enumeration(first):
    settled = 0
    for seed in range(first, first + 25):
        rng = np.random.default_rng(seed)
        network = random_network(rng)
        property, slack = random_property(network, rng)
        split = SPLITS[seed % 3]
        found = verify(network, property, time_limit=None, split=split, seed=seed)
        assert found.bound >= slack - 1e-7, f"seed {seed}"
        if found.verdict == "sat":
            assert slack > -1e-7, f"seed {seed}"
            point = found.counterexample
            assert point is not None
            assert property.first_violated(point.x, network(point.x)) == point.disjunct
        elif found.verdict == "unsat":
            assert slack < 1e-7, f"seed {seed}"
        else:
            assert found.status == "tolerance"
        settled += found.verdict == ("sat" if slack > 0 else "unsat")
    assert settled >= 24


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
