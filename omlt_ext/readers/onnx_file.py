"""An ONNX file or object as a checked `ModelProto`: weights inside, local functions inlined, nodes in order.

External data is read by this module alone, and only from plain files inside the folder of the model: a path that is
absolute, climbs with ".." or passes a link is refused before anything is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeAlias

import onnx
from onnx import inliner, numpy_helper

from ..errors import ReadError

Source: TypeAlias = "str | PathLike[str] | bytes | onnx.ModelProto"
STANDARD = ("", "ai.onnx")


def load_model(source: Source) -> tuple[onnx.ModelProto, str, Path | None]:
    """(model, name, path) of an ONNX file, of its bytes, or of a model object, which is copied.

    Raises `ReadError` for a file that is missing, empty, truncated or not ONNX, and for unsafe external data.
    """
    path = Path(source) if isinstance(source, (str, PathLike)) else None
    model = onnx.ModelProto()
    if isinstance(source, onnx.ModelProto):
        name = source.graph.name or "the ONNX model"
        model.CopyFrom(source)
    elif path is not None or isinstance(source, (bytes, bytearray, memoryview)):
        name = "the ONNX bytes" if path is None else str(path)
        _parse(model, bytes(source) if path is None else _bytes_of(path), name)  # type: ignore[arg-type]
    else:
        raise ReadError(f"expected a path, bytes or an onnx.ModelProto, not a {type(source).__name__}")
    if not model.HasField("graph") or not model.graph.output:
        raise ReadError(f"{name} is not an ONNX file, or it is truncated: it holds no graph with outputs")
    if not any(entry.domain in STANDARD for entry in model.opset_import):
        raise ReadError(f"{name} imports no version of the standard ONNX operators; it may be truncated")
    _check_names(model.graph, name)
    for tensor in tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _load_external(tensor, None if path is None else path.parent, name)
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # whatever the C++ inliner finds wrong with the file
            raise ReadError(f"{name}: its local functions cannot be inlined: {error}") from None
    _order(model.graph, name)
    return model, name, path


def opset(model: onnx.ModelProto, domain: str = "") -> int:
    """The version of the operators of `domain` that the model imports; 1 where it names none."""
    same = STANDARD if domain in STANDARD else (domain,)
    return max((int(entry.version) for entry in model.opset_import if entry.domain in same), default=1)


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor stored in a graph: initializers and attributes, those of subgraphs included."""
    yield from graph.initializer
    for entry in graph.sparse_initializer:
        yield from (entry.values, entry.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for inner in subgraphs(attribute):
                yield from tensors(inner)


def subgraphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs that an attribute holds."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def array_of(tensor: onnx.TensorProto) -> Any:
    """The values of a tensor; `ReadError` naming it where its data do not fit its shape and type."""
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # the helper raises whatever NumPy or the type table raises
        shape = tuple(tensor.dims)
        raise ReadError(f"tensor {tensor.name!r} of shape {shape} cannot be read: {error}") from None


def _parse(model: onnx.ModelProto, data: bytes, name: str) -> None:
    if not data:
        raise ReadError(f"{name} is empty")
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, whose package need not be imported for it
        raise ReadError(f"{name} is not an ONNX file, or it is truncated: {error}") from None


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ReadError(f"{path} cannot be read: {error}") from None


def _check_names(graph: onnx.GraphProto, name: str) -> None:
    """Refuse names that are not text: protobuf hands out bytes where a damaged file holds no UTF-8."""
    for node in graph.node:
        words = (node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute))
        if not all(isinstance(word, str) for word in words):
            raise ReadError(f"{name} is damaged: a node holds the name {words!r}, which is not text")
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                _check_names(inner, name)
    for entry in (*graph.initializer, *graph.input, *graph.output):
        if not isinstance(entry.name, str):
            raise ReadError(f"{name} is damaged: a tensor has the name {entry.name!r}, which is not text")


def _load_external(tensor: onnx.TensorProto, folder: Path | None, name: str) -> None:
    """Move the data of an external tensor into the tensor."""
    where = f"{name}: external data of tensor {tensor.name!r}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ReadError(f"{where} lies in the file {location!r}; pass the path of the model instead of its content")
    parts = PurePosixPath(location.replace("\\", "/")).parts
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or location.startswith("\\")
    if not parts or absolute or ".." in parts or "\0" in location:
        raise ReadError(f"{where}: the location {location!r} is outside the folder of the model; it is not opened")
    target = folder
    for part in parts:
        target = target / part
        if target.is_symlink():
            raise ReadError(f"{where}: {location!r} is or passes a symbolic link; it is not opened")
    if not target.is_file():
        raise ReadError(f"{where}: there is no file {location!r} beside the model")
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries["length"]) if entries.get("length") else target.stat().st_size - offset
        if offset < 0 or length < 0 or offset + length > target.stat().st_size:
            raise ReadError(f"{where}: {location!r} does not hold bytes {offset} to {offset + length}")
        with target.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
    except (OSError, ValueError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{where}: {location!r} cannot be read: {error}") from None
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _order(graph: onnx.GraphProto, name: str) -> None:
    """Keep the nodes that the outputs need, each after the nodes it reads; refuse cycles and undefined names."""
    known = {entry.name for entry in (*graph.input, *graph.initializer)}
    known |= {entry.values.name for entry in graph.sparse_initializer}
    maker: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for output in filter(None, node.output):
            if output in maker or output in known:
                raise ReadError(f"{name}: the value {output!r} is defined twice, the second time by {label(node, i)}")
            maker[output] = i
    order: list[int] = []
    state: dict[int, bool] = {}  # True: done, False: being visited
    stack: list[tuple[str | int, str]] = [(output.name, "the graph's outputs") for output in reversed(graph.output)]
    while stack:
        value, reader = stack.pop()
        if isinstance(value, int):  # all that this node needs is done
            state[value] = True
            order.append(value)
            continue
        if value in known:
            continue
        if value not in maker:
            raise ReadError(f"{name}: {reader} needs the value {value!r}, which nothing defines")
        i = maker[value]
        if i in state:
            if not state[i]:
                raise ReadError(f"{name}: the graph has a cycle through {label(graph.node[i], i)}")
            continue
        state[i] = False
        stack.append((i, ""))
        stack.extend((need, label(graph.node[i], i)) for need in sorted(needs(graph.node[i])))
    nodes = []
    for i in sorted(order) if _sorted(graph, order, maker) else order:
        node = onnx.NodeProto()
        node.CopyFrom(graph.node[i])
        node.name = label(node, i)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _sorted(graph: onnx.GraphProto, order: list[int], maker: dict[str, int]) -> bool:
    return all(maker.get(need, -1) < i for i in order for need in needs(graph.node[i]))


def needs(node: onnx.NodeProto) -> set[str]:
    """The names that a node reads, those that its subgraphs take from outside included."""
    names = set(filter(None, node.input))
    for attribute in node.attribute:
        for inner in subgraphs(attribute):
            own = {entry.name for entry in (*inner.input, *inner.initializer)}
            read = {output.name for output in inner.output}
            for child in inner.node:
                read |= needs(child)
                own |= set(child.output)
            names |= read - own
    return names


def label(node: onnx.NodeProto, position: int) -> str:
    """How messages call a node: by its name, or "node 5 (Sigmoid)" where it has none."""
    return node.name or f"node {position} ({node.op_type})"
