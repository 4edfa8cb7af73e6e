"""Box: what it accepts, what it refuses by name, and what holds of every box."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from omlt_ext import Box
from omlt_ext.domain import as_box
from omlt_ext.errors import BoundsError, ShapeError

FINITE = st.floats(-1e100, 1e100)


@st.composite
def boxes(draw: st.DrawFn, n: int | None = None) -> Box:
    """Boxes of up to five coordinates, some of width zero."""
    size = draw(st.integers(1, 5)) if n is None else n
    ends = [draw(arrays(np.float64, size, elements=FINITE)) for _ in range(2)]
    thin = draw(arrays(np.bool_, size))
    return Box(np.minimum(*ends), np.where(thin, np.minimum(*ends), np.maximum(*ends)))


def test_a_scalar_end_stretches_to_the_other_end():
    box = Box(0, [1, 2, 3])
    assert np.array_equal(box.lower, [0, 0, 0])
    assert np.array_equal(box.upper, [1, 2, 3])
    assert box.n == 3
    assert Box(0, 1).n == 1
    assert np.array_equal(box.width, [1, 2, 3])
    assert np.array_equal(box.center, [0.5, 1, 1.5])


@pytest.mark.parametrize(
    ("lower", "upper", "error", "message"),
    [
        ([0, 3], [1, 2], BoundsError, r"input 1: lower bound 3\.0 lies above upper bound 2\.0"),
        ([0, np.nan], [1, 2], BoundsError, r"input 1: bounds \[nan, 2\.0\] must be finite"),
        ([0, 0], [1, np.nan], BoundsError, r"input 1: bounds \[0\.0, nan\]"),
        ([-np.inf, 0], [1, 2], BoundsError, r"input 0: bounds \[-inf, 1\.0\]"),
        ([0, 0, 0], [1, 2, np.inf], BoundsError, r"input 2: bounds \[0\.0, inf\]"),
        (np.inf, -np.inf, BoundsError, "input 0"),
        (None, [1], BoundsError, "input 0: bounds .* give both ends"),
        ([0, None], [1, 1], BoundsError, "input 1"),
        (["low"], [1], BoundsError, "lower end of the box is not an array of numbers"),
        ([0], np.array([1j]), BoundsError, "upper end of the box .* complex"),
        ([[0], [0, 1]], 1, BoundsError, "lower end of the box is not an array of numbers"),
        ([0, 0], [1, 1, 1], ShapeError, r"\(2,\) and \(3,\)"),
        (np.zeros((2, 2)), 1, ShapeError, r"\(2, 2\); flatten"),
    ],
)
def test_what_is_no_box_is_refused(lower, upper, error, message):
    with pytest.raises(error, match=message):
        Box(lower, upper)


def test_a_box_is_frozen_and_keeps_no_hold_on_the_callers_arrays():
    lower, upper = np.zeros(2), np.ones(2)
    box = Box(lower, upper)
    lower[0], upper[0] = -7, 7
    assert np.array_equal(box.lower, [0, 0])
    assert np.array_equal(box.upper, [1, 1])
    assert lower.flags.writeable
    for end in (box.lower, box.upper):
        with pytest.raises(ValueError, match="read-only"):
            end[0] = 5
    with pytest.raises(AttributeError):
        box.lower = np.ones(2)


def test_both_ends_may_be_the_same_array():
    point = np.array([1.0, 2.0])
    assert np.array_equal(Box(point, point).width, [0, 0])


@given(box=boxes())
@settings(max_examples=30, deadline=None)
def test_copies(box):
    assert copy.deepcopy(box) is box
    for twin in (pickle.loads(pickle.dumps(box)), copy.copy(box)):
        assert twin.lower.tobytes() == box.lower.tobytes()
        assert twin.upper.tobytes() == box.upper.tobytes()
        assert not twin.lower.flags.writeable
        assert not twin.upper.flags.writeable


def test_ball():
    assert repr(Box.ball([0.0, 0.5], 0.25)) == "Box([-0.25  0.25], [0.25 0.75])"
    each = Box.ball([0.0, 0.5], [1.0, 0.0])
    assert np.array_equal(each.lower, [-1, 0.5])
    assert np.array_equal(each.upper, [1, 0.5])
    cut = Box.ball([0.0, 1.0], 0.5, within=Box.full(2, 0, 1))
    assert np.array_equal(cut.lower, [0, 0.5])
    assert np.array_equal(cut.upper, [0.5, 1])
    assert Box.ball(np.zeros((2, 3)), 1).n == 6  # an image is flattened, row-major


@pytest.mark.parametrize(
    ("center", "radius", "error", "message"),
    [
        ([0, 0], -1, BoundsError, "input 0"),
        ([0, np.nan], 1, BoundsError, "input 1"),
        ([0, 0], np.inf, BoundsError, "input 0"),
        ([0, 0], [1, 1, 1], ShapeError, r"radius has shape \(3,\)"),
        ([0], [1, 2], ShapeError, r"radius has shape \(2,\)"),  # must not turn one coordinate into two
        ("middle", 1, BoundsError, "the center is not"),
    ],
)
def test_what_is_no_ball_is_refused(center, radius, error, message):
    with pytest.raises(error, match=message):
        Box.ball(center, radius)


def test_a_ball_outside_the_box_has_no_common_part():
    with pytest.raises(BoundsError, match=r"input 1: lower bound 4\.0 lies above upper bound 1\.0"):
        Box.ball([0.5, 5], 1, within=Box.full(2, 0, 1))


@given(first=boxes(3), data=st.data())
@settings(max_examples=60, deadline=None)
def test_intersection_holds_exactly_the_points_of_both(first, data):
    common = data.draw(st.sampled_from([first.lower, first.center, first.upper]))
    below, above, x = (data.draw(arrays(np.float64, 3, elements=FINITE)) for _ in range(3))
    second = Box(np.minimum(below, common), np.maximum(above, common))
    both = first.intersect(second)
    assert both.contains(common)
    for point in (x, both.lower, both.upper, first.lower, first.upper, second.lower, second.upper):
        assert both.contains(point) == (first.contains(point) and second.contains(point))


def test_boxes_of_other_sizes_do_not_intersect():
    with pytest.raises(ShapeError, match="2 and 3"):
        Box.full(2, 0, 1).intersect(Box.full(3, 0, 1))
    with pytest.raises(ShapeError, match="1 and 3"):  # NumPy alone would stretch the one
        Box(0, 1).intersect(Box.full(3, 0, 1))


def test_contains():
    box = Box([0, 0], [1, 2])
    assert box.contains([0, 2])
    assert box.contains([[0, 0], [1, 2], [0.5, 1]])
    assert not box.contains([1.001, 1])
    assert not box.contains([[0, 0], [0, -1e-9]])
    assert box.contains([1.001, 1], tolerance=0.01)
    assert not box.contains([np.nan, 1])
    assert not box.contains([np.nan, 1], tolerance=np.inf)


@pytest.mark.parametrize("x", [0.5, [0.5], [0, 0, 0], np.zeros((4, 1)), np.zeros((2, 2, 2)), "inside", [[0], [0, 1]]])
def test_contains_refuses_points_of_another_shape(x):
    with pytest.raises(ShapeError, match="the point"):
        Box([0, 0], [1, 2]).contains(x)


@given(box=boxes(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_samples_and_center_lie_inside(box, seed):
    points = box.sample(8, np.random.default_rng(seed))
    assert points.shape == (8, box.n)
    assert box.contains(points)
    assert box.contains(box.center)


def test_samples_fill_the_box_and_repeat_with_the_seed():
    box = Box([0, 10], [1, 30])
    points = box.sample(4000, np.random.default_rng(0))
    assert np.allclose(points.mean(axis=0), box.center, atol=0.05 * box.width)
    assert np.allclose(points.std(axis=0), box.width / np.sqrt(12), rtol=0.05)
    assert np.array_equal(points, box.sample(4000, np.random.default_rng(0)))
    assert box.sample(0, np.random.default_rng(0)).shape == (0, 2)


def test_as_box():
    box = Box.full(2, 0, 1)
    assert as_box(box, 2) is box
    assert repr(as_box((0, 1), 3)) == repr(Box.full(3, 0, 1))
    assert repr(as_box(([0, 0], 1), 2)) == repr(box)
    assert repr(as_box(np.array([[0, 0, 0], [1, 2, 3]]), 3)) == repr(Box([0, 0, 0], [1, 2, 3]))


@pytest.mark.parametrize(
    ("domain", "error", "message"),
    [
        (Box.full(2, 0, 1), ShapeError, "2 coordinates, the network 3 inputs"),
        (([0], [1]), ShapeError, "1 coordinates, the network 3 inputs"),
        (5, BoundsError, "a pair"),
        (None, BoundsError, "a pair"),
        ([(0, 1), (0, 1), (0, 1)], BoundsError, "a pair"),  # a list of pairs, one a coordinate
        ((1, 0), BoundsError, "lies above"),
        ((0, None), BoundsError, "finite"),
        (("a", "b"), BoundsError, "not an array of numbers"),
    ],
)
def test_as_box_refuses(domain, error, message):
    with pytest.raises(error, match=message):
        as_box(domain, 3)


def test_long_boxes_print_short():
    assert len(repr(Box.full(784, 0, 1))) < 80
