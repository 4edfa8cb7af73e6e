"""The README's example and the page on pruning run as shown, and commands name files that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest

from omlt_ext import Network, ReLUBlock

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_example_runs_as_shown(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    example = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert example is not None
    code = example.group(1)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 16
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"lowest prediction (-?[\d.]+), off from the network by ([\d.e+-]+)\n", done.stdout)
    assert found is not None, done.stdout
    assert float(found.group(2)) < 1e-6


def test_the_page_on_pruning_runs_as_written(make_network: Callable[..., Network]) -> None:
    network, rng = make_network((4, 10, 8, 3), 0), np.random.default_rng(0)
    X, X_test = rng.uniform(-1.0, 1.0, (2, 200, 4))
    y, y_test = (network(points).argmax(axis=1) for points in (X, X_test))
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(4), bounds=(-1, 1))
    model.nn = ReLUBlock(network, inputs=model.x)
    model.margin = pyo.Objective(expr=model.nn.outputs[0] - model.nn.outputs[1], sense=pyo.maximize)
    known = {"network": network, "X": X, "y": y, "X_test": X_test, "y_test": y_test}
    known |= {"model": model, "my_solver": pyo.SolverFactory("omlt_ext.highs")}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pruning.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, known)
    assert known["pruned"].report.sparsity == 0.9
    assert model.nn.network is network
    assert model.nn.get_error() < 1e-9


def test_links_and_files_exist() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"case_studies/\S+\.py", README)
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing


def test_ci_runs_the_test_command() -> None:
    command = README.split("<!-- the test command -->")[1].split("```")[1]
    assert "pytest" in command
    assert "the test command" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
