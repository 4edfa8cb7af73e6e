"""NumPy archives (.npz) read whole, with one error for everything that can be wrong with such a file."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ReadError


def read_archive(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name; nothing in the file is run. Raises `ReadError` where it cannot be read.

    >>> read_archive("nowhere.npz")
    Traceback (most recent call last):
    ...
    omlt_ext.errors.ReadError: nowhere.npz cannot be read: [Errno 2] No such file or directory: 'nowhere.npz'
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive: zipfile, zlib and NumPy have a dozen errors and no common base
        raise ReadError(f"{path} cannot be read: {error}") from None
