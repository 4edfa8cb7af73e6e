"""Case studies as modules, for the tests of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

STUDIES = Path(__file__).resolve().parents[1] / "case_studies"


def load(study: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The study's run.py as a module; its neighbours are found beside it, as when the file is run."""
    monkeypatch.syspath_prepend(STUDIES / study)
    spec = importlib.util.spec_from_file_location(f"run_{study}", STUDIES / study / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and 5_000 < path.stat().st_size < 300_000
