"""Doctests of modules that need an optional package are skipped where it is not installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

NEEDS = {
    "omlt_ext/readers/keras*.py": "keras",
    "omlt_ext/readers/omlt*.py": "omlt",
    "omlt_ext/readers/torch*.py": "torch",
    "omlt_ext/readers/sklearn*.py": "sklearn",
    "omlt_ext/gurobi.py": "gurobipy",
    "omlt_ext/propagation/fused.py": "numba",
    "omlt_ext/omlt.py": "omlt",
}

if find_spec("tensorflow") is None:
    os.environ.setdefault("KERAS_BACKEND", "torch")

collect_ignore_glob = [glob for glob, package in NEEDS.items() if find_spec(package) is None]
