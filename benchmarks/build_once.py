"""One measurement of build.py, in a process of its own: python benchmarks/build_once.py WHAT WIDTHS

Prints one line of JSON: seconds of the build and growth of the peak memory during it, then the seconds of each route
into HiGHS, each on a HiGHS object of its own, and the size of the model that HiGHS then holds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from networks import default_init
from pyomo.contrib.appsi.solvers.highs import Highs as AppsiHighs
from pyomo.contrib.solver.solvers.highs import Highs as ContribHighs
from record import peak_memory_mb

from omlt_ext import Network, ReLUBlock, tighten_bounds
from omlt_ext.bridge import compile_model
from omlt_ext.formulations import BigM
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def arrays(network: Network) -> dict[str, Any]:
    """Interval bounds, the model as arrays, and HiGHS holding it."""
    before = peak_memory_mb()
    bounds_s, bounds = timed(lambda: tighten_bounds(network, (0, 1), effort="interval"))
    objective = np.eye(network.n_outputs)[0]
    model_s, model = timed(lambda: network_model(network, bounds, BigM(), objective=objective))
    pass_s, _ = timed(lambda: HighsSolver(model))
    return {
        "bounds": bounds_s,
        "model": model_s,
        "pass": pass_s,
        "seconds": bounds_s + model_s + pass_s,
        "peak_mb": peak_memory_mb() - before,
        "size": (model.n_columns, int(model.integer.sum()), model.n_rows, int(model.A.nnz)),
    }


def block(network: Network, effort: str) -> dict[str, Any]:
    """ReLUBlock, then the array path of SolverFactory("omlt_ext.highs") and Pyomo's routes."""
    model = pyo.ConcreteModel()
    before = peak_memory_mb()
    begin = time.perf_counter()
    model.nn = ReLUBlock(network, input_bounds=(0, 1), effort=effort)
    found = {"seconds": time.perf_counter() - begin, "peak_mb": peak_memory_mb() - before}
    model.cost = pyo.Objective(expr=model.nn.outputs[0])
    found["omlt_ext.highs"] = timed(lambda: HighsSolver(compile_model(model).matrix))[0]
    return found | pyomo_routes(model)


def omlt(network: Network) -> dict[str, Any]:
    """OMLT's big-M formulation of the same weights, then Pyomo's routes."""
    from omlt import OmltBlock
    from omlt.neuralnet import NetworkDefinition, ReluBigMFormulation
    from omlt.neuralnet.layer import DenseLayer, InputLayer

    definition = NetworkDefinition(scaled_input_bounds=dict.fromkeys(range(network.n_inputs), (0, 1)))
    before_it: Any = InputLayer([network.n_inputs])
    definition.add_layer(before_it)
    for layer in network.layers:
        activation = "relu" if layer.relu.all() else "linear"
        sizes = [layer.n_in], [layer.n_out]
        dense = DenseLayer(*sizes, layer.dense_weight().T, layer.bias, activation=activation)
        definition.add_layer(dense)
        definition.add_edge(before_it, dense)
        before_it = dense
    model = pyo.ConcreteModel()
    before = peak_memory_mb()
    begin = time.perf_counter()
    model.nn = OmltBlock()
    model.nn.build_formulation(ReluBigMFormulation(definition))
    found = {"seconds": time.perf_counter() - begin, "peak_mb": peak_memory_mb() - before}
    model.cost = pyo.Objective(expr=model.nn.outputs[0])
    return found | pyomo_routes(model)


def pyomo_routes(model: Any) -> dict[str, Any]:
    """Seconds of every way that Pyomo has into HiGHS: its two interfaces, and an LP file that HiGHS reads."""
    appsi, contrib, reader = AppsiHighs(), ContribHighs(), highspy.Highs()
    reader.setOptionValue("output_flag", False)
    found: dict[str, Any] = {"appsi": timed(lambda: appsi.set_instance(model))[0]}
    found["contrib.solver"] = timed(lambda: contrib.set_instance(model))[0]
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "model.lp"))
        written, _ = timed(lambda: model.write(path))
        read, status = timed(lambda: reader.readModel(path))
    assert status == highspy.HighsStatus.kOk
    found["LP file"] = written + read
    lp = reader.getLp()
    integer = sum(kind == highspy.HighsVarType.kInteger for kind in lp.integrality_)
    found["size"] = (reader.getNumCol(), integer, reader.getNumRow(), reader.getNumNz())
    return found


def main() -> None:
    what, widths = sys.argv[1], tuple(int(n) for n in sys.argv[2].split("-"))
    network = default_init(widths)
    kinds = {
        "OMLT": omlt,
        "arrays": arrays,
        "ReLUBlock, interval": lambda net: block(net, "interval"),
        "ReLUBlock, crown": lambda net: block(net, "crown"),
    }
    print(json.dumps(kinds[what](network)))


if __name__ == "__main__":
    main()
