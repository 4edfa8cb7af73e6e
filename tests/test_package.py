"""The wheel: it holds every module, the marker for type-checkers and nothing else, and works from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WINGS = ("formulations", "heuristics")
OLDEST_SETUPTOOLS = "77"  # [build-system] in pyproject.toml asks for it


def call(code: str, folder: Path, **variables: str) -> str:
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what a build needs: building in the repository would leave folders in it."""
    folder = tmp_path_factory.mktemp("source")
    unneeded = shutil.ignore_patterns("__pycache__", *WINGS)
    shutil.copytree(ROOT / "omlt_ext", folder / "omlt_ext", ignore=unneeded)
    for name in (*WINGS, "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for wing in WINGS:
        if (ROOT / "omlt_ext" / wing).is_symlink():
            (folder / "omlt_ext" / wing).symlink_to(f"../{wing}")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> zipfile.ZipFile:
    pytest.importorskip("setuptools", OLDEST_SETUPTOOLS, reason=f"needs setuptools >= {OLDEST_SETUPTOOLS} to build")
    dist = tmp_path_factory.mktemp("dist")
    call(f"from setuptools import build_meta; build_meta.build_wheel({str(dist)!r})", source)
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    wheel.extractall(folder)
    return folder


def test_the_wheel_holds_every_module_and_nothing_else(wheel, source):
    core = [path.relative_to(source) for path in (source / "omlt_ext").rglob("*.py")]
    modules = {path.as_posix() for path in core if path.parts[1] not in WINGS}
    for wing in WINGS:
        modules |= {f"omlt_ext/{path.relative_to(source).as_posix()}" for path in (source / wing).rglob("*.py")}
    assert {"omlt_ext/network.py", "omlt_ext/formulations/bigm.py", "omlt_ext/heuristics/__init__.py"} <= modules
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == modules | {"omlt_ext/py.typed"}


def test_the_wheel_carries_licence_and_dependencies(wheel):
    names = {name.partition(".dist-info/")[2]: name for name in wheel.namelist()}
    assert "licenses/LICENSE" in names
    metadata = wheel.read(names["METADATA"]).decode()
    for line in ("License-Expression: BSD-3-Clause", "Requires-Python: >=3.10", "Requires-Dist: highspy"):
        assert line in metadata
    base = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert not [line for line in base if any(name in line for name in ("torch", "keras", "scikit", "gurobi"))]


def test_the_wheel_works_from_another_folder(installed, tmp_path):
    code = """
import omlt_ext, omlt_ext.formulations, omlt_ext.heuristics
for module in (omlt_ext, omlt_ext.formulations, omlt_ext.heuristics):
    print(module.__file__)
net = omlt_ext.load_network([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])])
print(omlt_ext.heuristics.maximize(net, (-1, 3), objective=[1.0], time_limit=20).value)
"""
    *where, value = call(code, tmp_path, PYTHONPATH=str(installed)).split("\n")[:-1]
    folders = [installed / "omlt_ext", *(installed / "omlt_ext" / wing for wing in WINGS)]
    assert [Path(file).resolve() for file in where] == [(folder / "__init__.py").resolve() for folder in folders]
    assert float(value) == pytest.approx(3)


def test_what_the_wheel_plugs_in_loads(installed, tmp_path):
    code = f"""
from importlib.metadata import distributions
(found,) = distributions(name="omlt-ext", path=[{str(installed)!r}])
for point in found.entry_points:
    point.load()
    print(point.group)
"""
    groups = call(code, tmp_path, PYTHONPATH=str(installed)).split()
    assert {"console_scripts", "omlt_ext.formulations", "omlt_ext.heuristics"} <= set(groups)


def test_the_command_line_of_the_wheel_answers(installed, tmp_path):
    command = [sys.executable, "-m", "omlt_ext", "--version"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0." in done.stdout
