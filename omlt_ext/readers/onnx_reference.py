"""Operators that onnx's own evaluator gets wrong or runs very slowly, written out in NumPy for the check of an import.

`ReferenceEvaluator(model, new_ops=CORRECTED)` uses these instead of its own. Each is the formula of the standard,
computed directly on arrays and without any of the lowering's code, so that the check stays a check.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from onnx.reference.op_run import OpRun

from .onnx_node import Array


class _Broadcast(OpRun):
    """onnx ignores the axis from which the second operand was broadcast before version 7."""

    op_domain = ""
    formula: ClassVar[np.ufunc]

    def _run(self, a: Array, b: Array, **given: Any) -> tuple[Array]:
        if given.get("axis") is not None and b.ndim:
            b = b.reshape(b.shape + (1,) * (a.ndim - given["axis"] % a.ndim - b.ndim))
        return (self.formula(a, b),)


class Add(_Broadcast):
    formula = np.add


class Sub(_Broadcast):
    formula = np.subtract


class Mul(_Broadcast):
    formula = np.multiply


class BatchNormalization(OpRun):
    """Inference: onnx mixes in the statistics of the batch for versions 7 to 13."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, bias: Array, mean: Array, var: Array, **given: Any) -> tuple[Array]:
        shape = (-1,) + (1,) * (x.ndim - 2)
        scale, bias, mean, var = (v.reshape(shape) for v in (scale, bias, mean, var))
        return (((x - mean) / np.sqrt(var + given["epsilon"]) * scale + bias).astype(x.dtype),)


class MaxPool(OpRun):
    """onnx visits one window after the other."""

    op_domain = ""

    def _run(self, x: Array, **given: Any) -> tuple[Array]:
        return (np.maximum.reduce([cells for cells, _ in _under_kernel(x, given, -np.inf)]),)


class AveragePool(OpRun):
    """onnx visits one window after the other, and counts cells past the padding in some versions."""

    op_domain = ""

    def _run(self, x: Array, **given: Any) -> tuple[Array]:
        total, count = np.zeros(1), np.zeros(1)
        for cells, counted in _under_kernel(x, given, 0.0):
            total, count = total + cells, count + counted
        return ((total / count).astype(x.dtype),)


class ConvTranspose(OpRun):
    """onnx scatters one cell after the other."""

    op_domain = ""

    def _run(self, x: Array, weight: Array, bias: Array | None = None, **given: Any) -> tuple[Array]:
        n, group = x.ndim - 2, given.get("group") or 1
        strides, dilations = given.get("strides") or [1] * n, given.get("dilations") or [1] * n
        extra, pads = given.get("output_padding") or [0] * n, list(given.get("pads") or [0] * (2 * n))
        auto, wanted = given.get("auto_pad") or "NOTSET", given.get("output_shape")
        full = [
            s * (size - 1) + e + d * (k - 1) + 1
            for s, size, e, d, k in zip(strides, x.shape[2:], extra, dilations, weight.shape[2:], strict=True)
        ]
        if wanted is not None or auto.startswith("SAME"):
            target = (
                list(wanted)[-n:]
                if wanted is not None
                else [s * size for s, size in zip(strides, x.shape[2:], strict=True)]
            )
            for a in range(n):
                total = full[a] - target[a]
                small, large = total // 2, total - total // 2
                pads[a], pads[a + n] = (small, large) if auto == "SAME_UPPER" else (large, small)
        y = np.zeros((x.shape[0], weight.shape[1] * group, *full), dtype=x.dtype)
        xs, ws = np.split(x, group, axis=1), np.split(weight, group, axis=0)
        for offset in np.ndindex(*weight.shape[2:]):
            parts = [
                np.einsum("nc...,co->no...", a, w[(slice(None), slice(None), *offset)])
                for a, w in zip(xs, ws, strict=True)
            ]
            place = tuple(
                slice(k * d, k * d + (size - 1) * s + 1, s)
                for k, d, size, s in zip(offset, dilations, x.shape[2:], strides, strict=True)
            )
            y[(slice(None), slice(None), *place)] += np.concatenate(parts, axis=1)
        for a in range(n):  # negative pads add cells
            y = np.pad(y, [(0, 0)] * (2 + a) + [(max(-pads[a], 0), max(-pads[a + n], 0))] + [(0, 0)] * (n - a - 1))
            y = np.moveaxis(np.moveaxis(y, 2 + a, 0)[max(pads[a], 0) : y.shape[2 + a] - max(pads[a + n], 0)], 0, 2 + a)
        return (y if bias is None else y + bias.reshape(-1, *[1] * n),)


class Conv(OpRun):
    """onnx computes some paddings wrongly before version 1.17, and goes through a much larger array."""

    op_domain = ""

    def _run(self, x: Array, weight: Array, bias: Array | None = None, **given: Any) -> tuple[Array]:
        group = given.get("group") or 1
        given = {**given, "kernel_shape": weight.shape[2:]}
        entries = np.moveaxis(weight.reshape(*weight.shape[:2], -1), -1, 0)
        total: Array = np.zeros(1, dtype=x.dtype)
        for (cells, _), entry in zip(_under_kernel(x, given, 0.0), entries, strict=True):
            pairs = zip(np.split(cells, group, axis=1), np.split(entry, group, axis=0), strict=True)
            total = total + np.concatenate([np.moveaxis(np.tensordot(w, c, (1, 1)), 1, 0) for c, w in pairs], axis=1)
        return (total if bias is None else total + bias.reshape(-1, *[1] * (x.ndim - 2)),)


def _under_kernel(x: Array, given: dict[str, Any], fill: float) -> Iterator[tuple[Array, Array]]:
    """For each kernel entry the cells that it covers in all windows, and whether each counts in an average."""
    kernel = given["kernel_shape"]
    n = len(kernel)
    strides, dilations = given.get("strides") or [1] * n, given.get("dilations") or [1] * n
    pads, auto = given.get("pads") or [0] * (2 * n), given.get("auto_pad") or "NOTSET"
    begin, end, out = [], [], []
    for a, size in enumerate(x.shape[2:]):
        reach = dilations[a] * (kernel[a] - 1) + 1
        if auto.startswith("SAME"):
            count = int(np.ceil(size / strides[a]))
            missing = max((count - 1) * strides[a] + reach - size, 0)
            low = missing // 2 if auto == "SAME_UPPER" else missing - missing // 2
            high = missing - low
        else:
            low, high = (0, 0) if auto == "VALID" else (pads[a], pads[a + n])
            steps = (size + low + high - reach) / strides[a]
            count = int(np.ceil(steps) if given.get("ceil_mode") else np.floor(steps)) + 1
            if given.get("ceil_mode") and (count - 1) * strides[a] >= size + low:
                count -= 1  # a window must start on the data or on the padding before it
        begin.append(low)
        end.append(high)
        out.append(count)
    beyond = [dilations[a] * kernel[a] + strides[a] * out[a] for a in range(n)]  # room enough for every window
    included = np.pad(
        np.ones(x.shape[2:]),
        list(zip(begin, end, strict=True)),
        constant_values=float(bool(given.get("count_include_pad"))),
    )
    included = np.pad(included, [(0, far) for far in beyond])
    padded = np.pad(
        x, [(0, 0), (0, 0), *((b, e + far) for b, e, far in zip(begin, end, beyond, strict=True))], constant_values=fill
    )
    for offset in np.ndindex(*kernel):
        place = tuple(
            slice(k * d, k * d + (c - 1) * s + 1, s) for k, d, c, s in zip(offset, dilations, out, strides, strict=True)
        )
        yield padded[(slice(None), slice(None), *place)], included[place]


CORRECTED = [Add, Sub, Mul, BatchNormalization, MaxPool, AveragePool, Conv, ConvTranspose]
