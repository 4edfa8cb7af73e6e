"""PyTorch: any `torch.nn.Module` that `torch.export` can write down as one graph without data-dependent branches.

The module is copied to double precision, put in evaluation mode and exported with one example of batch size 1; the
graph of ATen operators is then walked with symbolic tensors.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..domain import Floats
from ..errors import ImportCheckError, MissingDependencyError, OmltExtError, ReadError, UnsupportedOperatorError
from ..network import Network
from .check import check_import, probe_points
from .lowering import Lowering

try:
    import torch
except ImportError as error:
    raise MissingDependencyError('reading PyTorch needs torch: pip install "omlt-ext[torch]"') from error

from .torch_graph import TorchGraph


def read_torch(module: Any, *, logits: bool = False, input_shape: Sequence[int] | None = None) -> Network:
    """The network that a `torch.nn.Module` computes in evaluation mode, for one input of one example.

    `input_shape` is the shape of one example without the batch; where it is not given, the first layer with weights
    tells it if that is a `Linear` or a `BatchNorm1d`. The module itself is left as it was, its mode included.
    `logits=True` drops a softmax, log-softmax or sigmoid at the end.

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
    with _evaluation(module) as (twin, dtype), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of PyTorch, about its own interfaces
        example = torch.zeros(1, *shape, dtype=dtype)
        result = _run(twin, example, name)
        graph = TorchGraph(_export(twin, example, name), logits=logits)
        lowering = Lowering()
        y = graph.lower(lowering.input("input", (1, *shape)))
        out_shape = tuple(result.shape[1:] if result.ndim and result.shape[0] == 1 else result.shape)
        network = lowering.to_network({"output": y}, input_shape=shape, output_shape=out_shape, source=name)
        tolerance = 1e-8 if dtype == torch.float64 else max(1e-5, 16 * torch.finfo(dtype).eps)

        def evaluate(x: Floats) -> Floats:
            points = torch.from_numpy(x).to(dtype).reshape(-1, 1, *shape)
            return np.stack([_outputs(twin, graph, point, tolerance, name) for point in points])

        check_import(network, evaluate, source=name, tolerance=tolerance, points=probe_points(network))
    return network


def _outputs(twin: Any, graph: TorchGraph, x: Any, tolerance: float, name: str) -> Floats:
    """The module's own outputs at x (1, ...); with logits, the arguments of its last operator in its own graph."""
    y = _run(twin, x, name)
    if graph.dropped is None:
        return np.asarray(y.double().numpy().ravel())
    again, arguments = graph.run(x)
    if not torch.allclose(again.double(), y.double(), rtol=tolerance, atol=tolerance):
        raise ImportCheckError(f"{name}: its exported graph and the module itself give different outputs")
    return np.asarray(arguments.double().numpy().ravel())


@contextmanager
def _evaluation(module: Any) -> Iterator[tuple[Any, Any]]:
    """(twin, dtype): a copy on the CPU in evaluation mode and in double precision.

    A module that cannot be copied or does not run in double precision is used itself, and gets its modes back.
    """
    modes = [(part, part.training) for part in module.modules()]
    dtypes = {p.dtype for p in module.parameters() if p.dtype.is_floating_point}
    try:
        yield copy.deepcopy(module).to("cpu", torch.float64).eval(), torch.float64
    except _NoTwinError:
        pass
    finally:
        for part, mode in modes:
            part.training = mode
