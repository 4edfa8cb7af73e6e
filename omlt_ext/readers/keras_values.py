"""What the Keras readers share: Keras's numbers as arrays, and the refusal of a layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..domain import Floats


class Refusal(Exception):
    """A layer, or this use of it, is not lowered: the message says why, the reader adds which layer."""


def array(value: Any) -> Floats:
    """A Keras variable, a tensor of its backend, or numbers, as an array."""
    return np.asarray(keras.ops.convert_to_numpy(value), dtype=np.float64)
