"""Files of bounds: bit for bit there and back, and one error for everything else; nothing in a file is run."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext import Bounds, Box, Layer, Network, Polytope, tighten_bounds
from omlt_ext.bounds import METHODS
from omlt_ext.errors import BoundsError, ReadError

SIDES = ("lower", "upper", "relu", "lower_method", "upper_method", "seconds")


def two_layers() -> tuple[Network, Bounds]:
    network = Network([Layer(np.ones((3, 2)), np.zeros(3), True), Layer(np.ones((2, 3)), np.zeros(2), [True, False])])
    return network, Bounds.of(network, Box([0, 0], [1, 1]), [[-1, 1, -3], [-2, -2]], [[1, 3, -1], [2, 2]])


def same(first: Bounds, second: Bounds) -> bool:
    """Equal bit for bit, kinds of numbers included."""
    arrays = [(a, b) for side in SIDES for a, b in zip(getattr(first, side), getattr(second, side), strict=True)]
    arrays += [(first.box.lower, second.box.lower), (first.box.upper, second.box.upper)]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in arrays)


def saved(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A good file, and its arrays by name."""
    path = tmp_path / "good.npz"
    two_layers()[1].save(path)
    with np.load(path) as archive:
        return path, dict(archive)


@given(
    ends=st.lists(st.tuples(st.floats(-1e300, 0), st.floats(0, 1e300)), min_size=5, max_size=5),
    methods=st.lists(st.sampled_from(METHODS), min_size=2, max_size=2),
)
@settings(max_examples=40, deadline=None)
def test_saved_bounds_load_bit_for_bit(ends, methods, tmp_path_factory):
    network, _ = two_layers()
    box = Box(*np.array(ends[:2]).T)
    low, high = np.array(ends).T
    drawn = Bounds.of(network, box, [low[:3], low[3:]], [high[:3], high[3:]], methods[0])
    both = drawn.intersect(Bounds.of(network, box, [[-1, -1, -3], [-2, -2]], [[3, 3, 3], [2, 2]], methods[1]))
    path = tmp_path_factory.mktemp("bounds") / "name without suffix"
    both.save(path)
    assert [file.name for file in path.parent.iterdir()] == ["name without suffix"]
    loaded = Bounds.load(path)
    assert same(loaded, both)
    loaded.check_network(network)


def test_loaded_bounds_are_frozen(tmp_path):
    loaded = Bounds.load(saved(tmp_path)[0])
    for side in SIDES:
        for array in getattr(loaded, side):
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0


def test_odd_numbers_load_bit_for_bit(tmp_path):
    network = Network([Layer(np.ones((3, 1)), np.zeros(3), True)])
    bounds = Bounds.of(network, Box([-0.0], [0.0]), [[-0.0, 5e-324, -1.7e308]], [[0.1 + 0.2, 5e-324, 1.7e308]])
    bounds.save(tmp_path / "b.npz")
    loaded = Bounds.load(str(tmp_path / "b.npz"))
    assert same(loaded, bounds)
    assert np.signbit(loaded.lower[0][0])


def everything(tmp_path: Path) -> tuple[Path, Bounds]:
    """Bounds over a polytope with times, notes and several methods, and their file."""
    rng = np.random.default_rng(0)
    network = Network(
        [Layer(rng.normal(size=(6, 3)), np.zeros(6), True), Layer(rng.normal(size=(2, 6)), [0, 0], False)]
    )
    domain = Polytope(Box.full(3, -1, 1), [[1.0, 1.0, 0.1], [0.0, -1.0, 0.3]], [0.5, 0.25])
    bounds = replace(tighten_bounds(network, domain, "split"), notes=("first — ärger", "second, " * 50))
    bounds.save(tmp_path / "all.npz")
    return tmp_path / "all.npz", bounds


def test_polytope_seconds_and_notes_come_back(tmp_path):
    path, bounds = everything(tmp_path)
    loaded = Bounds.load(path)
    assert same(loaded, bounds)
    assert loaded.seconds[1].sum() > 0
    assert loaded.notes == bounds.notes
    assert loaded.polytope.same(bounds.polytope)
    assert (loaded.polytope.box.lower == loaded.box.lower).all()
    plain, without = saved(tmp_path)
    assert Bounds.load(plain).polytope is None
    assert Bounds.load(plain).notes == ()
    assert not any(name.startswith("polytope") for name in without)


def test_files_of_version_0_1_load(tmp_path):
    """They know no times, no notes, no polytope and no list of contents."""
    path, arrays = saved(tmp_path)
    old = {name: array for name, array in arrays.items() if not name.startswith(("seconds", "notes", "contents"))}
    assert len(old) == len(arrays) - 4
    np.savez(path, **old)
    loaded = Bounds.load(path)
    assert same(loaded, two_layers()[1])
    assert [part.tolist() for part in loaded.seconds] == [[0, 0, 0], [0, 0]]


@pytest.mark.parametrize("name", ["relu_1", "seconds_0", "polytope_A", "polytope_b", "notes", "upper_1"])
def test_an_array_that_went_missing_is_missed(tmp_path, name):
    """Without its polytope a file would claim the whole box."""
    path, _ = everything(tmp_path)
    with np.load(path) as archive:
        arrays = {other: archive[other] for other in archive.files if other != name}
    np.savez(path, **arrays)
    with pytest.raises(ReadError, match=f"all.npz cannot be read: it is damaged, {name} is missing"):
        Bounds.load(path)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    path, _ = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ReadError, match=r"good\.npz cannot be read"):
        Bounds.load(path)


def test_no_flipped_byte_is_read_as_other_bounds(tmp_path):
    path, good = everything(tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            loaded = Bounds.load(path)
        except ReadError:
            continue
        assert same(loaded, good)  # a byte that carries nothing, such as a date
        assert loaded.notes == good.notes
        assert loaded.polytope.same(good.polytope)


@given(content=st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_random_bytes_are_refused(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "b.npz"
    for start in (b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"):
        path.write_bytes(start + content)
        with pytest.raises(ReadError, match=r"b\.npz"):
            Bounds.load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ReadError, match=r"nowhere\.npz cannot be read"):
        Bounds.load(tmp_path / "nowhere.npz")
    with pytest.raises(ReadError, match="cannot be read"):
        Bounds.load(tmp_path)


class Trap:
    """Runs code where a file that holds it is unpickled."""

    ran = False

    def __reduce__(self):
        return setattr, (Trap, "ran", True)


def test_pickled_arrays_are_refused_and_not_run(tmp_path):
    path, arrays = saved(tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([Trap()] * 3, dtype=object), allow_pickle=True)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "lower_0"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("lower_0.npy", buffer.getvalue())
    with pytest.raises(ReadError, match=r"good\.npz cannot be read"):
        Bounds.load(path)
    assert not Trap.ran
    buffer.seek(0)
    np.load(buffer, allow_pickle=True)
    assert Trap.ran  # the trap works


def test_a_plain_pickle_is_refused_and_not_run(tmp_path):
    Trap.ran = False
    path = tmp_path / "b.npz"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ReadError, match="cannot be read"):
        Bounds.load(path)
    assert not Trap.ran


CHANGES = {
    "of something else": lambda a: {"weights": np.ones(3)},
    "empty": lambda a: {},
    "without a side": lambda a: {n: v for n, v in a.items() if n != "upper_1"},
    "without a layer": lambda a: {n: v for n, v in a.items() if not n.endswith("_0")},
    "without a box": lambda a: {n: v for n, v in a.items() if n != "box_lower"},
    "with a crossed box": lambda a: a | {"box_lower": np.array([0.0, 2.0])},
    "with a box of text": lambda a: a | {"box_lower": np.array(["a", "b"])},
    "with a flat box": lambda a: a | {"box_lower": np.zeros((2, 2))},
    "with a short side": lambda a: a | {"lower_0": np.zeros(2)},
    "with a matrix": lambda a: a | {n: a[n].reshape(1, -1) for n in a if n.endswith("_0")},
    "in single precision": lambda a: a | {"lower_0": a["lower_0"].astype(np.float32)},
    "with relu as numbers": lambda a: a | {"relu_0": a["relu_0"].astype(np.int64)},
    "with an unknown method": lambda a: a | {"lower_method_0": np.full(3, len(METHODS), dtype=np.int8)},
    "with a negative method": lambda a: a | {"upper_method_1": np.array([0, -1], dtype=np.int8)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_another_archive_is_refused(tmp_path, change):
    path, arrays = saved(tmp_path)
    np.savez(path, **arrays)
    assert Bounds.load(path).n_unstable == 2
    np.savez(path, **change(dict(arrays)))
    with pytest.raises(ReadError, match=re.escape(str(path))):
        Bounds.load(path)


def test_an_array_by_itself_is_refused(tmp_path):
    with open(tmp_path / "b.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ReadError, match=r"b\.npz"):
        Bounds.load(tmp_path / "b.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_a_file_of_bounds_that_cannot_hold_names_layer_and_neuron(tmp_path, value):
    path, arrays = saved(tmp_path)
    np.savez(path, **(arrays | {"lower_1": np.array([-2.0, value])}))
    with pytest.raises(BoundsError, match=r"good\.npz: layer 1, neuron 1"):
        Bounds.load(path)
