"""NumPy archives (.npz) written and read whole, with one error for everything that can be wrong with such a file."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ReadError

CONTENTS = "contents"  # the names of all arrays: one damaged byte can hide the arrays after it


def write_archive(path: str | PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name to `path`, as it is (NumPy would add a suffix)."""
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **{CONTENTS: np.array(list(arrays)), **arrays})


def read_archive(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name; nothing in the file is run. Raises `ReadError` where it cannot be read.

    >>> read_archive("nowhere.npz")
    Traceback (most recent call last):
    ...
    omlt_ext.errors.ReadError: nowhere.npz cannot be read: [Errno 2] No such file or directory: 'nowhere.npz'
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive: zipfile, zlib and NumPy have a dozen errors and no common base
        raise ReadError(f"{path} cannot be read: {error}") from None
    written = arrays.pop(CONTENTS, None)
    missing = [] if written is None else [str(name) for name in np.ravel(written) if name not in arrays]
    if missing:
        raise ReadError(f"{path} cannot be read: it is damaged, {missing[0]} is missing")
    return arrays
