"""Counterexamples: confirmed by the file's own evaluator, in its own precision, inside the box, or not at all."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from omlt_ext import Box, Layer, Network
from omlt_ext.errors import ReadError, ShapeError
from omlt_ext.verification import Counterexample, Disjunct, Property, confirm, robustness
from omlt_ext.verification.original import Original, original_of
from omlt_ext.verification.vnnlib_text import write_point


def one_layer(weight, kind=TensorProto.FLOAT, parts=(2,)):
    """y = x W as an ONNX model, its inputs `parts` joined."""
    real = helper.tensor_dtype_to_np_dtype(kind)
    inputs = [helper.make_tensor_value_info(f"x{i}", kind, [1, n]) for i, n in enumerate(parts)]
    nodes = [
        helper.make_node("Concat", [v.name for v in inputs], ["x"], axis=1),
        helper.make_node("MatMul", ["x", "W"], ["y"]),
    ]
    W = numpy_helper.from_array(np.asarray(weight, dtype=real), "W")
    y = helper.make_tensor_value_info("y", kind, [1, np.shape(weight)[1]])
    graph = helper.make_graph(nodes, "layer", inputs, [y], [W])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def at_least(value: float, box) -> Property:
    return Property([Disjunct(box, Gy=[[-1.0]], g=[-value])])


def test_the_sum_is_that_of_single_precision():
    model = one_layer([[1.0], [1.0]])
    box = ([1.0, 0.0], [1.0, 1.0])
    small = 2.0**-26  # 1 + 2^-26 is 1 in single precision
    found = confirm(model, at_least(1.0, box), [1.0, small])
    assert found is not None
    assert found.y.tolist() == [1.0]
    assert confirm(model, at_least(1.0 + small, box), [1.0, small]) is None  # true of the reals, not of the file
    network = Network([Layer([[1.0, 1.0]], [0.0], relu=False)])
    exact = confirm(network, at_least(1.0 + small, box), [1.0, small])
    assert exact is not None
    assert exact.evaluator == "the network in double precision"


def test_a_point_is_rounded_into_the_box():
    model = one_layer([[1.0], [0.0]])
    tenth = float(np.float32(0.1))  # above 0.1
    found = confirm(model, at_least(0.05, ([0.0, 0.0], [0.1, 1.0])), [0.1, 0.5])
    assert found is not None
    assert found.x[0] == float(np.nextafter(np.float32(0.1), np.float32(0))) < 0.1 < tenth
    assert found.y[0] == found.x[0]
    assert confirm(model, at_least(0.1, ([0.0, 0.0], [0.1, 1.0])), [0.1, 0.5]) is None  # only 0.1 itself would do


def test_an_interval_without_a_single_precision_number_keeps_its_own():
    found = confirm(one_layer([[1.0], [0.0]]), at_least(0.05, ([0.1, 0.0], [0.1, 1.0])), [0.1, 0.5])
    assert found is not None
    assert found.x[0] == 0.1  # inside the box; the file reads it as the nearest number that it knows
    assert found.y[0] == float(np.float32(0.1))


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.sampled_from([1e-9, 1e-3, 1.0, 1e6]),
)
def test_rounding_never_leaves_the_box(seed, kind, width):
    rng = np.random.default_rng(seed)
    lower = rng.normal(size=8) * 10.0 ** rng.integers(-6, 6)
    upper = lower + width * rng.random(8) * (rng.random(8) < 0.8)
    x = lower + (upper - lower) * rng.uniform(-0.1, 1.1, size=8)
    source = Original("", 8, ((slice(0, 3), kind), (slice(3, 8), np.float64)), lambda v: v)
    result = source.rounded_into(x, lower, upper)
    clipped = np.clip(x, lower, upper)
    assert (result >= lower).all()
    assert (result <= upper).all()
    assert np.array_equal(result[3:], clipped[3:])
    with np.errstate(over="ignore"):
        fits = result[:3].astype(kind).astype(np.float64) == result[:3]
        for i in np.flatnonzero(~fits):  # no number of the type lies there
            near = clipped[i].astype(kind)
            steps = np.array(
                [np.nextafter(near, kind(-np.inf)), near, np.nextafter(near, kind(np.inf))], dtype=np.float64
            )
            assert not ((steps >= lower[i]) & (steps <= upper[i])).any()
            assert result[i] == clipped[i]
    near = np.abs(result[:3] - clipped[:3]) <= 2 * np.finfo(kind).eps * np.abs(clipped[:3]) + 1e-6
    assert (near | (np.abs(clipped[:3]) > np.finfo(kind).max)).all()


def test_the_nearest_box_is_the_one_that_is_tried():
    boxes = [([0.0, 0.0], [1.0, 1.0]), ([2.0, 0.0], [3.0, 1.0])]
    either = Property([Disjunct(box, Gy=[[-1.0]], g=[-0.5]) for box in boxes])
    model = one_layer([[1.0], [0.0]])
    first, second = confirm(model, either, [1.2, 0.0]), confirm(model, either, [1.8, 0.0])
    assert (first.x[0], first.disjunct, second.x[0], second.disjunct) == (1.0, 0, 2.0, 1)
    overlapping = Property([Disjunct(([0, 0], [1, 1]), [[-1.0]], [-5.0]), Disjunct(([0, 0], [2, 1]), [[-1.0]], [-0.5])])
    assert confirm(model, overlapping, [0.75, 0.0]).disjunct == 1
    assert confirm(model, Property([], 2, 1), [0.5, 0.5]) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_points_on_the_border_of_an_l1_ball_are_pulled_inside(seed):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(3, 2))
    network = Network([Layer(weight.T, [0.0, 0.0], relu=False)])
    center = rng.random(3).astype(np.float32).astype(np.float64)
    property = robustness(network, center, 0.3, norm="1", label=0)
    for step in rng.normal(size=(10, 3)):
        x = center + 0.3 * step / np.abs(step).sum()  # rounding alone says whether this lies inside
        for source in (network, one_layer(weight, parts=(1, 2))):
            found = confirm(source, property, x)
            gain = (x @ weight) @ [-1, 1]
            assert (found is not None) == (gain > 0) or abs(gain) < 1e-5
            if found is not None:
                assert property.ball.contains(found.x)
                assert np.abs(found.x - x).max() < 1e-6


def test_several_inputs_of_several_types_follow_one_another():
    source = original_of(one_layer([[1.0], [2.0], [4.0]], TensorProto.DOUBLE, parts=(1, 2)))
    assert source(np.array([1.0, 1.0, 0.1])).tolist() == [3.4]
    assert [part for part, _ in source.parts] == [slice(0, 1), slice(1, 3)]
    half = original_of(one_layer([[1.0]], TensorProto.FLOAT16, parts=(1,)))
    assert half.parts[0][1] is np.float16
    found = confirm(half, at_least(0.0, ([0.0], [1e6])), [1e6])  # beyond all of its numbers
    assert found.x.tolist() == [65504.0]


def test_the_evaluators_agree(monkeypatch, tmp_path):
    rng = np.random.default_rng(2)
    model = one_layer(rng.normal(size=(3, 4)), parts=(3,))
    path = tmp_path / "layer.onnx"
    path.write_bytes(model.SerializeToString())
    points = rng.normal(size=(5, 3))
    results = [[source(x) for x in points] for source in (original_of(path), original_of(path.read_bytes()))]
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)  # as where it is not installed
    plain = original_of(model)
    assert plain.name == "onnx.reference"
    for ours in results:
        np.testing.assert_allclose(ours, [plain(x) for x in points], rtol=1e-5, atol=1e-6)
        assert all(y.astype(np.float32).astype(np.float64).tolist() == y.tolist() for y in ours)  # its own precision


@pytest.mark.onnxruntime
def test_onnxruntime_is_asked_where_it_is_installed():
    pytest.importorskip("onnxruntime")
    assert original_of(one_layer([[1.0], [1.0]])).name == "onnxruntime"


def test_what_does_not_fit_is_refused(tmp_path):
    model = one_layer([[1.0], [1.0]])
    with pytest.raises(ShapeError, match="the candidate has shape"):
        confirm(model, at_least(0.0, ([0.0, 0.0], [1.0, 1.0])), [0.0])
    with pytest.raises(ShapeError, match="1 inputs"):
        confirm(model, at_least(0.0, ([0.0], [1.0])), [0.0])
    with pytest.raises(ShapeError, match="gives 1 outputs"):
        confirm(model, Property([Disjunct(([0, 0], [1, 1]), [[1.0, 0.0]], [0.0])]), [0.0, 0.0])
    assert confirm(model, at_least(0.0, ([0.0, 0.0], [1.0, 1.0])), [np.nan, 0.0]) is None
    (tmp_path / "cut.onnx").write_bytes(model.SerializeToString()[:40])
    with pytest.raises(ReadError, match=r"cut\.onnx"):
        original_of(tmp_path / "cut.onnx")
    with pytest.raises(ReadError, match="no such file"):
        original_of(str(tmp_path / "missing.nnet"))


def test_outputs_beyond_all_numbers_confirm_nothing():
    model = one_layer([[1e30], [1e30]])
    assert confirm(model, at_least(1.0, ([0.0, 0.0], [1e30, 1.0])), [1e30, 0.0]) is None  # infinite in single precision


def test_a_counterexample_is_written_in_the_competitions_form():
    found = Counterexample(np.array([0.1, -1e-20]), np.array([float(np.float32(0.1))]), 0, "test")
    text = found.to_vnnlib()
    assert text == "((X_0 0.1)\n(X_1 -1e-20)\n(Y_0 0.10000000149011612))"
    numbers = [float(number) for number in re.findall(r"[XY]_\d+ (\S+?)\)", text)]
    assert numbers == [*found.x, *found.y]  # every digit that matters
    assert write_point(found.x, found.y) == text


def test_a_network_is_its_own_original():
    network = Network([Layer([[1.0, -1.0]], [0.0], relu=True)])
    source = original_of(network)
    assert original_of(source) is source
    box = Box([0.1, 0.1], [0.1, 0.2])
    found = confirm(source, Property([Disjunct(box, [[1.0]], [0.0])]), [0.1, 0.15])
    assert found.x.tolist() == [0.1, 0.15]
