"""What pruning takes as data, and what it refuses."""

import numpy as np
import pytest

from omlt_ext import Box, Layer, Network
from omlt_ext.errors import OptionError, ShapeError
from omlt_ext.pruning import Data

TWO = Network([Layer([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], relu=False)])
ONE = Network([Layer([[1.0, 2.0]], [0.0], relu=False)])
X = np.array([[1.0, 2.0], [3.0, 0.5], [0.0, 0.0]])


def test_classes_and_values_are_told_apart_by_their_shape():
    assert Data.of((X, [0, 1, 1]), TWO).labels.tolist() == [0, 1, 1]
    assert Data.of((X, [0.0, 1.0, 1.0]), TWO).labels.dtype == np.int64
    assert Data.of((X, np.ones((3, 2))), TWO).values.shape == (3, 2)
    assert Data.of((X, [0, 1, 1]), ONE).values.shape == (3, 1)


def test_without_y_the_network_itself_says_what_is_wanted():
    data = Data.of(X, TWO)
    np.testing.assert_array_equal(data.values, X)
    assert data.loss(TWO) == 0.0


def test_tables_files_and_data_are_read(tmp_path):
    for kind in (dict, lambda **parts: Data(parts["X"], labels=np.array(parts["y"]))):
        assert Data.of(kind(X=X, y=[0, 1, 1]), TWO).labels.tolist() == [0, 1, 1]
    np.savez(tmp_path / "with.npz", X=X, y=[0, 1, 1])
    np.savez(tmp_path / "without.npz", X=X)
    np.save(tmp_path / "alone.npy", X)
    assert Data.of(tmp_path / "with.npz", TWO).labels.tolist() == [0, 1, 1]
    assert Data.of(str(tmp_path / "without.npz"), TWO).labels is None
    np.testing.assert_array_equal(Data.of(tmp_path / "alone.npy", TWO).inputs, X)


def test_cross_entropy_of_large_logits_stays_finite():
    data = Data.of((np.array([[1000.0, 0.0], [0.0, 1000.0]]), [0, 0]), TWO)
    np.testing.assert_allclose(data.losses(TWO(data.inputs)), [0.0, 1000.0])
    np.testing.assert_allclose(data.slopes(TWO(data.inputs)), [[0.0, 0.0], [-1.0, 1.0]])


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (X[0], ShapeError, r"shape \(2,\); they must be \(samples, 2\)"),
        (np.ones((3, 4)), ShapeError, r"must be \(samples, 2\)"),
        (np.empty((0, 2)), ShapeError, "samples"),
        ((X, [0, 1]), ShapeError, "classes"),
        ((X, [0, 1, 2]), OptionError, r"y\[2\] is 2; the network has the classes 0 to 1"),
        ((X, [0, 1, 0.5]), OptionError, "whole numbers"),
        ((X, [0, 1, np.nan]), OptionError, "whole numbers"),
        ((X, ["a", "b", "c"]), OptionError, "y"),
        ((X, np.full((3, 2), np.inf)), OptionError, r"y\[0, 0\] is inf"),
        (np.array([[1.0, np.nan]]), OptionError, r"X\[0, 1\] is nan"),
        ({"x": X}, OptionError, "name them X and y"),
        ((X, [0, 1, 1], 3), OptionError, "tuple of 3"),
        ("nowhere.npz", OptionError, "cannot read"),
    ],
)
def test_what_is_no_data_is_refused(given, error, says):
    with pytest.raises(error, match=says):
        Data.of(given, TWO)


def test_files_that_are_no_archives_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "objects.npz", X=np.array([{}], dtype=object))
    np.savez(tmp_path / "other.npz", inputs=X)
    for name, says in {
        "text.npz": "text.npz: it holds no arrays of numbers",
        "objects.npz": "it holds no arrays of numbers",
        "other.npz": "name them X and y",
    }.items():
        with pytest.raises(OptionError, match=says):
            Data.of(tmp_path / name, TWO)


def test_points_are_drawn_from_the_box():
    data = Data.drawn(TWO, Box([0.0, -3.0], [1.0, -2.0]), np.random.default_rng(0))
    assert data.inputs.shape == (1000, 2)
    np.testing.assert_array_equal(np.floor(data.inputs), np.broadcast_to([0.0, -3.0], (1000, 2)))
    np.testing.assert_array_equal(data.values, data.inputs)
