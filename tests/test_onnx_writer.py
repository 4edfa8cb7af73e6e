"""Networks written as ONNX: read back they are the same, and other programs run them."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Box, Layer, Network
from omlt_ext.errors import NetworkError
from omlt_ext.readers.onnx import read_onnx
from omlt_ext.writers.onnx import save_onnx, to_onnx

RNG = np.random.default_rng(0)


def random_network(widths, *, mixed=False, density=1.0, seed=0, **more):
    rng = np.random.default_rng(seed)
    layers = []
    for n_in, n_out in pairwise(widths):
        W = rng.standard_normal((n_out, n_in))
        if density < 1:
            W = sparse.csr_array(W * (rng.random(W.shape) < density))
        relu = rng.random(n_out) < 0.5 if mixed else len(layers) < len(widths) - 2
        layers.append(Layer(W, rng.standard_normal(n_out), relu))
    return Network(layers, **more)


def assert_same_layers(first, second):
    assert len(first.layers) == len(second.layers)
    for a, b in zip(first.layers, second.layers, strict=True):
        np.testing.assert_array_equal(a.dense_weight(), b.dense_weight())
        np.testing.assert_array_equal(a.bias, b.bias)
        np.testing.assert_array_equal(a.relu, b.relu)
        assert a.is_sparse == b.is_sparse


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=5), st.integers(0, 99))
def test_plain_networks_come_back_as_they_were(widths, seed):
    network = random_network(widths, seed=seed)
    assert_same_layers(network, read_onnx(to_onnx(network)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=5), st.integers(0, 99))
def test_layers_of_relus_and_linear_neurons_come_back_as_the_same_function(widths, seed):
    network = random_network(widths, mixed=True, seed=seed)
    again = read_onnx(to_onnx(network))
    x = RNG.standard_normal((20, network.n_inputs)) * 3
    np.testing.assert_allclose(again(x), network(x), rtol=1e-12, atol=1e-12 * np.abs(network(x)).max())


def test_sparse_layers_stay_sparse_and_small(tmp_path):
    network = random_network((400, 300, 200, 100), density=0.08)
    path = tmp_path / "net.onnx"
    network.save(path)
    again = read_onnx(path)
    assert [layer.is_sparse for layer in again.layers] == [True, True, True]
    assert_same_layers(network, again)
    assert path.stat().st_size < 8 * (400 * 300 + 300 * 200 + 200 * 100) / 2


def test_an_empty_sparse_layer():
    network = Network([Layer(sparse.csr_array((3, 5)), np.arange(3.0), relu=True)])
    np.testing.assert_array_equal(read_onnx(to_onnx(network))(np.ones(5)), [0.0, 1.0, 2.0])


@pytest.mark.onnxruntime
@pytest.mark.parametrize("more", [{}, {"mixed": True}, {"density": 0.2}, {"mixed": True, "density": 0.2}], ids=str)
def test_onnxruntime_runs_the_file(tmp_path, more):
    runtime = pytest.importorskip("onnxruntime")
    network = random_network((12, 9, 8, 6), input_shape=(3, 4), output_shape=(2, 3), **more)
    path = tmp_path / "net.onnx"
    save_onnx(network, path)
    onnx.checker.check_model(path, full_check=True)
    x = RNG.standard_normal((5, 12))
    (y,) = runtime.InferenceSession(path).run(None, {"input": x.reshape(5, 3, 4)})
    np.testing.assert_allclose(y, network(x).reshape(5, 2, 3), rtol=1e-12, atol=1e-12)


def test_names_shapes_and_boxes_are_kept(tmp_path):
    path = tmp_path / "net.onnx"
    parts = {
        "input_slices": {"a": slice(0, 2), "b": slice(2, 6)},
        "output_slices": {"y": slice(0, 1), "z": slice(1, 3)},
    }
    box = Box(np.linspace(-1, 0, 6), np.full(6, 1 / 3))
    save_onnx(random_network((6, 4, 3), input_box=box, **parts), path)
    again = read_onnx(path)
    assert again.input_slices == parts["input_slices"]
    assert again.output_slices == parts["output_slices"]
    np.testing.assert_array_equal(again.input_box.lower, box.lower)
    np.testing.assert_array_equal(again.input_box.upper, box.upper)
    image = random_network((6, 4, 3), input_shape=(1, 2, 3), input_box=box)
    save_onnx(image, path)
    assert read_onnx(path).input_shape == (1, 2, 3)
    np.testing.assert_array_equal(read_onnx(path).input_box.lower, box.lower)
    keys = [entry["key"] for entry in json.loads((tmp_path / "net.onnx.bounds.json").read_text())]
    assert keys[4] == [0, 1, 1]


def test_the_sidecar_of_an_earlier_network_does_not_stay(tmp_path):
    path = tmp_path / "net.onnx"
    save_onnx(random_network((2, 3), input_box=Box([0, 0], [1, 1])), path)
    save_onnx(random_network((2, 3)), path)
    assert read_onnx(path).input_box is None


def test_names_that_collide_with_ours():
    taken = {"input_slices": {"layer_0.z": slice(0, 2)}, "output_slices": {"layer_0.weight": slice(0, 3)}}
    network = random_network((2, 3), **taken)
    again = read_onnx(to_onnx(network))
    assert_same_layers(network, again)
    assert again.output_slices == taken["output_slices"]


def test_slices_that_overlap_are_refused():
    with pytest.raises(NetworkError, match="input slices"):
        to_onnx(random_network((3, 2), input_slices={"a": slice(0, 2), "b": slice(1, 3)}))


@pytest.mark.omlt
def test_omlt_reads_the_bounds(tmp_path):
    io = pytest.importorskip("omlt.io.onnx")
    path = tmp_path / "net.onnx"
    save_onnx(random_network((2, 3, 1), input_box=Box([0, -1], [1, 2])), path)
    from omlt.io.input_bounds import load_input_bounds

    assert io is not None
    assert load_input_bounds(f"{path}.bounds.json") == {0: (0.0, 1.0), 1: (-1.0, 2.0)}
