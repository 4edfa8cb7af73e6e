"""Properties: what holds where, exactly; robustness balls; the l1 ball as a search sees it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omlt_ext import Box, Layer, Network
from omlt_ext.domain import Polytope
from omlt_ext.errors import BoundsError, OmltExtError, OptionError, ShapeError
from omlt_ext.verification import Disjunct, L1Ball, Property, robustness
from omlt_ext.verification.exact import rows_hold

BOX = ([0.0, 0.0], [1.0, 1.0])
floats = st.floats(-8, 8, width=32) | st.sampled_from([0.1, -0.1, 1e17, -1e17, 1.0, 5e-324, 1e308])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=6), floats, st.booleans(), st.booleans())
def test_rows_are_compared_without_rounding(pairs, side, strict, tight):
    row, point = (np.array(part) for part in zip(*pairs, strict=True))
    exact = sum(Fraction(a) * Fraction(b) for a, b in pairs)
    if tight and abs(exact) < 10**300:
        side = float(exact)  # nearest to equality
    held = exact < Fraction(side) if strict else exact <= Fraction(side)
    assert rows_hold([(row[None, :], point)], np.array([side]), np.array([strict])) == held
    half = len(row) // 2
    parts = [(row[None, :half], point[:half]), (row[None, half:], point[half:])]
    assert rows_hold(parts, np.array([side]), np.array([strict])) == held


def test_a_disjunct_worked_out_on_paper():
    domain = Polytope(Box(*BOX), [[1.0, 1.0]], [1.5])
    disjunct = Disjunct(domain, Gy=[[1.0], [-1.0]], g=[3.0, 0.0], Gx=[[1.0, 0.0], [0.0, 0.0]], strict=[False, True])
    assert disjunct.holds([0.5, 1.0], [2.5])  # 0.5 + 2.5 <= 3, -2.5 < 0, 0.5 + 1 <= 1.5
    assert not disjunct.holds([0.5, 1.0], [2.5 + 1e-15])
    assert not disjunct.holds([0.5, 0.5], [0.0])  # strict
    assert not disjunct.holds([0.75, 1.0], [1.0])  # outside of the polytope
    assert not disjunct.holds([0.5, np.nextafter(1.0, 2)], [1.0])  # outside of the box
    assert not disjunct.holds([0.5, np.nan], [1.0])
    for y in (np.nan, np.inf, -np.inf):
        assert not Disjunct(BOX, Gy=[[0.0]], g=[1.0]).holds([0.0, 0.0], [y])


def test_the_first_disjunct_that_holds_is_named():
    parts = [
        Disjunct(BOX, Gy=[[-1.0]], g=[-2.0]),
        Disjunct(BOX, Gy=[[-1.0]], g=[-1.0]),
        Disjunct(BOX, np.zeros((0, 1)), []),
    ]
    both = Property(parts[:2])
    assert [both.first_violated([0, 0], [y]) for y in (3.0, 1.0, 0.0)] == [0, 1, None]
    assert both.violated([0, 0], [3.0])  # the first has the position 0, which is not "no"
    assert Property(parts).first_violated([0, 0], [0.0]) == 2  # without rows every point is a counterexample
    assert not Property([], n_inputs=2, n_outputs=1).violated([0, 0], [0.0])


def test_arrays_are_the_propertys_own():
    Gy, g = np.array([[1.0]]), np.array([0.0])
    disjunct = Disjunct(BOX, Gy, g)
    Gy[0, 0] = g[0] = 7.0
    assert disjunct.Gy[0, 0] == 1.0
    assert disjunct.g[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        disjunct.Gx[0, 0] = 1.0
    view = np.zeros((1, 1))
    locked = view[:]
    locked.setflags(write=False)
    kept = Disjunct(BOX, locked, g)
    view[0, 0] = 1.0  # a read-only view of what somebody else can write to
    assert kept.Gy[0, 0] == 0.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Disjunct(BOX, [[np.nan]], [0.0]), BoundsError, "row 0 of Gx x"),
        (lambda: Disjunct(BOX, [[1.0], [1.0]], [0.0, np.inf]), BoundsError, "row 1"),
        (lambda: Disjunct(BOX, [[1.0]], [0.0, 1.0]), ShapeError, r"Gy \(1, 1\) and g \(2,\)"),
        (lambda: Disjunct(BOX, [[1.0]], [0.0], Gx=[[1.0]]), ShapeError, r"\(m, 2\)"),
        (lambda: Disjunct(BOX, np.zeros((0, 0)), []), ShapeError, "no columns"),
        (lambda: Disjunct(BOX, [["a"]], [0.0]), BoundsError, "Gy is not an array of numbers"),
        (lambda: Disjunct(BOX, [[1.0]], [0.0], strict=[True, False]), ShapeError, "strict"),
        (lambda: Disjunct(BOX, [[1.0]], [0.0], strict=0.5), ShapeError, "strict"),
        (lambda: Disjunct(3, [[1.0]], [0.0]), BoundsError, "pair"),
        (lambda: Disjunct(([1.0, 0.0], [0.0, 1.0]), [[1.0]], [0.0]), BoundsError, "input 0"),
        (lambda: Property([]), ShapeError, "n_inputs and n_outputs"),
        (lambda: Property([BOX]), OptionError, "disjunct 0"),
        (
            lambda: Property([Disjunct(BOX, [[1.0]], [0.0]), Disjunct(BOX, [[1.0, 0.0]], [0.0])]),
            ShapeError,
            "disjunct 1",
        ),
        (lambda: Property([Disjunct(BOX, [[1.0]], [0.0])], ball=L1Ball([0.0], 1.0)), ShapeError, "1 coordinates"),
        (
            lambda: Property([Disjunct(BOX, [[1.0]], [0.0], Gx=[[1.0, 0.0]])], ball=L1Ball([0.0, 0.0], 1.0)),
            OptionError,
            "rows over inputs",
        ),
        (lambda: L1Ball([0.0, np.nan], 1.0), BoundsError, "coordinate 1"),
        (lambda: L1Ball([0.0], -1.0), BoundsError, "at least 0"),
        (lambda: L1Ball([[0.0]], 1.0), ShapeError, "center"),
        (lambda: Disjunct(BOX, [[1.0]], [0.0]).holds([0.0], [1.0]), ShapeError, r"\(1,\)"),
    ],
)
def test_bad_input_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert isinstance(caught.value, OmltExtError)


def test_another_networks_property_is_refused(make_network):
    with pytest.raises(ShapeError, match="2 inputs and 1 outputs, the network has 3 and 2"):
        Property([Disjunct(BOX, [[1.0]], [0.0])]).check(make_network((3, 4, 2)))


def test_robustness_is_what_its_definition_says(make_network):
    network, rng = make_network((4, 12, 3), seed=9), np.random.default_rng(0)
    x0 = rng.random(4)
    c = int(np.argmax(network(x0)))
    for norm, order in (("inf", np.inf), ("1", 1)):
        ball = robustness(network, x0, 0.7, norm=norm, within=(0.0, 1.0))
        assert len(ball.disjuncts) == 2
        seen = set()
        for scale in (0.3, 1.0, 2.0):
            for step in rng.uniform(-0.4, 0.4, (150, 4)) * scale:
                x = x0 + step
                y = network(x)
                wrong = any(y[k] >= y[c] for k in range(3) if k != c)
                inside = np.linalg.norm(x - x0, order) <= 0.7 and (x >= 0).all() and (x <= 1).all()
                assert ball.violated(x, y) == (wrong and inside)
                seen.add((wrong, bool(inside)))
        assert len(seen) == 4  # the points tell all four cases apart


def test_targets_are_parts_of_the_untargeted_property(make_network):
    network = make_network((2, 6, 4), seed=3)
    x0 = np.array([0.2, -0.1])
    c = int(np.argmax(network(x0)))
    others = [k for k in range(4) if k != c]
    whole = robustness(network, x0, 0.1)
    for disjunct, k in zip(whole.disjuncts, others, strict=True):
        (only,) = robustness(network, x0, 0.1, target=k).disjuncts
        assert np.array_equal(only.Gy, disjunct.Gy)
        assert only.Gy[0, k] == -1
        assert only.Gy[0, c] == 1
    assert len(robustness(network, x0, 0.1, target=others[:2]).disjuncts) == 2
    assert robustness(network, x0, 0.1, label=others[0]).violated(x0, network(x0))  # x0 itself is another class


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"radius": -0.1}, OptionError, "radius"),
        ({"radius": np.nan}, OptionError, "radius"),
        ({"norm": "2"}, OptionError, "norm"),
        ({"label": 3}, OptionError, "label is 3"),
        ({"label": True}, OptionError, "label is True"),
        ({"target": 0, "label": 0}, OptionError, "other than the label 0"),
        ({"target": [1, 1], "label": 0}, OptionError, "different"),
        ({"target": []}, OptionError, "at least one"),
        ({"within": (2.0, 3.0)}, BoundsError, "input 0"),
        ({"x0": [0.0]}, ShapeError, "x0"),
        ({"x0": [0.0, np.inf]}, BoundsError, "1"),
    ],
)
@pytest.mark.parametrize("norm", ["inf", "1"])
def test_robustness_refuses_what_makes_no_sense(make_network, options, error, message, norm):
    given = {"x0": [0.0, 0.0], "radius": 0.1, "norm": norm, **options}
    with pytest.raises(error, match=message):
        robustness(make_network((2, 3, 3)), **given)


@settings(max_examples=60, deadline=None)
@example(37952)
@given(st.integers(0, 2**32 - 1))
def test_the_lifted_l1_ball_is_the_ball(seed):
    rng = np.random.default_rng(seed)
    center, radius = rng.normal(size=3), float(rng.random())
    ball = L1Ball(center, radius)
    box = ball.box().intersect(Box(center - rng.random(3), center + rng.random(3)))
    domain = ball.domain(box)
    network = Network(
        [Layer(rng.normal(size=(4, 3)), rng.normal(size=4), relu=True), Layer(np.ones((2, 4)), [0, 0], False)]
    )
    lifted = ball.before(network)
    for u in domain.box.sample(20, rng) * rng.random((20, 1)):
        if domain.contains(u):
            assert np.abs(ball.point(u) - center).sum() <= radius * (1 + 1e-12)
            assert box.contains(ball.point(u), tolerance=1e-12)
        np.testing.assert_allclose(lifted(u), network(ball.point(u)), rtol=1e-12, atol=1e-12)
    for x in box.sample(20, rng):
        u = np.maximum(np.concatenate([x - center, center - x]), 0.0)
        assert domain.contains(u, tolerance=1e-15) == (np.abs(x - center).sum() <= radius)
        pulled = ball.pull(x)
        assert ball.contains(pulled)
        assert not ball.contains(x) or np.abs(pulled - x).max() < 1e-12


def test_the_border_of_an_l1_ball_is_exact():
    ball = L1Ball([0.1, 0.2, 0.3], 0.25)
    step = np.array([0.25, 0.0, 0.0])
    x = ball.center + step  # 0.35 rounded: the exact distance decides
    exact = abs(Fraction(float(x[0])) - Fraction(0.1)) <= Fraction(0.25)
    assert ball.contains(x) == exact
    assert L1Ball([0.0, 0.0], 1.0).contains([0.5, 0.5])
    assert not L1Ball([0.0, 0.0], 1.0).contains([0.5, np.nextafter(0.5, 1)])
    assert L1Ball([0.0], 0.0).contains([0.0])


def test_a_center_outside_of_the_limits():
    ball = L1Ball([2.0, 0.0], 1.5)
    domain = ball.domain(ball.box().intersect(Box.full(2, 0, 1)))
    x = ball.point(np.array([0.0, 0.5, 1.0, 0.0]))
    assert x.tolist() == [1.0, 0.5]
    assert domain.contains([0.0, 0.5, 1.0, 0.0])
    assert not domain.contains([0.0, 0.5, 0.5, 0.0])  # x_0 = 1.5 lies above its limit


def test_searched_gives_rows_over_the_inputs_that_a_search_splits(make_network):
    network = make_network((3, 5, 2), seed=2)
    plain = Property([Disjunct(([0.0] * 3, [1.0] * 3), [[1.0, 0.0]], [0.0], Gx=[[1.0, 0.0, 0.0]])])
    same, domain, Gx = plain.searched(network, 0)
    assert same is network
    assert domain is plain.disjuncts[0].domain
    assert Gx is plain.disjuncts[0].Gx
    lifted = robustness(network, [0.5] * 3, 0.1, norm="1")
    twice, domain, Gx = lifted.searched(network, 0)
    assert (twice.n_inputs, domain.n, Gx.shape) == (6, 6, (1, 6))
    u = domain.box.sample(1, np.random.default_rng(0))[0]
    np.testing.assert_allclose(twice(u), network(lifted.point(u)), atol=1e-12)
