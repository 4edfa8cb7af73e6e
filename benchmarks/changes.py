"""The changes that were made for speed, each measured again against what it replaced.

Same network throughout: 784-512-512-512-10, PyTorch's default initialisation, over [0, 1]^784, interval bounds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import highspy
import numpy as np
import pandas as pd
import pyomo.environ as pyo
from networks import LARGE, SMALL, default_init
from record import Tables, spread
from scipy import sparse

from omlt_ext import Network, ReLUBlock, tighten_bounds
from omlt_ext.formulations import BigM
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.solvers import HighsSolver

REPEATS = 5


def main(*, small: bool = False) -> Tables:
    network = default_init(SMALL if small else LARGE)
    model = network_model(network, tighten_bounds(network, (0, 1), effort="interval"), BigM())
    pairs: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("rows make their expression on demand", lambda: eager_block(network), lambda: block(network)),
        ("HiGHS takes raw arrays", lambda: pass_attributes(model), lambda: HighsSolver(model)),
        ("dense weights to CSR without looking for zeros", lambda: scan(network), lambda: convert(network)),
    ]
    rows = []
    for name, before, after in pairs:
        times = pd.DataFrame([{"b": seconds(before), "a": seconds(after)} for _ in range(2 if small else REPEATS)])
        medians = times.median()
        rows.append(
            {
                "change": name,
                "before s": medians["b"],
                "spread before": spread(times["b"]),
                "after s": medians["a"],
                "spread after": spread(times["a"]),
                "times faster": medians["b"] / medians["a"],
            }
        )
    return {"changes": pd.DataFrame(rows)}


def seconds(call: Callable[[], object]) -> float:
    gc.collect()  # or what the call before left is cleared away on this one's time
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def block(network: Network) -> Any:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(0, 1), effort="interval")
    return model


def eager_block(network: Network) -> Any:
    """The same block with every row's expression made and kept, as in an ordinary Pyomo constraint."""
    model = block(network)
    for row in model.component_data_objects(pyo.Constraint):
        row.set_value(row.expr)
    return model


def pass_attributes(model: MatrixModel) -> highspy.Highs:
    """The model through the attributes of `HighsLp`, as highspy's documentation shows it."""
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.n_columns, model.n_rows
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = model.c, model.lower, model.upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = model.n_columns, model.n_rows
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = model.A.indptr, model.A.indices, model.A.data
    kinds = highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger
    lp.integrality_ = [kinds[whole] for whole in model.integer.tolist()]
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    if highs.passModel(lp) == highspy.HighsStatus.kError:
        raise RuntimeError("HiGHS refuses the model")
    return highs


def scan(network: Network) -> list[Any]:
    return [sparse.csr_array(np.asarray(layer.weight)) for layer in network.layers]


def convert(network: Network) -> list[Any]:
    return [layer.csr_weight() for layer in network.layers]
