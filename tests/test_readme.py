"""The README's example runs as shown, and its commands name files that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_links_and_files_exist() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"case_studies/\S+\.py", README)
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing


def test_ci_runs_the_test_command() -> None:
    command = README.split("<!-- the test command -->")[1].split("```")[1]
    assert "pytest" in command
    assert "the test command" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
