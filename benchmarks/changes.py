"""The changes that were made for speed, each measured again against what it replaced.

The network 784-512-512-512-10, PyTorch's default initialisation, over [0, 1]^784, interval bounds; nodes are those of
a search over 20-2x40, a fifth of the signs given, ten steps of ascent and the rigorous evaluation.
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
from networks import LARGE, SEED, SMALL, default_init, torch_init, widths_of
from record import Tables, spread
from scipy import sparse

from omlt_ext import Box, Network, ReLUBlock, tighten_bounds
from omlt_ext.formulations import BigM
from omlt_ext.milp import MatrixModel, network_model
from omlt_ext.propagation.backend import has_numba, open_backend
from omlt_ext.search.relu_root import ReluRoot
from omlt_ext.search.relu_tree import CHILD
from omlt_ext.search.target import Target
from omlt_ext.solvers import HighsSolver

REPEATS, NODES = 5, 1024


def main(*, small: bool = False) -> Tables:
    network = default_init(SMALL if small else LARGE)
    model = network_model(network, tighten_bounds(network, (0, 1), effort="interval"), BigM())
    pairs: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("rows make their expression on demand", lambda: eager_block(network), lambda: block(network)),
        ("HiGHS takes raw arrays", lambda: pass_attributes(model), lambda: HighsSolver(model)),
        ("dense weights to CSR without looking for zeros", lambda: scan(network), lambda: convert(network)),
    ]
    if has_numba():
        plain, fused = (nodes(8 if small else NODES, backend) for backend in ("numpy", "numba"))
        pairs.append((f"{NODES} nodes in compiled loops", plain, fused))
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


def nodes(m: int, backend: str) -> Callable[[], object]:
    """What it takes to bound m nodes; loops are loaded before."""
    network, rng = torch_init(widths_of("20-2x40"), SEED), np.random.default_rng(SEED)
    target = Target.linear(network, Box.full(20, 0.0, 1.0), np.ones(1))
    root = ReluRoot(target, tighten_bounds(target.network, target.domain), open_backend(backend))
    numbers = rng.random((m, root.k)).astype(np.float32)
    signs = rng.choice(np.array([-1, 1, *8 * [0]], np.int8), (m, root.u))

    def bound() -> object:
        return root.ascend(numbers, signs, CHILD, np.inf)

    bound()
    return bound


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
