"""PyTorch: any `torch.nn.Module` that `torch.export` can write down as one graph without data-dependent branches.

The module is copied to double precision, put in evaluation mode and exported with one example of batch size 1; the
graph of ATen operators is then walked with symbolic tensors.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np

from ..domain import Floats
from ..errors import ImportCheckError, MissingDependencyError, ReadError, UnsupportedOperatorError
from ..mixed import AnyNetwork
from .check import check_import
from .lowering import Lowering

try:
    import torch
except ImportError as error:
    raise MissingDependencyError('reading PyTorch needs torch: pip install "omlt-ext[torch]"') from error

from .torch_graph import TorchGraph


def read_torch(
    module: Any, *, logits: bool = False, input_shape: Sequence[int] | None = None, smooth: bool = False
) -> AnyNetwork:
    """The network that a `torch.nn.Module` computes in evaluation mode, for one input of one example.

    `input_shape` is the shape of one example without the batch; where it is not given, the first layer with weights
    tells it if that is a `Linear` or a `BatchNorm1d`. The module itself is left as it was, its mode included.
    `logits=True` drops a softmax, log-softmax or sigmoid at the end. `smooth=True` reads sigmoid, tanh and softplus.

    Raises `ReadError` where the module does not run on that shape or holds NaN, `UnsupportedOperatorError` for
    operators that are not piecewise linear and for control flow that depends on the data.

    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> network = read_torch(model)
    >>> x = torch.tensor([[0.5, -1.0]])
    >>> bool(np.allclose(network(x.numpy()), model(x).detach().numpy(), atol=1e-6))
    True
    """
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    name = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise ReadError(f"{name} is TorchScript; pass the torch.nn.Module that it was made from, or export it to ONNX")
    _check_weights(module)
    shape = tuple(int(s) for s in input_shape) if input_shape is not None else _input_shape(module)
    if not shape or min(shape) < 1:
        raise ReadError(f"input_shape {shape} must hold positive numbers: the shape of one example without the batch")
    modes = [(part, part.training) for part in module.modules()]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of PyTorch, about its own interfaces
            return _read(module, shape, logits, smooth, name)
    finally:
        for part, mode in modes:
            part.training = mode


def _read(module: Any, shape: tuple[int, ...], logits: bool, smooth: bool, name: str) -> AnyNetwork:
    twin, example = _double_copy(module, shape) or _itself(module, shape)
    tolerance = 1e-6 if example.dtype == torch.float64 else max(1e-5, 16 * torch.finfo(example.dtype).eps)
    result = _run(twin, example, name)
    graph = TorchGraph(_export(twin, example, name), logits=logits)
    lowering = Lowering(smooth)
    y = graph.lower(lowering.input("input", example.shape))
    batched = y.ndim > 1 and y.shape[0] == 1
    network = lowering.to_network(
        {"output": y}, input_shape=shape, output_shape=y.shape[1:] if batched else (y.size,), source=name
    )
    if y.size != result.numel():
        raise ImportCheckError(f"{name}: lowered to {y.size} outputs, the module gives {result.numel()}")

    def evaluate(x: Floats) -> Floats:
        points = torch.from_numpy(x).to(example).reshape(-1, *example.shape)
        return np.stack([_outputs(twin, graph, point, tolerance, name) for point in points])

    check_import(network, evaluate, source=name, tolerance=tolerance)
    return network


def _check_weights(module: Any) -> None:
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, values in tensors:
            if torch.nn.parameter.is_lazy(values):
                raise ReadError(
                    f"{kind} {name!r} has no shape yet; run the module once on an example before reading it"
                )
            if values.is_complex():
                raise ReadError(f"{kind} {name!r} is complex; networks of real numbers are read")
            # an infinite buffer may be a mask; an infinite parameter is broken training
            bad = values.isnan() if kind == "buffer" else ~values.isfinite()
            if values.is_floating_point() and bool(bad.any()):
                index = tuple(bad.nonzero()[0].tolist())
                raise ReadError(f"{kind} {name!r} holds {values[index].item()} at {index}; train the module again")


def _input_shape(module: Any) -> tuple[int, ...]:
    """The shape of one example as the first layer with weights tells it."""
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Linear):
            return (int(part.in_features),)
        if isinstance(part, torch.nn.BatchNorm1d):
            return (int(part.num_features),)
        if next(part.parameters(recurse=False), None) is not None and not next(part.children(), None):
            raise ReadError(
                f"{type(module).__name__}: its first layer with weights, {name!r} ({type(part).__name__}), does not "
                "tell the shape of the input; give input_shape, the shape of one example without the batch"
            )
    raise ReadError(f"{type(module).__name__} has no layer that tells the shape of the input; give input_shape")


def _double_copy(module: Any, shape: tuple[int, ...]) -> tuple[Any, Any] | None:
    """A copy on the CPU, in double precision and evaluation mode, and an example; None where that does not run.

    Double precision lets the import be checked far below the rounding of the module's own precision.
    """
    example = torch.zeros(1, *shape, dtype=torch.float64)
    try:
        twin = copy.deepcopy(module).to("cpu", torch.float64).eval()
        twin(example)
    except Exception:  # a module's own code, which may do anything: then the module itself is used, or reported
        return None
    return twin, example


def _itself(module: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    weights = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    return module.eval(), torch.zeros(1, *shape, dtype=weights.dtype, device=weights.device)


def _run(module: Any, x: Any, name: str) -> Any:
    try:
        y = module(x)
    except Exception as error:
        raise ReadError(
            f"{name} does not run on a batch of shape {tuple(x.shape)}: {_first_line(error)}; give input_shape, the "
            "shape of one example without the batch, where that is wrong"
        ) from None
    if not isinstance(y, torch.Tensor):
        raise ReadError(
            f"{name} gives a {type(y).__name__}, not one tensor; wrap it in a module that returns one tensor"
        )
    return y


def _export(module: Any, example: Any, name: str) -> Any:
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.CRITICAL)  # where it fails, it prints the graph as well; the error below says what matters
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return torch.export.export(module, (example,), strict=False).run_decompositions({})
    except Exception as error:
        raise UnsupportedOperatorError(
            f"{name}: torch.export cannot write the module as one graph ({_first_line(error)}). Control flow that "
            "depends on the data, NumPy or Python numbers made from tensors, and the like cannot be read",
            node=name,
            operator="forward",
        ) from None
    finally:
        log.setLevel(level)


def _outputs(module: Any, graph: TorchGraph, x: Any, tolerance: float, name: str) -> Floats:
    """The module's own outputs at x (1, ...); with logits, the arguments of its last operator in its own graph."""
    y = _run(module, x, name)
    if graph.dropped is None:
        return np.asarray(y.double().cpu().numpy().ravel())
    again, arguments = graph.run(x)
    if not torch.allclose(again.double(), y.double(), rtol=tolerance, atol=tolerance):
        raise ImportCheckError(f"{name}: its exported graph and the module itself give different outputs")
    return np.asarray(arguments.double().cpu().numpy().ravel())


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
