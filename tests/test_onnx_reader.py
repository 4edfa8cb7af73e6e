"""The ONNX reader: every operator in its old and new forms, and every way in which a file can be bad."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from omlt_ext.errors import (
    BoundsError,
    ImportCheckError,
    NetworkError,
    OmltExtError,
    ReadError,
    UnsupportedOperatorError,
)
from omlt_ext.mixed import MixedNetwork
from omlt_ext.network import Network
from omlt_ext.readers.onnx import read_onnx

RNG = np.random.default_rng(0)
F32 = TensorProto.FLOAT


def floats(*shape):
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape).astype(np.float32)


def single(values):
    return np.array(values, dtype=np.float32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def graph(nodes, shape=(1, 4), *, opset=17, outputs=("y",), inputs=None, sparse=(), **weights):
    """A model; `nodes` are (operator, inputs, output, attributes), all strings blank-separated."""
    protos = []
    for operator, reads, writes, *rest in nodes:
        attributes = dict(rest[0]) if rest else {}
        domain = attributes.pop("domain", "")
        named = [name.strip("-") for name in reads.split()]
        protos.append(helper.make_node(operator, named, writes.split(), domain=domain, **attributes))
    inputs = {"x": shape} if inputs is None else inputs
    proto = helper.make_graph(
        protos,
        "test",
        [helper.make_tensor_value_info(name, F32, size) for name, size in inputs.items()],
        [helper.make_tensor_value_info(name, F32, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
        sparse_initializer=sparse,
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(proto, opset_imports=imports, ir_version=8)


def one(operator, shape=(1, 4), opset=17, more="", /, *, outputs="y", **given):
    """A model of one node whose first input is x; arrays become initializers, other values attributes."""
    weights = {key: value for key, value in given.items() if isinstance(value, np.ndarray)}
    attributes = {key: value for key, value in given.items() if key not in weights}
    reads = "x " + (more or " ".join(weights))
    return graph([(operator, reads, outputs, attributes)], shape, opset=opset, outputs=outputs.split(), **weights)


IMAGE = (1, 2, 5, 6)
NORM = {"s": floats(2), "b": floats(2), "m": floats(2), "v": np.abs(floats(2))}
MODELS = {
    "Gemm plain": one("Gemm", B=floats(4, 3)),
    "Gemm all": one("Gemm", (4, 2), B=floats(3, 4), C=floats(3), alpha=0.5, beta=2.0, transA=1, transB=1),
    "Gemm of a constant": graph([("Gemm", "A x C", "y", {"transB": 1})], A=floats(3, 4), C=floats(3, 1)),
    "Gemm of version 6": one("Gemm", (1, 4), 6, B=floats(4, 3), C=floats(3), broadcast=1),
    "MatMul batched": one("MatMul", (2, 3, 4), W=floats(2, 4, 5)),
    "MatMul one weight": one("MatMul", (2, 3, 4), W=floats(4, 5)),
    "MatMul left": graph([("MatMul", "W x", "y")], (2, 4, 3), W=floats(2, 5, 4)),
    "MatMul vector": one("MatMul", (2, 3, 4), W=floats(4)),
    "MatMul of a vector": one("MatMul", (4,), W=floats(4, 3)),
    "transposed weight": graph(
        [("Transpose", "W", "V"), ("MatMul", "x V", "z"), ("Add", "b z", "y")], W=floats(3, 4), b=floats(3)
    ),
    "Add broadcast": one("Add", IMAGE, B=floats(2, 1, 1)),
    "Add of version 6": one("Add", IMAGE, 6, B=floats(2), axis=1, broadcast=1),
    "Mul of version 6": one("Mul", IMAGE, 6, B=single(3.0), broadcast=1),
    "Sub from constant": graph([("Sub", "a x", "y")], a=floats(3, 4)),
    "Div": one("Div", B=single([1, 2, 4, 8])),
    "Sum and Mean": graph([("Sum", "x a x", "s"), ("Mean", "x s a", "m"), ("Neg", "m", "y")], a=floats(4)),
    "BatchNormalization 9": one("BatchNormalization", IMAGE, 9, **NORM, epsilon=0.1),
    "BatchNormalization 15": one("BatchNormalization", IMAGE, 15, **NORM),
    "Conv": one("Conv", IMAGE, W=floats(3, 2, 3, 2), B=floats(3), strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2]),
    "Conv grouped": one("Conv", IMAGE, W=floats(4, 1, 2, 2), group=2),
    "Conv 1-D": one("Conv", (2, 2, 7), W=floats(3, 2, 3), auto_pad="SAME_UPPER", strides=[2]),
    "Conv 3-D": one("Conv", (1, 1, 3, 4, 3), W=floats(2, 1, 2, 2, 2)),
    "Conv lower": one("Conv", IMAGE, W=floats(1, 2, 2, 2), auto_pad="SAME_LOWER"),
    "Conv valid": one("Conv", IMAGE, W=floats(1, 2, 2, 2), auto_pad="VALID"),
    "ConvTranspose": one(
        "ConvTranspose",
        IMAGE,
        W=floats(2, 3, 3, 3),
        B=floats(3),
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 0],
    ),
    "ConvTranspose grouped": one("ConvTranspose", IMAGE, W=floats(2, 2, 2, 2), group=2, dilations=[2, 1]),
    "ConvTranspose shape": one("ConvTranspose", IMAGE, W=floats(2, 1, 3, 3), strides=[2, 2], output_shape=[10, 12]),
    "AveragePool": one("AveragePool", IMAGE, kernel_shape=[2, 3], strides=[2, 2], pads=[1, 1, 0, 1]),
    "AveragePool pad": one("AveragePool", IMAGE, kernel_shape=[2, 3], pads=[1, 1, 0, 1], count_include_pad=1),
    "AveragePool ceil": one("AveragePool", IMAGE, 19, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool": one("MaxPool", IMAGE, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 1, 0, 1]),
    "MaxPool ceil": one("MaxPool", IMAGE, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool same": one("MaxPool", IMAGE, kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER"),
    "MaxPool dilated": one("MaxPool", IMAGE, kernel_shape=[2, 2], dilations=[2, 3]),
    "GlobalAveragePool": one("GlobalAveragePool", IMAGE),
    "GlobalMaxPool": one("GlobalMaxPool", IMAGE),
    "Relu": one("Relu"),
    "LeakyRelu default": one("LeakyRelu"),
    "LeakyRelu": one("LeakyRelu", alpha=0.3),
    "PRelu": one("PRelu", IMAGE, slope=floats(2, 1, 1)),
    "PRelu of version 6": one("PRelu", IMAGE, 6, slope=floats(2)),
    "Clip attributes": one("Clip", (1, 4), 6, min=-0.5, max=0.5),
    "Clip inputs": one("Clip", lo=single(-0.5), hi=single(0.25)),
    "Clip upper": one("Clip", (1, 4), 17, "- hi", hi=single(0.3)),
    "Clip nothing": one("Clip"),
    "HardSigmoid": one("HardSigmoid"),
    "HardSigmoid given": one("HardSigmoid", alpha=1.0, beta=0.1),
    "ThresholdedRelu": one("ThresholdedRelu", alpha=0.0),
    "Abs": one("Abs"),
    "Max and Min": graph([("Max", "x a b", "m"), ("Min", "m x c", "y")], a=floats(4), b=floats(1, 1), c=floats(1)),
    "ReduceSum input": one("ReduceSum", IMAGE, axes=ints(2, -1), keepdims=0),
    "ReduceSum attribute": one("ReduceSum", IMAGE, 11, axes=[1]),
    "ReduceSum noop": one("ReduceSum", IMAGE, noop_with_empty_axes=1),
    "ReduceMean": one("ReduceMean", IMAGE, axes=[1, 3]),
    "ReduceMean 18": one("ReduceMean", IMAGE, 18, axes=ints(0)),
    "ReduceMax": one("ReduceMax", IMAGE, axes=[-1], keepdims=0),
    "ReduceMin all": one("ReduceMin", (1, 5)),
    "ReduceL1": one("ReduceL1", (2, 3), axes=[1]),
    "CumSum": one("CumSum", (2, 3), axis=np.array(1)),
    "Flatten": one("Flatten", IMAGE, axis=2),
    "Reshape": one("Reshape", IMAGE, size=ints(0, -1, 3)),
    "Reshape of version 1": one("Reshape", IMAGE, 1, shape=[0, -1]),
    "Transpose": one("Transpose", IMAGE, perm=[0, 2, 3, 1]),
    "Squeeze attribute": one("Squeeze", (1, 3, 1), 11, axes=[0]),
    "Squeeze input": one("Squeeze", (1, 3, 1), axes=ints(-1)),
    "Squeeze all": one("Squeeze", (1, 3, 1)),
    "Unsqueeze": one("Unsqueeze", (2, 3), axes=ints(0, -1)),
    "Unsqueeze attribute": one("Unsqueeze", (2, 3), 11, axes=[1, 3]),
    "Slice of version 1": one("Slice", (2, 6), 9, starts=[0, 1], ends=[2**40, -1], axes=[0, 1]),
    "Slice backwards": one("Slice", (2, 6), starts=ints(-1), ends=ints(-(2**40)), axes=ints(1), steps=ints(-2)),
    "Slice beyond": one("Slice", (2, 6), starts=ints(-100, 1), ends=ints(100, 100)),
    "Split equal": one("Split", (2, 6), 11, outputs="y z", axis=1),
    "Split input": one("Split", (2, 6), outputs="y z", split=ints(2, 4), axis=-1),
    "Split uneven": one("Split", (7, 2), 18, outputs="y z w", num_outputs=3),
    "Concat": graph([("Concat", "x a x", "y", {"axis": -1})], a=floats(1, 2)),
    "Pad 2": one("Pad", (2, 3), 2, pads=[1, 0, 0, 2], value=1.5),
    "Pad input": one("Pad", (2, 3), pads=ints(0, 1, 2, 0), value=single(-1.0)),
    "Pad reflect": one("Pad", (2, 4), pads=ints(0, 2, 0, 1), mode="reflect"),
    "Pad edge": one("Pad", (2, 4), pads=ints(1, 2, 0, 1), mode="edge"),
    "Pad negative": one("Pad", (2, 4), pads=ints(0, -1, 0, 1)),
    "Pad axes": one("Pad", (2, 4), 18, "pads - axes", pads=ints(1, 2), axes=ints(-1)),
    "Gather": one("Gather", (3, 4), index=ints(2, -1, 0).reshape(3, 1), axis=1),
    "Gather scalar": one("Gather", (3, 4), index=np.array(1)),
    "GatherElements": one("GatherElements", (2, 3), index=ints(1, 0, 1).reshape(1, 3)),
    "GatherND": one("GatherND", (2, 3), index=ints(1, 2, 0, 0).reshape(2, 2)),
    "ScatterND": graph([("ScatterND", "x i u", "y")], (2, 3), i=ints(1).reshape(1, 1), u=floats(1, 3)),
    "Expand": one("Expand", (2, 1, 3), size=ints(4, 1)),
    "Tile": one("Tile", (2, 3), repeats=ints(2, 1)),
    "Where": graph([("Where", "c x a", "y")], c=np.array([True, False, True, False]), a=floats(4)),
    "Cast": graph([("Cast", "x", "d", {"to": TensorProto.DOUBLE}), ("Cast", "d", "y", {"to": F32})]),
    "Dropout 7": one("Dropout", (1, 4), 7, ratio=0.3),
    "Dropout 13": one("Dropout", ratio=single(0.3), mode=np.array(False)),
    "DepthToSpace": one("DepthToSpace", (1, 8, 2, 3), blocksize=2),
    "DepthToSpace CRD": one("DepthToSpace", (1, 8, 2, 3), blocksize=2, mode="CRD"),
    "SpaceToDepth": one("SpaceToDepth", (1, 2, 4, 6), blocksize=2),
    "Resize nearest": one(
        "Resize",
        (1, 1, 2, 3),
        17,
        "- scales",
        scales=single([1, 1, 2, 2]),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    "Resize linear": one("Resize", (1, 1, 2, 3), 17, "- scales", scales=single([1, 1, 2, 2]), mode="linear"),
    "Upsample": one("Upsample", (1, 1, 2, 3), 9, scales=single([1, 1, 2, 2])),
    "Einsum": one("Einsum", (2, 4), W=floats(3, 4), equation="bi,oi->bo"),
    "Trilu": one("Trilu", (3, 3)),
    "shape arithmetic": graph(
        [
            ("Shape", "x", "s"),
            ("Gather", "s zero", "n"),
            ("Unsqueeze", "n axes", "n1"),
            ("Concat", "n1 rest", "target", {"axis": 0}),
            ("Reshape", "x target", "y"),
        ],
        IMAGE,
        zero=np.array(0),
        axes=ints(0),
        rest=ints(-1),
    ),
    "constants of every form": graph(
        [
            ("Constant", "", "a", {"value_float": 1.5}),
            ("Constant", "", "b", {"value": numpy_helper.from_array(floats(4))}),
            ("Constant", "", "c", {"value_floats": [1.0, 2.0, 3.0, 4.0]}),
            ("Constant", "", "n", {"value_ints": [4]}),
            ("ConstantOfShape", "n", "zeros"),
            ("Add", "x a", "p"),
            ("Mul", "p b", "q"),
            ("Sub", "q c", "r"),
            ("Max", "r zeros", "y"),
        ]
    ),
    "residual": graph(
        [("Gemm", "x W", "z"), ("Relu", "z", "h"), ("Add", "h x", "s"), ("Relu", "s", "t"), ("Sub", "t x", "y")],
        W=floats(4, 4),
    ),
    "several inputs and outputs": graph(
        [("Concat", "a b", "c", {"axis": 1}), ("Relu", "c", "y"), ("Neg", "b", "z")],
        inputs={"a": ("N", 2), "b": (1, 3)},
        outputs=("y", "z"),
    ),
    "not in order": graph([("Relu", "z", "y"), ("Neg", "x", "z")]),
    "constant output": graph([("Identity", "a", "y")], a=floats(2, 2)),
    "Scaler": one("Scaler", offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5, 1.0, 2.0, -1.0], domain="ai.onnx.ml"),
    "LinearRegressor": one(
        "LinearRegressor", coefficients=[1.0, -1.0, 2.0, 0.5], intercepts=[3.0], domain="ai.onnx.ml"
    ),
}


NOT_IN_EVALUATOR = {"Pad negative", "Reshape of version 1"}  # onnx's own; their check asks onnxruntime


@pytest.mark.parametrize("name", MODELS)
def test_operator_forms_load(name):
    """Loading includes the check against onnx's evaluator in double precision, which is what tests the numbers."""
    if name in NOT_IN_EVALUATOR and find_spec("onnxruntime") is None:
        pytest.skip("onnx's own evaluator does not run it, and onnxruntime, which is asked instead, is not installed")
    network = read_onnx(MODELS[name])
    assert np.isfinite(network(np.zeros(network.n_inputs))).all()


@pytest.mark.onnxruntime
@pytest.mark.parametrize("name", MODELS)
def test_operator_forms_equal_onnxruntime(name):
    runtime = pytest.importorskip("onnxruntime")
    model = onnx.ModelProto.FromString(MODELS[name].SerializeToString())
    if model.opset_import[0].version < 7 or name == "not in order":
        pytest.skip("onnxruntime promises no versions before 7, and takes nodes in order only")
    network = read_onnx(model)
    session = runtime.InferenceSession(model.SerializeToString())
    shapes = {i.name: [d if isinstance(d, int) else 1 for d in i.shape] for i in session.get_inputs()}
    for x in RNG.standard_normal((5, network.n_inputs)).astype(np.float32):
        feeds = {key: x[part].reshape(shapes[key]) for key, part in network.input_slices.items()}
        theirs = np.concatenate([np.ravel(y) for y in session.run(None, feeds)])
        np.testing.assert_allclose(network(x), theirs, rtol=1e-5, atol=1e-5 * (1 + np.abs(theirs).max()))


def test_shapes_and_slices():
    network = read_onnx(MODELS["several inputs and outputs"])
    assert network.input_slices == {"a": slice(0, 2), "b": slice(2, 5)}
    assert network.output_slices == {"y": slice(0, 5), "z": slice(5, 8)}
    assert (network.input_shape, network.output_shape) == ((5,), (8,))
    np.testing.assert_array_equal(network([1.0, -2.0, 3.0, -4.0, 5.0]), [1, 0, 3, 0, 5, -3, 4, -5])
    image = read_onnx(MODELS["MaxPool ceil"])
    assert (image.input_shape, image.output_shape) == ((2, 5, 6), (2, 3, 3))
    assert read_onnx(MODELS["MatMul one weight"]).input_shape == (2, 3, 4)


@pytest.mark.parametrize("batch", [1, "N", 0, -1, None], ids=str)
def test_every_kind_of_batch_is_one(batch):
    network = read_onnx(graph([("Relu", "x", "y")], shape=(batch, 3)))
    assert (network.input_shape, network.n_inputs) == ((3,), 3)


def test_initializers_among_the_inputs_are_no_inputs():
    model = graph([("Add", "x b", "y")], inputs={"x": (1, 2), "b": (2,)}, b=floats(2))
    assert read_onnx(model).n_inputs == 2


def test_batch_normalization_of_version_9_uses_the_stored_statistics():
    """onnx's own evaluator mixes in those of the batch."""
    x = RNG.standard_normal((1, 2, 5, 6))
    s, b, m, v = (np.float64(a).reshape(2, 1, 1) for a in (floats(2), floats(2), floats(2), np.abs(floats(2))))
    expected = (x - m) / np.sqrt(v + np.float32(0.1)) * s + b
    np.testing.assert_allclose(read_onnx(MODELS["BatchNormalization 9"])(x.ravel()), expected.ravel())


def test_a_small_misreading_does_not_pass(monkeypatch):
    """A reader that took another epsilon, 1e-5 for 2e-5, is caught by the check."""
    from omlt_ext.readers.onnx_node import Node

    model = one("BatchNormalization", IMAGE, 15, **NORM, epsilon=2e-5)
    read_onnx(model)
    monkeypatch.setattr(Node, "number", lambda self, name, default: default)
    with pytest.raises(ImportCheckError, match="the import is refused"):
        read_onnx(model)


@pytest.mark.parametrize("head", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_heads_are_dropped_on_request_only(head):
    model = graph(
        [("Gemm", "x W", "z"), (head, "z", "s"), ("Identity", "s", "i"), ("Flatten", "i", "y")], W=floats(4, 3)
    )
    with pytest.raises(UnsupportedOperatorError, match="logits=True") as caught:
        read_onnx(model)
    assert caught.value.operator == head
    x = floats(4)
    np.testing.assert_allclose(read_onnx(model, logits=True)(x), x @ floats(4, 3).astype(float), atol=1e-6)


def test_a_head_inside_is_never_dropped():
    inside = graph([("Softmax", "x", "s"), ("Neg", "s", "y")])
    shared = graph([("Softmax", "x", "y"), ("Neg", "y", "z")], outputs=("y", "z"))
    for model in (inside, shared):
        with pytest.raises(UnsupportedOperatorError, match="Softmax"):
            read_onnx(model, logits=True)


REFUSED = {
    "Sigmoid inside": (graph([("Neg", "x", "a"), ("Sigmoid", "a", "b"), ("Neg", "b", "y")]), r"node 1 \(Sigmoid\)"),
    "Tanh": (one("Tanh"), r"node 0 \(Tanh\)"),
    "Sign": (one("Sign"), "Sign"),
    "Round": (one("Round"), "Round"),
    "product of data": (graph([("Mul", "x x", "y")]), "Mul of two tensors"),
    "matrix product of data": (graph([("MatMul", "x x", "y")], (2, 2)), "one must be constant"),
    "division by data": (graph([("Div", "a x", "y")], a=floats(4)), "divisor"),
    "ArgMax": (one("ArgMax"), "ArgMax"),
    "unknown": (one("Nonsense"), "Nonsense"),
    "custom domain": (one("Gelu", domain="com.example"), "com.example"),
    "cast to integers": (one("Cast", to=TensorProto.INT64), "Cast"),
    "gather by data": (graph([("Gather", "a x", "y")], a=floats(4)), "indices"),
    "training": (one("Dropout", ratio=single(0.5), mode=np.array(True)), "evaluation mode"),
    "training norm": (one("BatchNormalization", IMAGE, 15, **NORM, training_mode=1), "training"),
    "random": (graph([("RandomNormal", "", "r", {"shape": [4]}), ("Add", "x r", "y")]), "random"),
    "pool indices": (one("MaxPool", IMAGE, outputs="y z", kernel_shape=[2, 2]), "'z'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_piecewise_linear_is_refused_by_name(name):
    model, message = REFUSED[name]
    with pytest.raises(UnsupportedOperatorError, match=message) as caught:
        read_onnx(model)
    assert caught.value.node in str(caught.value)


SMOOTH = {
    "between layers": graph([("Gemm", "x W", "a"), ("Sigmoid", "a", "b"), ("Neg", "b", "y")], W=floats(4, 3)),
    "at the end": graph([("Gemm", "x W", "a"), ("Relu", "a", "b"), ("Softplus", "b", "y")], W=floats(4, 3)),
    "residual": graph([("Tanh", "x", "a"), ("Add", "a x", "b"), ("Relu", "b", "c"), ("Sub", "c a", "y")]),
    "of a constant": graph([("Tanh", "c", "a"), ("Sigmoid", "x", "b"), ("Add", "a b", "y")], c=floats(4)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_are_read_on_request(name):
    with pytest.raises(UnsupportedOperatorError, match="smooth=True"):
        read_onnx(SMOOTH[name])
    network = read_onnx(SMOOTH[name], smooth=True)  # compared with the standard's evaluator before it is returned
    assert isinstance(network, MixedNetwork)
    x = floats(4).astype(float)
    runtime = ReferenceEvaluator(SMOOTH[name]).run(None, {"x": x.astype(np.float32)[None]})[0]
    np.testing.assert_allclose(network(x), runtime.ravel(), atol=1e-5)


def test_without_smooth_activations_the_request_changes_nothing():
    assert isinstance(read_onnx(one("Relu"), smooth=True), Network)
    with pytest.raises(UnsupportedOperatorError, match="Softmax"):
        read_onnx(graph([("Softmax", "x", "s"), ("Neg", "s", "y")]), smooth=True)


def test_a_final_sigmoid_is_kept_or_dropped():
    model = graph([("Gemm", "x W", "z"), ("Sigmoid", "z", "y")], W=floats(4, 3))
    assert isinstance(read_onnx(model, smooth=True), MixedNetwork)
    assert isinstance(read_onnx(model, smooth=True, logits=True), Network)


def test_the_refusal_uses_the_name_of_the_node():
    model = one("Tanh")
    model.graph.node[0].name = "squash"
    with pytest.raises(UnsupportedOperatorError, match="squash: operator Tanh") as caught:
        read_onnx(model)
    assert (caught.value.node, caught.value.operator) == ("squash", "Tanh")


BAD = {
    "cycle": (graph([("Add", "x b", "a"), ("Relu", "a", "b"), ("Neg", "b", "y")]), "cycle"),
    "undefined": (graph([("Add", "x nowhere", "y")]), "'nowhere', which nothing defines"),
    "undefined output": (graph([("Relu", "x", "z")]), "'y', which nothing defines"),
    "defined twice": (graph([("Relu", "x", "y"), ("Neg", "x", "y")]), "defined twice"),
    "no inputs": (graph([("Identity", "a", "y")], inputs={}, a=floats(2)), "no inputs"),
    "dynamic axis": (graph([("Relu", "x", "y")], shape=(1, "width")), "'x': axis 1 has the size 'width'"),
    "no shape": (graph([("Relu", "x", "y")], shape=None), "'x' has no shape"),
    "NaN weight": (one("Gemm", B=np.full((4, 2), np.nan, dtype=np.float32)), r"'B' holds nan at \(0, 0\)"),
    "infinite bias": (one("Add", b=single([1, np.inf, 0, 0])), "'b' holds inf"),
    "zero divisor": (one("Div", b=single([1, 0, 1, 1])), "'b' holds a zero"),
    "wrong weight": (one("Gemm", B=floats(3, 2)), r"shapes \(1, 4\) and \(3, 2\)"),
    "wrong broadcast": (one("Add", b=floats(3)), "Add"),
    "wrong kernel": (one("Conv", IMAGE, W=floats(1, 3, 2, 2)), "Conv"),
    "kernel too large": (one("MaxPool", IMAGE, kernel_shape=[9, 9]), "does not fit"),
    "wrong reshape": (one("Reshape", size=ints(3, 3)), "Reshape"),
    "wrong axis": (one("Concat", axis=7), "axis 7"),
    "missing input": (one("Gemm"), "Gemm"),
    "missing kernel": (one("MaxPool", IMAGE), "MaxPool"),
    "huge": (one("Expand", size=ints(2**40, 4)), "Expand"),
    "huge constant": (graph([("ConstantOfShape", "n", "c"), ("Add", "x c", "y")], n=ints(2**40)), "can be lowered"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_graphs(name):
    model, message = BAD[name]
    with pytest.raises(ReadError, match=message):
        read_onnx(model)


def test_integer_inputs_are_refused():
    model = graph([("Relu", "x", "y")])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ReadError, match="'x' is not a tensor of real numbers"):
        read_onnx(model)


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.onnx").write_text("a text, not a network")
    data = MODELS["Conv"].SerializeToString()
    (tmp_path / "short.onnx").write_bytes(data[: len(data) // 2])
    for name, message in [
        ("empty", "is empty"),
        ("text", "not an ONNX file"),
        ("short", "truncated"),
        ("gone", "no such"),
    ]:
        with pytest.raises(ReadError, match=message) as caught:
            read_onnx(tmp_path / f"{name}.onnx")
        assert name in str(caught.value)
    with pytest.raises(ReadError, match="expected a path"):
        read_onnx(3)
    with pytest.raises(ReadError):
        read_onnx(tmp_path)


def test_a_model_without_operator_versions_is_refused():
    model = one("Relu")
    del model.opset_import[:]
    with pytest.raises(ReadError, match="imports no version"):
        read_onnx(model)


def test_the_model_object_is_not_changed():
    model = graph([("Softmax", "x", "y")])
    before = model.SerializeToString()
    read_onnx(model, logits=True)
    assert model.SerializeToString() == before


def external(tmp_path, location, **entries):
    """A model beside its data file, with the weight's location replaced."""
    model = one("Gemm", B=floats(4, 3))
    tensor = model.graph.initializer[0]
    (tmp_path / "data.bin").write_bytes(b"\0" * 8 + tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, location, offset=8, length=48)
    for key, value in entries.items():
        next(e for e in tensor.external_data if e.key == key).value = value
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "net.onnx"


def test_external_data_inside_the_folder_is_read(tmp_path):
    network = read_onnx(external(tmp_path, "data.bin"))
    np.testing.assert_array_equal(network.layers[0].weight, floats(4, 3).T.astype(float))


def test_external_data_outside_the_folder_is_not_opened(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 100)
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "folder").symlink_to(tmp_path)
    for location in (
        "../secret",
        str(tmp_path / "secret"),
        "link",
        "folder/secret",
        "a/../../secret",
        "C:\\secret",
        "",
    ):
        with pytest.raises(ReadError, match="not opened") as caught:
            read_onnx(external(inside, location))
        assert "'B'" in str(caught.value)


def test_external_data_that_is_missing_or_short(tmp_path):
    with pytest.raises(ReadError, match="no file 'gone'"):
        read_onnx(external(tmp_path, "gone"))
    for entries in ({"length": "4000"}, {"offset": "-8"}, {"offset": "many"}):
        with pytest.raises(ReadError, match=r"data\.bin"):
            read_onnx(external(tmp_path, "data.bin", **entries))
    with pytest.raises(ReadError, match="'B' of shape"):
        read_onnx(external(tmp_path, "data.bin", length="12"))
    with pytest.raises(ReadError, match="pass the path"):
        read_onnx(external(tmp_path, "data.bin").read_bytes())


def test_sparse_weights():
    values = numpy_helper.from_array(single([2.0, -1.0]), "W")
    for index in (ints(1, 11), ints(0, 1, 2, 3).reshape(2, 2)):
        entry = helper.make_sparse_tensor(values, numpy_helper.from_array(index, "W_at"), [3, 4])
        model = graph([("MatMul", "W x", "y")], shape=(4,), sparse=[entry])
        model.graph.sparse_initializer[0].values.name = "W"
        np.testing.assert_array_equal(read_onnx(model)([1.0, 10.0, 100.0, 1000.0]), [20.0, 0.0, -1000.0])


def test_an_if_with_a_known_condition_is_its_branch():
    def branch(operator):
        out = helper.make_tensor_value_info("r", F32, None)
        return helper.make_graph([helper.make_node(operator, ["x"], ["r"])], "branch", [], [out])

    attributes = {"then_branch": branch("Neg"), "else_branch": branch("Tanh")}
    network = read_onnx(graph([("If", "c", "y", attributes)], c=np.array(True)))
    np.testing.assert_array_equal(network([1.0, -2.0, 3.0, 4.0]), [-1.0, 2.0, -3.0, -4.0])
    with pytest.raises(UnsupportedOperatorError, match="Tanh"):
        read_onnx(graph([("If", "c", "y", attributes)], c=np.array(False)))


def test_local_functions_are_inlined():
    body = [helper.make_node("Neg", ["a"], ["m"]), helper.make_node("Relu", ["m"], ["b"])]
    function = helper.make_function("local", "NegRelu", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    model = one("NegRelu", domain="local")
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(function)
    np.testing.assert_array_equal(read_onnx(model)([1.0, -2.0, 3.0, -4.0]), [0.0, 2.0, 0.0, 4.0])


@pytest.mark.parametrize("shape", [(1, 4), (1, 2, 2)])
def test_the_sidecar_becomes_the_input_box(tmp_path, shape):
    path = tmp_path / "net.onnx"
    onnx.save(one("Relu", shape), path)
    keys = list(range(4)) if len(shape) == 2 else [[i, j] for i in range(2) for j in range(2)]
    entries = [{"key": k, "lower_bound": -i, "upper_bound": i + 0.5} for i, k in enumerate(keys)]
    side = tmp_path / "net.onnx.bounds.json"
    side.write_text(json.dumps(entries[::-1]))
    box = read_onnx(path).input_box
    np.testing.assert_array_equal(box.lower, [0, -1, -2, -3])
    np.testing.assert_array_equal(box.upper, [0.5, 1.5, 2.5, 3.5])
    for bad, error in [
        (entries[:3], ReadError),
        (entries + entries[:1], ReadError),
        ([*entries[:3], {**entries[3], "key": 9}], ReadError),
        ([*entries[:3], {**entries[3], "key": "three"}], ReadError),
        ([*entries[:3], {**entries[3], "upper_bound": None}], BoundsError),
        ([*entries[:3], {**entries[3], "upper_bound": -99}], BoundsError),
        ([*entries[:3], {"key": 3}], ReadError),
        ({"key": 1}, ReadError),
    ]:
        side.write_text(json.dumps(bad))
        with pytest.raises(error, match=r"bounds\.json"):
            read_onnx(path)
    side.write_text("[{")
    with pytest.raises(ReadError, match="cannot be read"):
        read_onnx(path)


CHAIN = [
    ("Gemm", {"transB": 1}),
    ("MatMul", {}),
    ("Add", {}),
    ("Relu", {}),
    ("LeakyRelu", {"alpha": 0.2}),
    ("Abs", {}),
    ("Max", {}),
    ("Min", {}),
    ("Sub", {}),
    ("Transpose", {}),
    ("Clip", {}),
    ("Sum", {}),
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CHAIN), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9))
def test_random_graphs_equal_the_evaluator(steps):
    """Chains and residual graphs of 3 x 3 matrices, each node fed by any earlier values."""
    nodes, values, weights = [], ["x"], {"lo": single(-0.4)}
    for k, ((operator, attributes), i, j) in enumerate(steps):
        first, second = values[i % len(values)], values[j % len(values)]
        weights[f"W{k}"] = np.random.default_rng(k).standard_normal((3, 3)).astype(np.float32)
        reads = {
            "Gemm": f"{first} W{k} {second}",
            "MatMul": f"W{k} {first}",
            "Add": f"{first} W{k}",
            "Clip": f"{first} lo",
            "Max": f"{first} {second} W{k}",
            "Min": f"{first} {second}",
            "Sub": f"{first} {second}",
            "Sum": f"{first} {second} {first}",
        }.get(operator, first)
        nodes.append((operator, reads, f"v{k}", attributes))
        values.append(f"v{k}")
    outputs = tuple(dict.fromkeys([values[-1], values[(len(values) + 1) // 2]]))
    model = graph(nodes, shape=(3, 3), outputs=outputs, **weights)
    network = read_onnx(model)
    evaluator = ReferenceEvaluator(model)
    for x in np.random.default_rng(1).standard_normal((3, 9)).astype(np.float32):
        expected = np.concatenate([y.ravel() for y in evaluator.run(None, {"x": x.reshape(3, 3)})])
        np.testing.assert_allclose(network(x), expected, atol=1e-4 * (1 + np.abs(expected).max()))


VICTIMS = [
    MODELS[name].SerializeToString()
    for name in ("Conv", "residual", "Split input", "shape arithmetic", "Resize nearest")
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(VICTIMS),
    st.one_of(
        st.integers(0, 10**6).map(lambda n: ("cut", n, 0)),
        st.tuples(st.just("set"), st.integers(0, 10**6), st.integers(0, 255)),
    ),
)
def test_damaged_files_end_in_our_errors(data, damage):
    kind, at, byte = damage
    at %= len(data)
    damaged = data[:at] if kind == "cut" else data[:at] + bytes([byte]) + data[at + 1 :]
    try:
        network = read_onnx(damaged)
    except OmltExtError:
        pass
    else:  # the cut lost nothing of the graph, or the byte lies in a weight
        assert kind == "set" or np.array_equal(network(probe(network)), read_onnx(data)(probe(network)))


def probe(network):
    return np.linspace(-2, 2, network.n_inputs)


def test_not_finite_results_are_refused():
    huge = np.full((4, 4), 1e300)
    model = graph([("MatMul", "x W", "z"), ("MatMul", "z W", "y")], W=huge)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises((ReadError, NetworkError), match="finite"):
        read_onnx(model)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_rounding_to_half_precision_is_refused(kind: int) -> None:
    """A Cast down and up again is a staircase: 8e-4 away from the identity."""
    nodes = [
        helper.make_node("Cast", ["x"], ["low"], to=kind, name="down"),
        helper.make_node("Cast", ["low"], ["y"], to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "staircase", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    with pytest.raises(UnsupportedOperatorError, match=r"down.*half precision"):
        read_onnx(model)
