"""Formulations by name: those of this package, and one that comes with a package of somebody else's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from omlt_ext import plugins
from omlt_ext.errors import FormulationError
from omlt_ext.formulations import BigM, Partition

MODULE = '''
"""h = max(0, z) with a binary that is 1 where the neuron is *inactive*: big-M, mirrored."""

from dataclasses import dataclass

from omlt_ext.draft import Draft


@dataclass(frozen=True)
class Mirrored:
    name = "mirrored"

    def encode(self, layer, bounds):
        draft = Draft(layer, bounds)
        j = draft.unstable
        z, h, low, high = draft.z[j], draft.h[j], draft.lower[j], draft.upper[j]
        off = draft.add_columns("off", j, 0.0, 1.0, integer=True)
        draft.add_rows("above", j, [(h, 1.0), (z, -1.0)], lower=0.0)
        draft.add_rows("if_on", j, [(h, 1.0), (z, -1.0), (off, low)], upper=0.0)
        draft.add_rows("if_off", j, [(h, 1.0), (off, high)], upper=high)
        return draft.encoding()
'''

USE = """
import pyomo.environ as pyo
from omlt_ext import Box, Layer, Network, ReLUBlock, plugins
from omlt_ext.heuristics import maximize

network = Network([Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True), Layer([[1.0, -3.0]], [0.0], relu=False)])
assert "mirrored" in plugins.names(plugins.FORMULATIONS)
model = pyo.ConcreteModel()
model.nn = ReLUBlock(network, input_bounds=(-1, 1), formulation="mirrored")
model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
pyo.SolverFactory("omlt_ext.highs").solve(model)
assert model.nn.get_error() < 1e-9 and len(model.nn.layer[0].off) == 2
print(round(pyo.value(model.cost), 6), round(maximize(network, Box.full(2, -1, 1), formulation="mirrored").value, 6))
"""


def test_a_formulation_from_another_package_needs_no_change_here(tmp_path: Path) -> None:
    (tmp_path / "mirrored.py").write_text(MODULE)
    about = tmp_path / "mirrored-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mirrored\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[omlt_ext.formulations]\nmirrored = mirrored:Mirrored\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = [sys.executable, "-c", USE]
    done = subprocess.run(run, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2.0", "2.0"]


def test_by_name_or_by_object() -> None:
    assert plugins.formulation("bigm") == BigM()
    assert plugins.formulation("partition") == Partition()
    assert plugins.formulation(Partition(3)) == Partition(3)


def test_what_is_no_formulation_is_refused() -> None:
    with pytest.raises(FormulationError, match=r"no formulation named 'bigM'; installed: .*bigm"):
        plugins.formulation("bigM")
    with pytest.raises(FormulationError, match=r"it needs a name and a method encode\(layer, bounds\)"):
        plugins.formulation(BigM)  # type: ignore[arg-type]
    with pytest.raises(FormulationError, match=r"it needs a name and a method encode\(layer, bounds\)"):
        plugins.formulation(3)  # type: ignore[arg-type]
