"""`load_network`: which reader a source goes to, and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from omlt_ext import Box, Layer, Network
from omlt_ext.errors import BoundsError, NetworkError, ReadError, ShapeError
from omlt_ext.readers import load_network

PAIRS = [(np.array([[1.0, -1.0], [0.5, 2.0]]), np.array([0.0, 1.0])), (np.array([[2.0, 1.0]]), np.array([-1.0]))]


def test_a_network_is_returned_as_it_is():
    network = Network([Layer([[1.0]], [0.0], relu=True)])
    assert load_network(network) is network


def test_input_box_and_input_shape_are_attached():
    network = load_network(PAIRS, input_box=(-1, [1, 2]), input_shape=(2, 1))
    assert network.input_shape == (2, 1)
    np.testing.assert_array_equal(network.input_box.lower, [-1, -1])
    np.testing.assert_array_equal(network.input_box.upper, [1, 2])
    again = load_network(network, input_box=Box([0, 0], [1, 1]))
    assert again.input_shape == (2, 1)
    assert again.input_box.lower.tolist() == [0, 0]
    np.testing.assert_array_equal(again([0.3, 0.7]), network([0.3, 0.7]))


def test_wrong_boxes_and_shapes_are_errors():
    with pytest.raises(ShapeError, match="3 coordinates, the network 2"):
        load_network(PAIRS, input_box=Box([0, 0, 0], [1, 1, 1]))
    with pytest.raises(BoundsError, match="pair"):
        load_network(PAIRS, input_box=5)
    with pytest.raises(NetworkError, match="does not hold 2 numbers"):
        load_network(PAIRS, input_shape=(3,))


def test_unknown_keywords_are_type_errors():
    with pytest.raises(TypeError, match="logit"):
        load_network(PAIRS, logit=True)


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, np.eye(2), object(), b"bytes"])
def test_other_objects_are_refused_with_what_is_accepted(source):
    with pytest.raises(ReadError, match=r"cannot read a network from a .*; expected .*\.nn\.Module"):
        load_network(source)


def test_a_class_is_not_a_model():
    MLPRegressor = pytest.importorskip("sklearn.neural_network").MLPRegressor

    with pytest.raises(ReadError, match="the class MLPRegressor"):
        load_network(MLPRegressor)


def test_files_that_are_not_there_or_not_read(tmp_path):
    with pytest.raises(ReadError, match=r"no such file .*\.onnx, \.nnet, \.pt, \.pth, \.keras, \.h5"):
        load_network(tmp_path / "missing.onnx")
    with pytest.raises(ReadError, match="is a folder"):
        load_network(str(tmp_path))
    (tmp_path / "weights.npz").write_bytes(b"PK")
    with pytest.raises(ReadError, match=r"suffix '\.npz' are not read"):
        load_network(tmp_path / "weights.npz")
    for suffix in ("onnx", "nnet", "pt", "pth", "keras", "h5"):
        path = tmp_path / f"empty.{suffix}"
        path.touch()
        with pytest.raises(ReadError, match="is empty"):
            load_network(path)
    with pytest.raises(ReadError, match="cannot be opened"):
        load_network("nul\0byte.onnx")


def test_suffixes_are_read_in_any_case(tmp_path):
    path = tmp_path / "SMALL.NNET"
    path.write_text("1,1,1,1,\n1,1,\n0,\n-1,\n1,\n0,0,\n1,1,\n2,\n3,\n")
    assert load_network(path)([1.0]) == 5.0


WITHOUT = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
hidden = {"torch", "keras", "sklearn", "omlt", "onnxruntime", "h5py", "tensorflow", "jax"}
PathFinder.find_spec = lambda name, *rest: None if name in hidden else find(name, *rest)  # as if not installed
from omlt_ext.errors import MissingDependencyError
from omlt_ext.readers import load_network
print(load_network([([[1.0]], [0.0])]).n_inputs, load_network(sys.argv[1]).n_inputs)
for path in sys.argv[2:]:
    try:
        load_network(path)
    except MissingDependencyError as error:
        print(str(error).split("pip install ")[1].split()[0])
"""


def test_the_base_package_reads_without_the_optional_packages(tmp_path):
    paths = [tmp_path / name for name in ("net.nnet", "net.pt", "net.keras")]
    for path in paths:
        path.write_text("1,1,1,1,\n1,1,\n0,\n-1,\n1,\n0,0,\n1,1,\n2,\n3,\n")
    run = [sys.executable, "-c", WITHOUT, *map(str, paths)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1", '"omlt-ext[torch]"', '"omlt-ext[keras,torch]"'], done.stderr


def test_an_object_is_told_by_its_class_without_importing_its_package():
    script = (
        "import sys; from sklearn.linear_model import LinearRegression; from omlt_ext.readers import load_network; "
        "print(load_network(LinearRegression().fit([[0.0], [1.0]], [1.0, 2.0])).n_inputs, "
        "sorted({'torch', 'keras', 'omlt', 'onnxruntime'} & set(sys.modules)))"
    )
    pytest.importorskip("sklearn")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "1 []\n", done.stderr
