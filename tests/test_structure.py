"""The rules that keep the repository simple, read from its own source: who may import whom, what is listed where."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
WINGS = ("formulations", "heuristics")
OPTIONAL = ("torch", "keras", "sklearn", "matplotlib", "gurobipy", "onnxruntime", "omlt", "dask", "pyscipopt", "h5py")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("omlt_ext", *parts) if parts[0] in WINGS else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files() -> dict[str, Path]:
    """Every module of the package by name, the wings under the name that they are installed as."""
    core = [path for path in (ROOT / "omlt_ext").rglob("*.py") if path.relative_to(ROOT).parts[1] not in WINGS]
    return {module_name(path): path for path in (*core, *(p for wing in WINGS for p in (ROOT / wing).rglob("*.py")))}


FILES = files()
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in FILES.items()}


def wing_of(name: str) -> str | None:
    return next((wing for wing in WINGS if f"{name}.".startswith(f"omlt_ext.{wing}.")), None)


def parents(name: str) -> list[str]:
    """omlt_ext.a.b -> omlt_ext, omlt_ext.a"""
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run while a module is imported: no bodies of functions, nothing for type-checkers alone."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if is_type_checking(node):
            yield from statements(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody", "handlers"):
            inner = getattr(node, field, [])
            yield from statements(
                [s for part in inner for s in (part.body if isinstance(part, ast.ExceptHandler) else [part])]
            )


def imported(name: str, node: ast.AST, known: set[str]) -> set[str]:
    """The modules of `known` that the import statement `node` in the module `name` asks for."""
    if isinstance(node, ast.Import):
        asked = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = name if FILES.get(name, Path()).name == "__init__.py" else name.rpartition(".")[0]
            base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])])
        parts = {f"{base}.{alias.name}" for alias in node.names}
        # `from . import part` asks for the part; `from ..package import name` runs the package as well
        own = {base} if base in parents(name) or base == name else set()
        asked = parts if parts <= known and own else parts | {base}
    else:
        return set()
    asked |= {parent for target in asked for parent in parents(target) if parent not in (*parents(name), name)}
    return asked & known


def graph() -> dict[str, set[str]]:
    """For every module those of the package that must be imported before it."""
    found: dict[str, set[str]] = {}
    for name, tree in TREES.items():
        asked = (imported(name, node, set(TREES)) for node in statements(tree.body))
        found[name] = set().union(*asked) - {name}
    return found


def test_the_modules_are_found():
    assert {"omlt_ext", "omlt_ext.network", "omlt_ext.readers", "omlt_ext.readers.load"} <= set(TREES)
    assert {f"omlt_ext.{wing}" for wing in WINGS} <= set(TREES)
    edges = graph()
    assert {"omlt_ext.errors", "omlt_ext.domain"} <= edges["omlt_ext.network"]
    assert "omlt_ext.writers.onnx" not in edges["omlt_ext.network"]  # inside a function
    assert "omlt_ext.formulations.bigm" in edges["omlt_ext.formulations"]
    assert "omlt_ext.propagation.crown" in edges["omlt_ext.tightening.ladder"]
    assert "omlt_ext.encoding" in edges["omlt_ext.formulations.bigm"]


@pytest.mark.parametrize("name", sorted(TREES))
def test_the_core_imports_no_wing_and_a_wing_no_other(name):
    everything = {f"omlt_ext.{wing}" for wing in WINGS} | set(TREES)
    asked = set().union(*(imported(name, node, everything) for node in ast.walk(TREES[name])))
    wings = {wing_of(target) for target in asked} - {None, wing_of(name)}
    assert not wings, f"{name} imports {sorted(wings)}; take the object as an argument instead"


def test_no_modules_import_each_other_in_a_circle():
    order = list(graphlib.TopologicalSorter(graph()).static_order())  # CycleError names the circle
    assert set(order) == set(TREES)
    assert order.index("omlt_ext.errors") < order.index("omlt_ext.network") < order.index("omlt_ext")


def test_imports_point_down_on_the_map_of_the_architecture():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = page.split("## Who imports whom")[1].split("```")[1].strip().splitlines()
    rows = [re.split(r"\s{2,}", line)[0].split(", ") for line in lines]
    level = {name: k for k, row in enumerate(rows) for name in row}
    part = {name: name.split(".")[1] for name in TREES if "." in name and wing_of(name) is None}
    assert sorted(level) == sorted(set(part.values()) - {"__main__"})
    for name, asked in graph().items():
        for other in asked & set(part):
            if name in part and part[name] != "__main__":
                assert level[part[name]] <= level[part[other]], f"{name} imports {other}, which stands above it"


def test_every_package_is_listed_and_every_listed_package_exists():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {name for name, path in FILES.items() if path.name == "__init__.py"}
    assert sorted(setup["packages"]) == sorted(found)
    assert setup["package-dir"] == {f"omlt_ext.{wing}": wing for wing in WINGS}
    loose = {str(path) for name, path in FILES.items() if name.rpartition(".")[0] not in {*found, ""}}
    assert not loose, "a module in a folder without __init__.py is not installed"


def test_what_is_plugged_in_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = [project["scripts"], *project["entry-points"].values()]
    for target in (value for group in points for value in group.values()):
        module, _, name = target.partition(":")
        top = {node.name for node in TREES[module].body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert name in top, target


@pytest.mark.skipif(os.name == "nt", reason="git writes links as text files here")
@pytest.mark.parametrize("wing", WINGS)
def test_the_links_lead_to_the_wings(wing):
    link = ROOT / "omlt_ext" / wing
    assert link.is_symlink()
    assert os.readlink(link) == f"../{wing}"
    assert link.resolve() == ROOT / wing


@pytest.mark.parametrize("name", sorted(TREES))
def test_every_module_says_what_it_is(name):
    assert ast.get_docstring(TREES[name]), "a module begins with a docstring"


def test_the_public_names_fit_on_one_screen():
    text = FILES["omlt_ext"].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40


def test_the_oldest_python_can_parse_every_module():
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert oldest == ">=3.10"
    for path in FILES.values():
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def run(code: str, folder: Path) -> str:
    """What a fresh interpreter prints, started away from the repository."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_pulls_in_no_optional_package_and_no_wing(tmp_path):
    code = "import sys, omlt_ext; print(*sys.modules)"
    loaded = set(run(code, tmp_path).split())
    assert {"omlt_ext.network", "omlt_ext.block", "numpy"} <= loaded
    assert not loaded & {*OPTIONAL, *(f"omlt_ext.{wing}" for wing in WINGS)}


def test_the_main_job_runs_without_any_optional_package(tmp_path):
    code = f"""
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in {OPTIONAL!r} else self.finder.find_spec(name, *rest)
sys.meta_path[:] = map(Without, sys.meta_path)
try:
    import sklearn
except ModuleNotFoundError:
    print("not installed")
import omlt_ext, omlt_ext.formulations, omlt_ext.heuristics, omlt_ext.cli
import pyomo.environ as pyo
network = omlt_ext.load_network([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])])
model = pyo.ConcreteModel()
model.nn = omlt_ext.ReLUBlock(network, input_bounds=(-1, 3))
model.most = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
pyo.SolverFactory("omlt_ext.highs").solve(model)
print(round(pyo.value(model.most), 6))
"""
    assert run(code, tmp_path).splitlines() == ["not installed", "3.0"]


def listed() -> list[Path]:
    """The files of the repository that git knows, and those that it would take."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_holds_a_path_of_one_machine():
    roots = "work|tmp|home|root|Users"
    machine = re.compile(rf"(?<![\w./>$}}-])/(?:{roots})(?![\w-])")
    assert machine.search("see /" + "tmp/x")
    assert not machine.search("a/work/b, $HOME/tmp, at/home")
    found = []
    for path in listed():
        text = path.read_bytes()
        if b"\0" not in text:
            lines = enumerate(text.decode("utf-8", "replace").splitlines(), 1)
            found += [
                f"{path.relative_to(ROOT)}:{at}: {line.strip()[:120]}" for at, line in lines if machine.search(line)
            ]
    assert not found, "\n".join(found)
