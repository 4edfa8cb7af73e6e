"""MPS files of array models: what real solvers read is the model that was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highspy
import numpy as np
import pytest
from scipy import sparse

from omlt_ext import Box, Network, plugins, tighten_bounds
from omlt_ext.encoding import ZERO
from omlt_ext.errors import ModelError
from omlt_ext.formulations import BigM
from omlt_ext.logic import Logic, no_logic
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.solvers import HighsSolver
from omlt_ext.writers.mps import write_mps

Optimum = Callable[..., float]


def read_by_highs(path: Path) -> tuple[str, float]:
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    assert highs.readModel(str(path)) != highspy.HighsStatus.kError  # a warning: coefficients of 1e-15 are left out
    highs.run()
    return highs.modelStatusToString(highs.getModelStatus()), highs.getInfo().objective_function_value


def read_by_gurobi(path: Path) -> tuple[str, float]:
    gurobipy = pytest.importorskip("gurobipy")
    with gurobipy.Env(params={"OutputFlag": 0}) as env, gurobipy.read(str(path), env) as model:
        model.Params.MIPGap = 0.0
        model.optimize()
        return {2: "Optimal", 3: "Infeasible"}[model.Status], model.ObjVal if model.SolCount else np.inf


def read_by_scip(path: Path) -> tuple[str, float]:
    pyscipopt = pytest.importorskip("pyscipopt")
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(path))
    model.optimize()
    return model.getStatus().capitalize(), model.getObjVal() if model.getNSols() else np.inf


READERS = [
    read_by_highs,
    pytest.param(read_by_gurobi, id="gurobi"),
    pytest.param(read_by_scip, id="scip", marks=pytest.mark.scip),
]
LOGIC_READERS = READERS[1:]


def every_kind() -> MatrixModel:
    """Rows and columns of every kind, none of whose numbers is short."""
    rng = np.random.default_rng(0)
    inf, third = np.inf, 1 / 3
    A = rng.normal(size=(6, 9)) * (rng.random((6, 9)) < 0.6)
    A[5] = 0.0
    lower = np.array([0.0, -third, -inf, -inf, third, 0.0, -2.0, 1.0, -7.0])
    upper = np.array([inf, 2 + third, third, inf, third, 1.0, 5.0, inf, -2.0])
    integer = np.array([False, False, False, False, False, True, True, True, True])
    center = A @ np.clip(np.zeros(9), lower, upper)
    row_lower = center - np.array([inf, third, 0.0, 1.0, inf, inf])
    row_upper = center + np.array([third, inf, 0.0, 2.0, inf, 0.0])
    c = np.where(np.isfinite(lower), 1.0, 0.0) * rng.random(9)
    c[2] = -third  # bounded from above alone
    return MatrixModel(c, np.e, False, sparse.csr_array(A), row_lower, row_upper, lower, upper, integer)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("maximize", [True, False])
def test_every_kind_of_row_and_column(reader: Callable[..., tuple[str, float]], maximize: bool, tmp_path: Path) -> None:
    model = every_kind()
    model = replace(model, maximize=maximize, c=-model.c if maximize else model.c)
    write_mps(model, tmp_path / "model.mps")
    truth = HighsSolver(model).solve(gap=0.0)
    assert truth.status == "optimal"
    assert reader(tmp_path / "model.mps") == ("Optimal", pytest.approx(truth.value, abs=1e-6))


def test_no_digit_is_lost(tmp_path: Path) -> None:
    """Where HiGHS itself, which writes 15 digits, changes the numbers."""
    model = every_kind()
    write_mps(model, tmp_path / "model.mps")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("small_matrix_value", 1e-12)
    highs.readModel(str(tmp_path / "model.mps"))
    lp = highs.getLp()
    A = sparse.csc_array((lp.a_matrix_.value_, lp.a_matrix_.index_, lp.a_matrix_.start_), shape=(5, 9)).toarray()
    kept = np.isfinite(model.row_lower) | np.isfinite(model.row_upper)
    np.testing.assert_array_equal(A, model.A.toarray()[kept])
    np.testing.assert_array_equal(lp.col_cost_, model.c)
    np.testing.assert_array_equal(lp.col_lower_, model.lower)
    np.testing.assert_array_equal(lp.col_upper_, model.upper)
    np.testing.assert_array_equal(lp.row_upper_, model.row_upper[kept])
    np.testing.assert_allclose(lp.row_lower_, model.row_lower[kept], rtol=4e-16)
    assert lp.offset_ == model.offset
    assert [kind == highspy.HighsVarType.kInteger for kind in lp.integrality_] == model.integer.tolist()


@pytest.mark.parametrize("reader", LOGIC_READERS)
def test_pairs_and_indicators(reader: Callable[..., tuple[str, float]], tmp_path: Path) -> None:
    base = MatrixModel(
        c=np.array([1.0, 2.0, 0.1]),
        offset=-1.5,
        maximize=True,
        A=sparse.csr_array([[1.0, 1.0, 0.0]]),
        row_lower=np.array([-np.inf]),
        row_upper=np.array([15.0]),
        lower=np.zeros(3),
        upper=np.array([10.0, 9.0, 1.0]),
        integer=np.array([False, False, True]),
    )
    none = np.empty(0, dtype=np.int64)
    rows = sparse.csr_array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    binary, value = np.array([2, 2, 2, 2]), np.array([0, 1, 1, 0])
    ends = np.array([-np.inf, 4.0, 7.0, 2.5]), np.array([3.0, 5.0, np.inf, 2.5])
    indicators = Logic(none, none, binary, value, rows, *ends)
    pair = replace(no_logic(3), first=np.array([0]), second=np.array([1]))
    # at 1: x - y in [4, 5], x + y <= 15: (9.5, 5.5); at 0: y = 2.5, x <= 0.5
    cases = {"pair": (pair, 18.0 + 0.1), "indicators": (indicators, 9.5 + 11.0 + 0.1)}
    both = replace(indicators, first=pair.first, second=pair.second, lower=np.array([-np.inf, 4.0, 0.0, 2.5]))
    cases["both"] = (both, 5.0 + 0.1)  # at 1: y = 0, x <= 5
    for name, (logic, truth) in cases.items():
        write_mps(replace(base, logic=logic), tmp_path / f"{name}.mps")
        assert reader(tmp_path / f"{name}.mps") == ("Optimal", pytest.approx(truth - 1.5, abs=1e-6)), name


@pytest.mark.parametrize("name", plugins.names(plugins.FORMULATIONS))
def test_the_optimum_of_every_formulation(
    name: str, every_state_network: tuple[Network, Box], brute_force: Optimum, tmp_path: Path
) -> None:
    network, box = every_state_network
    model = network_model(network, tighten_bounds(network, box, "crown"), name)
    embedded, c = model.networks[0], np.array([0.3, -1.0, 2.0])
    present = embedded.outputs != ZERO
    for maximize in (True, False):
        objective = model.with_objective(embedded.outputs[present], c[present], maximize=maximize)
        truth = brute_force(network, box, c, maximize=maximize)
        if not embedded.exact:
            truth = HighsSolver(objective).solve(gap=0.0).value
        write_mps(objective, tmp_path / "model.mps")
        for reader in [read_by_gurobi, read_by_scip] if model.logic else [read_by_highs, read_by_gurobi, read_by_scip]:
            assert reader(tmp_path / "model.mps") == ("Optimal", pytest.approx(truth, abs=1e-6))


def test_no_columns_and_an_infeasible_model(tmp_path: Path) -> None:
    nothing = np.zeros(0)
    empty = MatrixModel(nothing, 3.0, False, sparse.csr_array((0, 0)), *(nothing,) * 4, integer=np.zeros(0, dtype=bool))
    write_mps(empty, tmp_path / "empty.mps")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.readModel(str(tmp_path / "empty.mps"))
    assert (highs.getNumCol(), highs.getLp().offset_) == (0, 3.0)
    crossed = replace(every_kind(), row_upper=np.full(6, -1e3), row_lower=np.full(6, -np.inf))
    write_mps(crossed, tmp_path / "crossed.mps")
    assert read_by_highs(tmp_path / "crossed.mps")[0] == "Infeasible"


@pytest.mark.parametrize("part", ["c", "lower", "row_upper"])
def test_what_is_no_number_is_refused(part: str, tmp_path: Path) -> None:
    model = every_kind()
    values = getattr(model, part).copy()
    values[1] = np.nan
    with pytest.raises(ModelError, match=f"entry 1 of the model's {part} is nan"):
        write_mps(replace(model, **{part: values}), tmp_path / "model.mps")
    assert not (tmp_path / "model.mps").exists()


def test_a_large_model_is_written_quickly(make_network: Callable[..., Network], tmp_path: Path) -> None:
    network = make_network((100, 60, 60, 2), 0, scale=0.1)
    model = network_model(network, tighten_bounds(network, (0, 1), "interval"), BigM(), objective=[1.0, 0.0])
    write_mps(model.relax(), tmp_path / "large.mps")
    status, value = read_by_highs(tmp_path / "large.mps")
    assert (status, value) == ("Optimal", pytest.approx(HighsSolver(model.relax()).solve().value))
