"""`load_network`: one door for files, model objects and arrays.

The package that an object belongs to is found from the modules of its class, so that no optional package is imported
for a source of another kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from numpy.typing import ArrayLike

from ..domain import Box, as_box
from ..errors import ReadError
from ..mixed import AnyNetwork, MixedNetwork, refuse, relabelled
from ..network import Network

Shape: TypeAlias = "Sequence[int] | None"

SUFFIXES = (".onnx", ".nnet", ".pt", ".pth", ".keras", ".h5")
ACCEPTED = (
    "a path to a file, an onnx.ModelProto, a torch.nn.Module, a Keras 3 model, a fitted scikit-learn estimator or "
    "Pipeline, an OMLT NetworkDefinition, a list of (W, b) pairs, or a Network"
)


@overload
def load_network(
    source: object,
    *,
    logits: bool = ...,
    input_shape: Shape = ...,
    input_box: Box | Iterable[ArrayLike] | None = ...,
    smooth: Literal[False] = ...,
) -> Network: ...
@overload
def load_network(
    source: object,
    *,
    logits: bool = ...,
    input_shape: Shape = ...,
    input_box: Box | Iterable[ArrayLike] | None = ...,
    smooth: bool,
) -> AnyNetwork: ...
def load_network(
    source: object,
    *,
    logits: bool = False,
    input_shape: Shape = None,
    input_box: Box | Iterable[ArrayLike] | None = None,
    smooth: bool = False,
) -> AnyNetwork:
    """The `Network` that computes what `source` computes, checked against the source's own evaluator.

    `source` is a path (.onnx, .nnet, .pt, .pth, .keras, .h5), an `onnx.ModelProto`, a `torch.nn.Module`, a Keras 3
    model, a fitted scikit-learn estimator or Pipeline, an OMLT `NetworkDefinition`, a list of (W, b) with W
    (n_out, n_in), or a `Network`. The network takes and gives flat vectors, row-major in the source's shapes.

    `logits=True` drops a softmax or sigmoid that ends the network: the outputs are then its arguments.
    `input_shape` is the shape of one input without the batch; only a PyTorch module whose first layer does not tell
    it (a convolution, say) needs it. `input_box`, a `Box` or a pair (lower, upper), replaces the box of the source.
    `smooth=True` also reads the activations sigmoid, tanh and softplus. Where there are any, the result is a
    `MixedNetwork`, which formulations of nonlinear models take and nothing else does.

    Raises `ReadError` where the source cannot be read, `UnsupportedOperatorError` where it holds something that is
    not piecewise linear, `ImportCheckError` where the result differs from the source, and `MissingDependencyError`
    where the package that reads it is not installed. Reading a file never runs code from it.

    >>> load_network([([[1.0, -1.0]], [0.0]), ([[2.0]], [1.0])], input_box=(-1, 1))
    <Network 2-1-1 from arrays>
    """
    network = _read(source, logits=logits, input_shape=input_shape, smooth=smooth)
    if isinstance(network, MixedNetwork) and not smooth:
        refuse(network)
    shape = network.input_shape if input_shape is None else tuple(input_shape)
    box = network.input_box if input_box is None else as_box(input_box, network.n_inputs)
    if shape == network.input_shape and box is network.input_box:
        return network
    return relabelled(network, input_shape=shape, input_box=box)


def _read(source: Any, *, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    if isinstance(source, Network | MixedNetwork):
        return source
    if isinstance(source, (str, PathLike)):
        return _read_file(Path(source), logits, input_shape, smooth)
    if isinstance(source, (list, tuple)):
        from .arrays import read_arrays

        return read_arrays(source)
    for is_kind, read in _OBJECTS:
        if is_kind(type(source)):
            return read(source, logits, input_shape, smooth)
    if isinstance(source, type):
        raise ReadError(f"expected a model, got the class {source.__name__}; call it, train it, and pass the object")
    raise ReadError(f"cannot read a network from a {type(source).__qualname__}; expected {ACCEPTED}")


def _read_file(path: Path, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    read = _FILES.get(path.suffix.lower())
    known = ", ".join(SUFFIXES)
    try:
        if path.is_dir():
            raise ReadError(f"{path} is a folder; give a file with one of the suffixes {known}")
        size = path.stat().st_size
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file (files that are read: {known})") from None
    except (OSError, ValueError) as error:
        raise ReadError(f"{path} cannot be opened: {error}") from None
    if read is None:
        raise ReadError(f"{path}: files with the suffix {path.suffix!r} are not read; those that are: {known}")
    if size == 0:
        raise ReadError(f"{path} is empty")
    return read(path, logits, input_shape, smooth)


def _onnx(source: Any, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    from .onnx import read_onnx

    return read_onnx(source, logits=logits, smooth=smooth)


def _nnet(source: Any, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    from .nnet import read_nnet

    return read_nnet(source)


def _torch(source: Any, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    from .torch import read_torch

    return read_torch(source, logits=logits, input_shape=input_shape, smooth=smooth)


def _torch_file(source: Any, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    from .torch_file import read_torch_file

    return read_torch_file(source, logits=logits, input_shape=input_shape, smooth=smooth)


def _keras(source: Any, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    from .keras import read_keras

    return read_keras(source, logits=logits, smooth=smooth)


def _keras_file(source: Any, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    from .keras_file import read_keras_file

    return read_keras_file(source, logits=logits, smooth=smooth)


def _sklearn(source: Any, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    from .sklearn import read_sklearn

    return read_sklearn(source, logits=logits, smooth=smooth)


def _omlt(source: Any, logits: bool, input_shape: Shape, smooth: bool) -> AnyNetwork:
    from .omlt import read_omlt

    return read_omlt(source, smooth=smooth)


def _inherits(package: str, name: str) -> Callable[[type], bool]:
    """Whether a class is, or derives from, the class `name` of `package`."""

    def test(cls: type) -> bool:
        return any(base.__name__ == name and base.__module__.split(".")[0] == package for base in cls.__mro__)

    return test


_Reader: TypeAlias = Callable[[Any, bool, Shape, bool], AnyNetwork]

_FILES: dict[str, _Reader] = {
    ".onnx": _onnx,
    ".nnet": _nnet,
    ".pt": _torch_file,
    ".pth": _torch_file,
    ".keras": _keras_file,
    ".h5": _keras_file,
}

_OBJECTS: tuple[tuple[Callable[[type], bool], _Reader], ...] = (
    (_inherits("onnx", "ModelProto"), _onnx),
    (_inherits("keras", "Model"), _keras),  # before PyTorch: on the torch backend a Keras model is a torch Module too
    (_inherits("torch", "Module"), _torch),
    (_inherits("sklearn", "BaseEstimator"), _sklearn),
    (_inherits("omlt", "NetworkDefinition"), _omlt),
)
