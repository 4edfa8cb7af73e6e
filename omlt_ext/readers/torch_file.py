"""`.pt` and `.pth` files: a pickled module made of PyTorch's own plain layers.

Unpickling can run any code that a file asks for. Here PyTorch's restricted unpickler reads the file: it builds
tensors and the classes in `SAFE_MODULES`, and stops at everything else before it is called.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ..errors import MissingDependencyError, OmltExtError, ReadError
from ..mixed import AnyNetwork, relabelled

try:
    import torch
except ImportError as error:
    raise MissingDependencyError('reading PyTorch files needs torch: pip install "omlt-ext[torch]"') from error

from .torch import read_torch

SAFE_MODULES = (
    *("Sequential", "ModuleList", "Identity", "Linear", "Flatten", "Unflatten", "Dropout", "Dropout1d", "Dropout2d"),
    *(
        "ReLU",
        "ReLU6",
        "LeakyReLU",
        "PReLU",
        "Hardtanh",
        "Hardsigmoid",
        "Threshold",
        "Softmax",
        "LogSoftmax",
        "Sigmoid",
        "Softplus",
    ),
    *("Tanh", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d"),
    *("ConvTranspose2d", "ConvTranspose3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d"),
    *("AvgPool3d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "ZeroPad2d", "ConstantPad2d"),
    *("Upsample", "PixelShuffle", "PixelUnshuffle"),
)
REMEDY = "load it into your own module and pass that: load_network(module)"


def read_torch_file(
    path: str | PathLike[str],
    *,
    logits: bool = False,
    input_shape: Sequence[int] | None = None,
    smooth: bool = False,
) -> AnyNetwork:
    """The network of a file that `torch.save(module, path)` wrote, for modules made of `SAFE_MODULES`.

    No code from the file is run. Raises `ReadError` for TorchScript archives, for files that hold weights only (a
    state_dict), other objects or other classes, and for truncated files; each message says what to do instead.
    """
    path = Path(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
            raise ReadError(f"{path} is a TorchScript archive, which holds code; export the module to ONNX instead")
    safe = [*(getattr(torch.nn, name) for name in SAFE_MODULES), set]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(safe):
            warnings.simplefilter("ignore")
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the unpickler: everything from EOFError to UnpicklingError
        raise ReadError(f"{path} cannot be read as a module of plain PyTorch layers: {_reason(error)}") from None
    if not isinstance(held, torch.nn.Module):
        kind = "the weights alone (a state_dict)" if isinstance(held, dict) else f"a {type(held).__name__}"
        raise ReadError(f"{path} holds {kind}, not a module; {REMEDY}")
    try:
        network = read_torch(held, logits=logits, input_shape=input_shape, smooth=smooth)
    except OmltExtError:
        raise
    except Exception as error:  # a module whose pickled state is incomplete
        raise ReadError(f"{path} holds a damaged {type(held).__name__}: {_reason(error)}") from None
    return relabelled(network, source=path.name)


def _reason(error: Exception) -> str:
    """The unpickler's message without its advice to switch the protection off."""
    text = str(error)
    asked = re.search(r"GLOBAL (\S+)", text)
    if asked:
        return f"it asks for {asked[1]}, which is not loaded because it might run code; {REMEDY}"
    parts = text.split("\n\n")
    inner = parts[1] if text.startswith("Weights only load failed") and len(parts) > 1 else text
    return f"{type(error).__name__} {' '.join(inner.split())[:120]}".strip()
