"""Operators that onnx's own evaluator gets wrong, written out in NumPy for the check of an import.

`ReferenceEvaluator(model, new_ops=CORRECTED)` uses these instead of its own. Each is the formula of the standard,
computed directly and without the lowering's code, so that the check stays a check.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from .onnx_node import Array


class BatchNormalization(OpRun):
    """Inference: onnx mixes in the statistics of the batch for versions 7 to 13."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **attributes: Any) -> tuple[Array]:
        shape = (-1,) + (1,) * (x.ndim - 2)
        epsilon = attributes.get("epsilon") or 1e-5
        scale, bias, mean, var = (v.reshape(shape) for v in (scale, bias, mean, var))
        return (((x - mean) / np.sqrt(var + epsilon) * scale + bias).astype(x.dtype),)


CORRECTED = [BatchNormalization]
