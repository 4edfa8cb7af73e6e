"""Doctests of modules that need an optional package are skipped where it is not installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

NEEDS = {"keras": "keras", "omlt": "omlt", "torch": "torch", "sklearn": "sklearn"}

if find_spec("tensorflow") is None:
    os.environ.setdefault("KERAS_BACKEND", "torch")

collect_ignore_glob = [f"omlt_ext/readers/{name}*.py" for name, package in NEEDS.items() if find_spec(package) is None]
