"""ONNX files from other projects: each loads and equals onnxruntime, or is refused for a node that is named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from omlt_ext.errors import UnsupportedOperatorError
from omlt_ext.mixed import MixedNetwork
from omlt_ext.readers.check import probe_points
from omlt_ext.readers.onnx import read_onnx

pytestmark = pytest.mark.outside

DATA = Path(os.environ.get("OMLT_EXT_OUTSIDE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FILES = sorted(DATA.rglob("*.onnx"))
NAMES = [str(path.relative_to(DATA)) for path in FILES]

#: The files that are not piecewise linear, with the operator that is to blame. No others may be refused.
NOT_PIECEWISE_LINEAR = {
    "onnx_graphs/dropout_training_mode_true.onnx": "Dropout",  # training mode, ratio 0.5: random
    "onnx_graphs/sigmoid.onnx": "Sigmoid",
    "onnx_graphs/tanh.onnx": "Tanh",
    "peer_models/gemm.onnx": "LogSoftmax",  # ends the graph: loads with logits=True
    "peer_models/keras_linear_131_sigmoid.onnx": "Sigmoid",  # between the layers
}
SMOOTH = {name for name, operator in NOT_PIECEWISE_LINEAR.items() if operator in ("Sigmoid", "Tanh")}
HEADS = {"onnx_graphs/sigmoid.onnx", "peer_models/gemm.onnx"}

if not FILES:
    pytest.skip(f"there are no ONNX files under {DATA}", allow_module_level=True)


@pytest.mark.onnxruntime
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_PIECEWISE_LINEAR])
def test_each_file_equals_onnxruntime(name):
    equals_onnxruntime(read_onnx(DATA / name), name)


@pytest.mark.onnxruntime
@pytest.mark.parametrize("name", [name for name in NAMES if name in SMOOTH])
def test_smooth_activations_equal_onnxruntime(name):
    network = read_onnx(DATA / name, smooth=True)
    assert isinstance(network, MixedNetwork)
    equals_onnxruntime(network, name)


def equals_onnxruntime(network, name):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(onnx_in_order(DATA / name))
    shapes = {i.name: [d if isinstance(d, int) else 1 for d in i.shape] for i in session.get_inputs()}
    points = probe_points(network, seed=7).astype(np.float32)
    for x in points:
        feeds = {key: x[part].reshape(shapes[key]) for key, part in network.input_slices.items()}
        theirs = np.concatenate([np.ravel(y) for y in session.run(None, feeds)])
        np.testing.assert_allclose(network(x), theirs, rtol=0, atol=1e-5 * (1 + np.abs(theirs).max()))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_PIECEWISE_LINEAR])
def test_each_file_comes_back_from_ours(name, tmp_path):
    network = read_onnx(DATA / name)
    network.save(tmp_path / "net.onnx")
    again = read_onnx(tmp_path / "net.onnx")
    assert [layer.n_out for layer in again.layers] == [layer.n_out for layer in network.layers]
    assert (again.input_shape, again.output_shape) == (network.input_shape, network.output_shape)
    points = probe_points(network, count=4)
    np.testing.assert_allclose(again(points), network(points), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name in NOT_PIECEWISE_LINEAR])
def test_what_is_not_piecewise_linear_is_refused_by_name(name):
    with pytest.raises(UnsupportedOperatorError) as caught:
        read_onnx(DATA / name)
    assert caught.value.operator == NOT_PIECEWISE_LINEAR[name]
    assert caught.value.node in str(caught.value)
    if name in HEADS:
        assert read_onnx(DATA / name, logits=True).n_outputs > 0
    else:
        with pytest.raises(UnsupportedOperatorError):
            read_onnx(DATA / name, logits=True)


def test_the_sidecar_of_a_file_is_its_box():
    path = DATA / "peer_models" / "keras_conv_7x7_relu.onnx"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    box = read_onnx(path).input_box
    assert box is not None
    np.testing.assert_array_equal(box.lower, np.zeros(49))
    np.testing.assert_array_equal(box.upper, np.ones(49))


def onnx_in_order(path: Path) -> bytes:
    """The file with its nodes in an order that onnxruntime takes."""
    from omlt_ext.readers.onnx_file import load_model

    return bytes(load_model(path)[0].SerializeToString())
