"""Where the ascent's arrays live: NumPy on the processor, or torch on any device; one code serves both.

With numba, NumPy's arrays are worked on by compiled loops.

Both modules give `where`, `concatenate`, `clip`, operators and indexing the same meaning; a back end adds what differs:
how arrays come in and go out, and products with a weight that may be sparse.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from ..errors import MissingDependencyError, OptionError
from ..network import Weight, dense

logger = logging.getLogger("omlt_ext")

Array = Any  # an array of the back end in single precision, or of indices


class Linear(Protocol):
    """A weight W (n_out, n_in) in single precision."""

    def back(self, D: Array) -> Array:
        """D W for D (m, n_out)."""

    def forward(self, h: Array) -> Array:
        """h W^T for h (m, n_in)."""

    def dense(self) -> Any:
        """W as a NumPy array; None where it is sparse or lives elsewhere."""


class Backend(Protocol):
    """`xp` is the module of array functions; `compiled`: dense layers go through the loops of `fused`."""

    xp: Any
    compiled: bool

    def array(self, values: Any) -> Array:
        """A copy of NumPy values; floats become single precision."""

    def numpy(self, array: Array) -> Any:
        """The array as NumPy's."""

    def linear(self, weight: Weight) -> Linear:
        """The weight, dense or CSR, ready for products."""


class NumpyLinear:
    """Products with a NumPy array or a SciPy CSR matrix."""

    def __init__(self, weight: Weight) -> None:
        self.weight = weight.astype(np.float32)

    def back(self, D: Array) -> Array:
        return dense(D @ self.weight)

    def forward(self, h: Array) -> Array:
        return dense((self.weight @ h.T).T)

    def dense(self) -> Any:
        return None if sparse.issparse(self.weight) else self.weight


class NumpyBackend:
    """Arrays of NumPy, and with `compiled` the loops that numba makes."""

    xp: Any = np

    def __init__(self, compiled: bool = False) -> None:
        if compiled and not has_numba():
            raise MissingDependencyError('backend="numba" needs numba; install it with: pip install "omlt-ext[fast]"')
        self.compiled = compiled

    def array(self, values: Any) -> Array:
        found = np.array(values)
        return found.astype(np.float32) if found.dtype.kind == "f" else found

    def numpy(self, array: Array) -> Any:
        return np.asarray(array)

    def linear(self, weight: Weight) -> Linear:
        return NumpyLinear(weight)


class TorchLinear:
    """Products with a dense tensor, or with a sparse one and its transpose."""

    def __init__(self, weight: Weight, backend: TorchBackend) -> None:
        self.sparse = sparse.issparse(weight)
        if self.sparse:
            self.weight, self.transposed = backend.sparse(weight), backend.sparse(weight.T)
        else:
            self.weight = backend.array(weight)

    def back(self, D: Array) -> Array:
        return (self.transposed @ D.T).T if self.sparse else D @ self.weight

    def forward(self, h: Array) -> Array:
        return (self.weight @ h.T).T if self.sparse else h @ self.weight.T

    def dense(self) -> Any:
        return None


class TorchBackend:
    """Tensors of torch on a device."""

    compiled = False

    def __init__(self, device: str = "cpu") -> None:
        if importlib.util.find_spec("torch") is None:
            raise MissingDependencyError(
                'backend="torch" needs PyTorch; install it with: pip install "omlt-ext[torch]"'
            )
        import torch

        self.xp: Any = torch
        try:
            self.device = torch.zeros(1, device=device).device
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise OptionError(f"torch has no device {device!r} here: {str(error).splitlines()[0]}") from None

    def __reduce__(self) -> tuple[type[TorchBackend], tuple[str]]:
        return TorchBackend, (str(self.device),)

    def array(self, values: Any) -> Array:
        found = np.array(values)
        found = found.astype(np.float32) if found.dtype.kind == "f" else found
        return self.xp.from_numpy(found).to(self.device)

    def numpy(self, array: Array) -> Any:
        return array.cpu().numpy()

    def sparse(self, weight: Weight) -> Array:
        entries = weight.tocoo()
        at = self.array(np.stack(entries.coords).astype(np.int64))
        values = self.array(entries.data)
        return self.xp.sparse_coo_tensor(at, values, size=entries.shape, check_invariants=False).coalesce()

    def linear(self, weight: Weight) -> Linear:
        return TorchLinear(weight, self)


BACKENDS = ("numpy", "numba", "torch")
COMPILING = 60.0  # seconds that must be left for loops to be compiled; it takes some twenty


def has_numba() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def open_backend(name: str, device: str = "cpu") -> Backend:
    """One of `BACKENDS`; `MissingDependencyError` without numba or torch, `OptionError` without the device."""
    if name != "torch" and device != "cpu":
        raise OptionError(f'device {device!r} is for backend="torch"; {name!r} works on the processor')
    return TorchBackend(device) if name == "torch" else NumpyBackend(compiled=name == "numba")


def faster_backend(left: float | None) -> Backend | None:
    """Compiled loops where numba is at work here and they are kept, or can be made in the seconds that are left."""
    if not has_numba():
        return None
    try:
        from .fused import kept
    except Exception as error:  # a numba that does not go with the other packages fails in its own ways
        logger.warning(f"numba cannot be used ({type(error).__name__}: {error}); searching with NumPy")
        return None
    return NumpyBackend(compiled=True) if left is None or left >= COMPILING or kept() else None
