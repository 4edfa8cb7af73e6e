"""The 60 collision avoidance networks: the sign of the least output over each one's own box agrees with its label."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest

from omlt_ext import ReLUBlock, load_network

pytestmark = pytest.mark.outside

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
FOLDER = Path(os.environ.get("OMLT_EXT_OUTSIDE_DATA") or BESIDE) / "collision_avoidance"
FILES = sorted(FOLDER.glob("*.nnet"))
TOLERANCE = 1e-6  # of HiGHS's dual bound, relative to max(1, |bound|)


def test_the_set_is_whole() -> None:
    if not FILES:
        pytest.skip("the networks are not there")
    labels = [path.stem.rsplit("_", 1)[1] for path in FILES]
    assert len(labels) == 60
    assert set(labels) == {"SAT", "UNSAT"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sign_of_the_least_output_agrees_with_the_label(path: Path) -> None:
    network = load_network(path)
    box = network.input_box
    assert box is not None
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network)
    model.least = pyo.Objective(expr=model.nn.outputs[0])
    results = pyo.SolverFactory("omlt_ext.highs").solve(model)
    pyo.assert_optimal_termination(results)
    x = np.array([model.nn.inputs[i].value for i in range(network.n_inputs)])
    least = network(np.clip(x, box.lower, box.upper))[0]
    bound = results.problem.lower_bound
    assert bound <= least + TOLERANCE * max(1.0, abs(least))
    if path.stem.endswith("_UNSAT"):
        assert bound - TOLERANCE * max(1.0, abs(bound)) > 0
    else:
        assert least <= 0
