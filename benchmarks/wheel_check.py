"""Run from a folder without the repository: the installed wheel holds every subpackage and does the main job."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import entry_points, files

import numpy as np
import pyomo.environ as pyo

import omlt_ext
from omlt_ext import Layer, Network, ReLUBlock, load_network

SUBPACKAGES = (
    "formulations",
    "heuristics",
    "propagation",
    "readers",
    "search",
    "solvers",
    "tightening",
    "verification",
    "writers",
)


def main() -> None:
    assert importlib.util.find_spec("tests") is None, "the wheel must not install tests"
    assert any(str(file).endswith("py.typed") for file in files("omlt-ext") or [])
    for name in SUBPACKAGES:
        importlib.import_module(f"omlt_ext.{name}")
    for group in ("omlt_ext.formulations", "omlt_ext.heuristics", "console_scripts"):
        for point in entry_points(group=group):
            if point.value.startswith("omlt_ext"):
                point.load()
    rng = np.random.default_rng(0)
    layers = [Layer(rng.normal(size=(8, 3)), rng.normal(size=8), relu=True)]
    network = Network([*layers, Layer(rng.normal(size=(1, 8)), [0.0], relu=False)])
    network.save("net.onnx")
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.nn = ReLUBlock(load_network("net.onnx"), inputs=model.x)
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    pyo.assert_optimal_termination(pyo.SolverFactory("omlt_ext.highs").solve(model))
    assert model.nn.get_error() < 1e-6
    print(f"omlt_ext {omlt_ext.__version__} from {len(SUBPACKAGES)} subpackages: maximum {pyo.value(model.cost):.6f}")


if __name__ == "__main__":
    main()
