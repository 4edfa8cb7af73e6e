"""`.keras` and `.h5` files: the configuration is looked through before Keras opens the file.

A configuration can name any class or function for Keras to import, and hold code (Lambda layers). Here it may name
Keras's own layers that are lowered, and the initialisers and the like that come with them: nothing else is opened.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import MissingDependencyError, OmltExtError, ReadError, UnsupportedOperatorError
from ..mixed import AnyNetwork

ARCHIVE = {"metadata.json", "config.json", "model.weights.h5"}
STRUCTURE = {"Sequential", "Functional", "Model", "DTypePolicy", "__keras_tensor__", "__tuple__", "Policy"}
HELPERS = ("initializer", "regularizer", "constraint")
OPERATION_MODULES = ("keras.src.ops.", "keras.ops")


def read_keras_file(path: str | PathLike[str], *, logits: bool = False, smooth: bool = False) -> AnyNetwork:
    """The network of a `.keras` file, or of an `.h5` file with a whole model in it.

    Raises `ReadError` for damaged files and for files with weights alone, `UnsupportedOperatorError` where the
    configuration names a class that is not one of the lowered Keras layers: then Keras does not see the file.
    """
    path = Path(path)
    keras = _import_keras()
    from .keras import read_keras
    from .keras_tables import ACTIVATIONS, FINAL, LAYERS, OPERATIONS
    from .smooth import BY_NAME

    config = _config(path)
    modules = (keras.initializers, keras.regularizers, keras.constraints)
    helpers = {name for module in modules for name, value in vars(module).items() if isinstance(value, type)}
    _check_config(path, config, {*LAYERS, *STRUCTURE}, {*ACTIVATIONS, *FINAL, *BY_NAME}, set(OPERATIONS), helpers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ReadError(f"{path} cannot be loaded by Keras {keras.__version__}: {_first_line(error)}") from None
    return read_keras(model, logits=logits, smooth=smooth)


def _import_keras() -> Any:
    """Keras; where nobody has chosen its backend and TensorFlow, its default, is missing, with PyTorch or JAX."""
    others = [name for name in ("torch", "jax") if find_spec(name)]
    choose = not ("KERAS_BACKEND" in os.environ or "keras" in sys.modules or find_spec("tensorflow")) and others
    if choose:
        os.environ["KERAS_BACKEND"] = others[0]
    try:
        import keras
    except ImportError as error:
        raise MissingDependencyError(
            f'reading Keras files needs keras and a backend for it: pip install "omlt-ext[keras,torch]" ({error})'
        ) from None
    finally:
        if choose:
            del os.environ["KERAS_BACKEND"]
    return keras


def _config(path: Path) -> Any:
    """The model's configuration, as JSON."""
    try:
        text = _archived(path) if zipfile.is_zipfile(path) or path.suffix == ".keras" else _attribute(path)
        return json.loads(text)
    except OmltExtError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ReadError(f"{path} is not a Keras model: {_first_line(error)}; it may be truncated") from None


def _archived(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        extra = sorted(name for name in names - ARCHIVE if not name.endswith("/"))
        if extra:
            raise ReadError(f"{path} holds {extra[0]!r} beside the model; only {', '.join(sorted(ARCHIVE))} are read")
        return archive.read("config.json")


def _attribute(path: Path) -> str | bytes:
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError('reading .h5 files needs h5py: pip install "omlt-ext[keras]"') from None
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ReadError(f"{path} holds weights alone; load them into your model and pass that: load_network(model)")
        text: str | bytes = file.attrs["model_config"]
        return text


def _check_config(
    path: Path, config: Any, classes: set[str], functions: set[str], operations: set[str], helpers: set[str]
) -> None:
    """Raise at the first class or function that may not be there."""
    for key, entry in _entries("", config):
        name, module = str(entry["class_name"]), str(entry.get("module") or "")
        label = str(entry["config"].get("name", key)) if isinstance(entry.get("config"), dict) else key
        if name == "function":
            allowed = str(entry.get("config")) in functions and module in ("builtins", "keras.activations")
            name = str(entry.get("config"))
        elif key.endswith(HELPERS):
            allowed = name in helpers and module in (
                "",
                "keras.initializers",
                "keras.regularizers",
                "keras.constraints",
            )
        elif module.startswith(OPERATION_MODULES):
            allowed = name in operations
        else:
            allowed = name in classes and module in ("", "keras", "keras.layers", "keras.models", "keras.src.models")
            allowed = allowed or (name in ("Functional", "Sequential") and module.startswith("keras.src.models."))
        if not allowed or entry.get("registered_name") not in (None, name):
            where = f"{module}.{name}" if module else name
            raise UnsupportedOperatorError(
                f"{path}: {label!r} is a {where}, which is not one of the Keras layers that are lowered; the file was "
                f"not opened further. Supported: {', '.join(sorted(classes))}",
                node=label,
                operator=name,
            )


def _entries(key: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every serialised object in a configuration, with the key that it stands under; compilation aside."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield key, value
        for inner, part in value.items():
            if inner not in ("compile_config", "build_config"):
                yield from _entries(key if inner in ("config", "items") else inner, part)
    elif isinstance(value, list):
        for part in value:
            yield from _entries(key, part)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
