"""Labelled images with ink in [0, 1]: scikit-learn's digits (8 x 8), or MNIST from files that the user has.

Symbols: x (m, pixels) images, y (m,) labels 0 to 9.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from omlt_ext.archive import read_archive
from omlt_ext.errors import ReadError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True, eq=False)
class Images:
    """A training and a test set; `radius` of the ball in which the images of this size are attacked."""

    name: str
    radius: float
    x_train: Floats
    y_train: Labels
    x_test: Floats
    y_test: Labels


def load_digits_8x8() -> Images:
    """scikit-learn's digits, three quarters to train with. Nothing is downloaded."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16.0, y, stratify=y, random_state=0)
    return Images("digits", 0.06, x_train, y_train, x_test, y_test)


def load_mnist(path: Path) -> Images:
    """MNIST from an .npz with x_train, y_train, x_test, y_test, or from a folder with the four idx files (or .gz).

    Raises `ReadError` where a file or an array is missing, truncated, or of another shape or kind.
    """
    arrays = [_idx(path, name) for name in IDX_FILES] if path.is_dir() else _npz(path)
    sets = []
    for x, y in (arrays[:2], arrays[2:]):
        shaped = x.ndim == 3 and x.size > 0 and y.shape == x.shape[:1] and x.dtype == np.uint8
        if not shaped or not np.isin(y, range(10)).all():
            found = f"images {x.shape} of {x.dtype}, labels {y.shape} of {y.dtype}"
            raise ReadError(f"{path}: {found}; expected bytes (m, rows, columns) with m labels from 0 to 9")
        sets += [x.reshape(len(x), -1) / 255.0, y.astype(np.int64)]
    if sets[0].shape[1] != sets[2].shape[1]:
        raise ReadError(f"{path}: training images have {sets[0].shape[1]} pixels, test images {sets[2].shape[1]}")
    return Images("mnist", 0.01, *sets)


def _npz(path: Path) -> list[NDArray[np.uint8]]:
    arrays = read_archive(path)
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise ReadError(f"{path}: there is no array {missing[0]} in it; expected {', '.join(KEYS)}")
    return [arrays[key] for key in KEYS]


def _idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """An idx file of bytes: 0, 0, 8, the number of axes, their lengths (4 bytes each, big-endian), the bytes."""
    plain, packed = folder / name, folder / f"{name}.gz"
    try:
        data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(f"{folder}: cannot read {name} or {name}.gz ({error})") from None
    axes = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = tuple(np.frombuffer(data, ">u4", axes, 4).tolist()) if len(data) >= 4 + 4 * axes else ()
    body = data[4 + 4 * axes :]
    if not shape or len(body) != math.prod(shape):
        raise ReadError(f"{folder / name}: not an idx file of bytes, or a truncated one")
    return np.frombuffer(body, np.uint8).reshape(shape)
