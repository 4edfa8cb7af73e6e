"""Models written as LP, MPS and NL through Pyomo: what real solvers read has the optimum of enumeration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highspy
import numpy as np
import pyomo.environ as pyo
import pytest

from omlt_ext import Box, Network, ReLUBlock, plugins, tighten_bounds
from omlt_ext.encoding import ZERO, Formulation
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.solvers import HighsSolver
from omlt_ext.writers.mps import join_sos_sections

Optimum = Callable[..., float]
C = np.array([0.3, -1.0, 2.0])

# The transformations that a kind of logic asks for before a format can hold it. NL files hold products as well.
ROWS: list[tuple[str, ...]] = [("gdp.bigm",), ("gdp.hull",)]
TRANSFORMATIONS: dict[tuple[str, str], list[tuple[str, ...]]] = {
    ("indicators", "lp"): ROWS,
    ("indicators", "mps"): ROWS,
    ("indicators", "nl"): ROWS,
    ("complements", "lp"): [("mpec.simple_disjunction", "gdp.bigm")],
    ("complements", "mps"): [("mpec.simple_disjunction", "gdp.bigm")],
    ("complements", "nl"): [("mpec.simple_nonlinear",), ("mpec.simple_disjunction", "gdp.bigm")],
}


def array_model(network: Network, box: Box, formulation: Formulation, *, maximize: bool) -> MatrixModel:
    model = network_model(network, tighten_bounds(network, box, "crown"), formulation)
    outputs = model.networks[0].outputs
    present = outputs != ZERO
    return model.with_objective(outputs[present], C[present], maximize=maximize)


def logic_of(model: MatrixModel) -> str:
    """What the formulation's encodings ask of a file: "rows", "sos1", "complements" or "indicators"."""
    encodings = model.networks[0].encodings
    kinds = {pairs.kind for encoding in encodings for pairs in encoding.pairs if pairs.neuron.size}
    kinds |= {"indicators" for encoding in encodings for part in encoding.indicators if part.rows.neuron.size}
    assert len(kinds) <= 1
    return kinds.pop() if kinds else "rows"


def read_by_highs(path: Path) -> float:
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    assert highs.readModel(str(path)) != highspy.HighsStatus.kError
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(highs.getInfo().objective_function_value)


def read_by_gurobi(path: Path) -> float:
    gurobipy = pytest.importorskip("gurobipy")
    with gurobipy.Env(params={"OutputFlag": 0}) as env, gurobipy.read(str(path), env) as model:
        model.Params.MIPGap = 0.0
        model.optimize()
        assert model.Status == gurobipy.GRB.OPTIMAL
        return float(model.ObjVal)


def read_by_scip(path: Path) -> float:
    pyscipopt = pytest.importorskip("pyscipopt")
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(path))
    model.setParam("limits/time", 60.0)
    model.optimize()
    assert model.getStatus() == "optimal"
    return float(model.getObjVal())


READERS = {"highs": read_by_highs, "gurobi": read_by_gurobi, "scip": read_by_scip}
FORMATS = {"lp": ("highs", "gurobi", "scip"), "mps": ("highs", "gurobi", "scip"), "nl": ("scip",)}
CASES = [
    pytest.param(name, suffix, solver, marks=[pytest.mark.scip] if solver == "scip" else [])
    for name in plugins.names(plugins.FORMULATIONS)
    for suffix, solvers in FORMATS.items()
    for solver in solvers
]


@pytest.mark.parametrize(("name", "suffix", "solver"), CASES)
def test_the_same_optimum(
    name: str,
    suffix: str,
    solver: str,
    every_state_network: tuple[Network, Box],
    brute_force: Optimum,
    tmp_path: Path,
) -> None:
    network, box = every_state_network
    formulation = plugins.formulation(name)
    for maximize in (True, False):
        arrays = array_model(network, box, formulation, maximize=maximize)
        kind = logic_of(arrays)
        if kind == "sos1" and solver == "highs":
            pytest.skip("HiGHS reads no SOS sets")
        truth = brute_force(network, box, C, maximize=maximize)
        if not arrays.networks[0].exact:
            truth = float(HighsSolver(arrays).solve(gap=0.0).value)
        for i, names in enumerate(TRANSFORMATIONS.get((kind, suffix), [()])):
            model = pyo.ConcreteModel()
            model.nn = ReLUBlock(network, input_bounds=box, formulation=formulation)
            cost = sum(float(w) * y for w, y in zip(C, model.nn.outputs.values(), strict=True))
            model.cost = pyo.Objective(expr=cost, sense=pyo.maximize if maximize else pyo.minimize)
            for transformation in names:
                pyo.TransformationFactory(transformation).apply_to(model)
            path = tmp_path / f"{i}{maximize}.{suffix}"
            model.write(str(path))
            if suffix == "mps":
                join_sos_sections(path)
            assert READERS[solver](path) == pytest.approx(truth, abs=1e-5), names
