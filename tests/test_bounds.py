"""Bounds: states and ties, intersection side by side, frozen copies, and refusals that name layer and neuron."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext import Bounds, Box, Layer, Network, Polytope, tighten_bounds
from omlt_ext.bounds import METHODS
from omlt_ext.errors import BoundsError, OptionError, ShapeError

SIDES = ("lower", "upper", "relu", "lower_method", "upper_method")


def one_layer(n: int, relu: object = True) -> Network:
    return Network([Layer(np.ones((n, 1)), np.zeros(n), relu)])


def two_layers() -> Network:
    return Network([Layer(np.ones((3, 2)), np.zeros(3), True), Layer(np.ones((2, 3)), np.zeros(2), [True, False])])


BOX = Box([0, 0], [1, 1])
LOWER, UPPER = [[-1, 1, -3], [-2, -2]], [[1, 3, -1], [2, 2]]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Network, Bounds, Bounds, list[np.ndarray]]:
    """A network, two bounds of it around the same values, and those values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    layers = [
        Layer(np.ones((n, m)), np.zeros(n), rng.random(n) < 0.7) for m, n in zip([2, *sizes], sizes, strict=False)
    ]
    network = Network(layers)
    values = [rng.integers(-2, 3, n).astype(float) for n in sizes]
    found = []
    for method in draw(st.lists(st.sampled_from(METHODS), min_size=2, max_size=2, unique=True)):
        lower = [z - rng.integers(0, 3, z.size) for z in values]  # whole numbers: ties and zero widths happen
        upper = [z + rng.integers(0, 3, z.size) for z in values]
        found.append(Bounds.of(network, BOX, lower, upper, method))
    return network, found[0], found[1], values


def same(first: Bounds, second: Bounds) -> bool:
    """Equal bit for bit, kinds of numbers included."""
    arrays = [(a, b) for side in SIDES for a, b in zip(getattr(first, side), getattr(second, side), strict=True)]
    arrays += [(first.box.lower, second.box.lower), (first.box.upper, second.box.upper)]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in arrays)


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [
        (-1, 1, "unstable"),
        (1, 2, "active"),
        (-2, -1, "inactive"),
        (0, 1, "active"),
        (-0.0, 1, "active"),
        (-1, 0, "inactive"),
        (-1, -0.0, "inactive"),
        (0, 0, "active"),
        (-0.0, -0.0, "active"),
        (3, 3, "active"),
        (-3, -3, "inactive"),
        (-5e-324, 5e-324, "unstable"),
        (-5e-324, 0, "inactive"),
        (0, 5e-324, "active"),
    ],
)
def test_state_of_one_neuron(low, high, state):
    bounds = Bounds.of(one_layer(1), Box([0], [1]), [[low]], [[high]])
    states = {"active": bounds.stable_active, "inactive": bounds.stable_inactive, "unstable": bounds.unstable}
    assert [name for name, masks in states.items() if masks[0][0]] == [state]
    assert bounds.to_frame().state.tolist() == [state]
    assert bounds.n_unstable == (state == "unstable")

    linear = Bounds.of(one_layer(1, relu=False), Box([0], [1]), [[low]], [[high]])
    assert not any(m[0][0] for m in (linear.stable_active, linear.stable_inactive, linear.unstable))
    assert linear.to_frame().state.tolist() == ["linear"]


@given(drawn=pairs())
@settings(max_examples=50, deadline=None)
def test_every_relu_has_one_state_and_a_linear_neuron_none(drawn):
    _, bounds, _, values = drawn
    for k, relu in enumerate(bounds.relu):
        active, inactive, unstable = bounds.stable_active[k], bounds.stable_inactive[k], bounds.unstable[k]
        assert np.array_equal(active.astype(int) + inactive + unstable, relu)
        assert (np.maximum(values[k], 0) == values[k])[active].all()
        assert (np.maximum(values[k], 0) == 0)[inactive].all()
    assert bounds.n_unstable == (bounds.to_frame().state == "unstable").sum()


def test_frame_and_summary():
    bounds = Bounds.of(two_layers(), BOX, LOWER, UPPER, "crown")
    frame = bounds.to_frame()
    columns = ["layer", "neuron", "relu", "lower", "upper", "state", "lower_method", "upper_method", "seconds"]
    assert list(frame.columns) == columns
    assert frame.layer.tolist() == [0, 0, 0, 1, 1]
    assert frame.neuron.tolist() == [0, 1, 2, 0, 1]
    assert frame.relu.tolist() == [True, True, True, True, False]
    assert frame.lower.tolist() == [-1, 1, -3, -2, -2]
    assert frame.upper.tolist() == [1, 3, -1, 2, 2]
    assert frame.state.tolist() == ["unstable", "active", "inactive", "unstable", "linear"]
    assert set(frame.lower_method) == set(frame.upper_method) == {"crown"}
    assert bounds.summary().splitlines() == [
        "  layer  neurons  linear  active  inactive  unstable  mean width",
        "      0        3       0       1         1         1           2",
        "      1        2       1       0         0         1           4",
    ]
    assert [width.tolist() for width in bounds.width()] == [[2, 2, 2], [4, 4]]


@given(drawn=pairs())
@settings(max_examples=80, deadline=None)
def test_intersection_takes_each_side_from_where_it_is_tighter(drawn):
    _, first, second, values = drawn
    both = first.intersect(second)
    for k, z in enumerate(values):
        assert (both.lower[k] <= z).all()
        assert (z <= both.upper[k]).all()
        assert np.array_equal(both.lower[k], np.maximum(first.lower[k], second.lower[k]))
        assert np.array_equal(both.upper[k], np.minimum(first.upper[k], second.upper[k]))
        tighter = second.lower[k] > first.lower[k]  # a tie stays with the first
        assert np.array_equal(both.lower_method[k], np.where(tighter, second.lower_method[k], first.lower_method[k]))
        tighter = second.upper[k] < first.upper[k]
        assert np.array_equal(both.upper_method[k], np.where(tighter, second.upper_method[k], first.upper_method[k]))
    assert same(first.intersect(first), first)


def test_methods_follow_their_sides_into_the_frame():
    network, box = one_layer(2), Box([0], [1])
    first = Bounds.of(network, box, [[-2, -1]], [[1, 3]], "interval")
    second = Bounds.of(network, box, [[-1, -2]], [[2, 2]], "milp")
    frame = first.intersect(second).to_frame()
    assert frame.lower.tolist() == [-1, -1]
    assert frame.upper.tolist() == [1, 2]
    assert frame.lower_method.tolist() == ["milp", "interval"]
    assert frame.upper_method.tolist() == ["interval", "milp"]


def test_intersection_holds_on_the_common_part_of_the_boxes():
    network = one_layer(1)
    first = Bounds.of(network, Box([0], [2]), [[0]], [[2]])
    second = Bounds.of(network, Box([1], [3]), [[1]], [[3]])
    assert repr(first.intersect(second).box) == "Box([1.], [2.])"
    with pytest.raises(BoundsError, match=r"input 0: lower bound 5\.0 lies above upper bound 2\.0"):
        first.intersect(Bounds.of(network, Box([5], [6]), [[0]], [[2]]))


def test_intersection_holds_in_both_polytopes():
    network, box = one_layer(1), Box([0], [2])
    half, most = Polytope(box, [[1.0]], [1.0]), Polytope(box, [[1.0]], [1.5])
    on_box = Bounds.of(network, box, [[0]], [[2]])
    on_half = Bounds.of(network, box, [[0]], [[1]], polytope=half)
    on_most = Bounds.of(network, Box([0.5], [3]), [[0.5]], [[1.5]], polytope=most)
    assert on_most.polytope.box is on_most.box
    assert on_box.intersect(on_box).polytope is None
    for pair in ((on_box, on_half), (on_half, on_box), (on_half, on_half)):
        assert pair[0].intersect(pair[1]).polytope.same(half)
    both = on_half.intersect(on_most)
    assert both.polytope.A.tolist() == [[1], [1]]
    assert both.polytope.b.tolist() == [1, 1.5]
    assert repr(both.domain.box) == repr(both.box) == "Box([0.5], [2.])"
    assert on_box.domain is box


def test_intersection_adds_times_and_keeps_notes():
    network, box = one_layer(2), Box([0], [1])
    first = replace(Bounds.of(network, box, [[0, 0]], [[1, 1]]), seconds=(np.array([1.0, 2.0]),), notes=("a", "b"))
    second = replace(Bounds.of(network, box, [[0, 0]], [[1, 1]]), seconds=(np.array([0.5, 0.0]),), notes=("b", "c"))
    both = first.intersect(second)
    assert both.to_frame().seconds.tolist() == [1.5, 2]
    assert both.notes == ("a", "b", "c")


def test_bounds_that_cross_name_layer_and_neuron():
    network = two_layers()
    first = Bounds.of(network, BOX, LOWER, UPPER)
    second = Bounds.of(network, BOX, [[-1, 1, -3], [-2, 2.5]], [[1, 3, -1], [2, 3]])
    with pytest.raises(BoundsError, match=r"layer 1, neuron 1: lower bound 2\.5 lies above upper bound 2\.0"):
        first.intersect(second)


@pytest.mark.parametrize("other", [one_layer(2), one_layer(3, relu=[True, True, False])])
def test_bounds_of_another_network_are_not_intersected(other):
    bounds = Bounds.of(one_layer(3), Box([0], [1]), [[0, 0, 0]], [[1, 1, 1]])
    n = other.n_outputs
    with pytest.raises(ShapeError, match="same network"):
        bounds.intersect(Bounds.of(other, Box([0], [1]), [np.zeros(n)], [np.ones(n)]))


def test_bounds_know_their_network():
    bounds = Bounds.of(two_layers(), BOX, LOWER, UPPER)
    bounds.check_network(two_layers())
    with pytest.raises(BoundsError, match="another network"):
        bounds.check_network(one_layer(3))
    with pytest.raises(BoundsError, match="another network"):
        bounds.check_network(Network([two_layers().layers[0], Layer(np.ones((2, 3)), np.zeros(2), True)]))


@pytest.mark.parametrize(
    ("k", "j", "low", "high", "message"),
    [
        (0, 1, 2, 1, r"layer 0, neuron 1: lower bound 2\.0 lies above upper bound 1\.0"),
        (1, 1, np.nan, 1, r"layer 1, neuron 1: bounds \[nan, 1\.0\] must be finite"),
        (0, 2, 0, np.nan, r"layer 0, neuron 2: bounds \[0\.0, nan\] must be finite"),
        (1, 0, -np.inf, 1, r"layer 1, neuron 0: bounds \[-inf, 1\.0\] must be finite"),
        (0, 0, 0, np.inf, r"layer 0, neuron 0: bounds \[0\.0, inf\] must be finite"),
        (1, 1, None, 1, r"layer 1, neuron 1: bounds \[nan, 1\.0\] must be finite"),
    ],
)
def test_bounds_that_are_none_name_layer_neuron_and_remedy(k, j, low, high, message):
    lower, upper = [list(part) for part in LOWER], [list(part) for part in UPPER]
    lower[k][j], upper[k][j] = low, high
    with pytest.raises(BoundsError, match=message + ".*tighten_bounds"):
        Bounds.of(two_layers(), BOX, lower, upper)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lower": LOWER[:1]}, ShapeError, "1 lower and 2 upper layers of bounds for a network of 2 layers"),
        ({"upper": [*UPPER, [1]]}, ShapeError, "2 lower and 3 upper"),
        ({"lower": [[-1, 1], [-2, -2]]}, ShapeError, r"layer 0 have shape \(2,\), not \(3,\)"),
        ({"upper": [UPPER[0], 2]}, ShapeError, r"layer 1 have shape \(\), not \(2,\)"),  # NumPy alone would stretch it
        ({"upper": [UPPER[0], [[2, 2]]]}, ShapeError, r"layer 1 have shape \(1, 2\)"),
        ({"lower": [LOWER[0], ["a", "b"]]}, BoundsError, "layer 1 is not an array of numbers"),
        ({"lower": [np.zeros(3) * 1j, LOWER[1]]}, BoundsError, "layer 0 .* complex"),
        ({"box": Box([0], [1])}, ShapeError, "1 coordinates, the network 2 inputs"),
        ({"method": "guess"}, OptionError, "'guess' is none of given, interval"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(options, error, message):
    fitting = {"box": BOX, "lower": LOWER, "upper": UPPER}
    assert Bounds.of(two_layers(), **fitting).n_unstable == 2
    with pytest.raises(error, match=message):
        Bounds.of(two_layers(), **{**fitting, **options})


def test_bounds_are_frozen_and_so_are_their_copies():
    given_lower = [np.array([-1.0, 1, -3]), np.array([-2.0, -2])]
    made = Bounds.of(two_layers(), BOX, given_lower, UPPER)
    given_lower[0][0] = 9
    assert made.lower[0][0] == -1
    assert copy.deepcopy(made) is made
    unpickled = pickle.loads(pickle.dumps(made))
    assert same(unpickled, made)
    for bounds in (made, made.intersect(made), unpickled, copy.copy(made), tighten_bounds(two_layers(), BOX)):
        for side in SIDES:
            for array in getattr(bounds, side):
                with pytest.raises(ValueError, match="read-only"):
                    array[:] = 0
            with pytest.raises(AttributeError):
                setattr(bounds, side, ())
        with pytest.raises(ValueError, match="read-only"):
            bounds.box.lower[:] = 0
