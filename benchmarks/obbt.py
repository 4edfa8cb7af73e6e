"""LP OBBT of single layers: the array path against the loop that a Pyomo user writes today.

The loop: a Pyomo model of the layers before, big-M with sigma relaxed to [0, 1] (a relaxed `ReLUBlock`), one persistent
`appsi_highs`, and for each bound the objective replaced and solved. "checks off" is the same loop by somebody who knows
that appsi need not look for changes of anything but the objective. Both are measured on a sample of bounds, without the
first solve, which translates the model. The array path bounds all neurons of the layer; its time includes all that it
does: dual ascent, making the small LPs, solving, checking, and the rigorous evaluation. Both have the same bounds of
the layers before, by dual ascent. Every bound of the sample is compared. "dual rung" is the time of that whole rung,
with interval and CROWN, and how often the loop would last as long for the layers together.

The table `plain` has the networks of the benchmark `ladder`, all layers after the first. "plain LPs" are arrays without
Pyomo: one persistent HiGHS model a layer (relaxed big-M, no presolve, no scaling), a new objective for each bound, warm
starts from the bound before. They too are measured on a sample and scaled; "LP rung" is the rung with all that it does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from ladder import cases, timed
from networks import default_init
from record import Tables, spread
from tqdm.auto import tqdm

from omlt_ext import Bounds, Box, Effort, Layer, Network, ReLUBlock, tighten_bounds
from omlt_ext.formulations import BigM
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver
from omlt_ext.tightening.lp import lp_rung
from omlt_ext.tightening.task import Task

SAMPLE = 10  # bounds of each layer that the loops are measured on
REPEATS = 5
AGREE = 1e-6  # relative difference of a bound from the loop's


@dataclass(frozen=True)
class Timed:
    seconds: pd.Series
    lower: np.ndarray
    upper: np.ndarray


def main(*, small: bool = False) -> Tables:
    widths = (12, 10, 10, 10, 3) if small else (784, 100, 100, 100, 10)
    sample, repeats = (2, 1) if small else (SAMPLE, REPEATS)
    network, box = default_init(widths), Box.full(widths[0], 0, 1)
    bounds, dual_seconds = whole_rung(network, box, repeats)
    rows = []
    for k in tqdm((1, 2), desc="obbt", unit="layer"):
        task = one_layer(network, bounds, k)
        ours = array_path(task, repeats)
        row = {"layer": k + 1, "bounds": 2 * ours.lower.size, "mean width": float((ours.upper - ours.lower).mean())}
        per_bound = 1e3 * ours.seconds / (2 * ours.lower.size)
        row |= {"array path ms a bound": per_bound.median(), "array path spread": spread(per_bound)}
        for name, checks in (("loop", True), ("loop, checks off", False)):
            theirs = pyomo_loop(task, sample, checks)
            compare(ours, theirs)
            milliseconds = 1e3 * theirs.seconds
            row |= {f"{name} ms a bound": milliseconds.mean(), f"{name} spread": spread(milliseconds)}
            row |= {f"times faster than {name}": milliseconds.mean() / per_bound.median()}
        rows.append(row)
    table = pd.DataFrame(rows)
    return {"lp": table, "layers": together(table, dual_seconds), "plain": plain(small)}


def plain(small: bool) -> pd.DataFrame:
    """Plain LPs, the LP rung and the dual rung of each network."""
    rows = []
    for name, network, box in tqdm(list(cases(small)), desc="plain LPs", unit="network"):
        bounds, dual_seconds = timed(network, box, Effort("dual"))
        lp_seconds = timed(network, box, Effort("lp", leaves=1))[1]
        layers = range(1, len(network.layers))
        seconds = sum(plain_layer(network, bounds, k, 2 if small else SAMPLE) for k in layers)
        row = {"network": name, "plain LPs s": seconds, "LP rung s": lp_seconds, "dual rung s": dual_seconds}
        rows.append(row | {"LP rung faster": seconds / lp_seconds, "dual rung faster": seconds / dual_seconds})
    return pd.DataFrame(rows)


def plain_layer(network: Network, bounds: Bounds, k: int, sample: int) -> float:
    """Seconds for all bounds of layer k, from the first neurons' `sample` bounds after one that is not counted."""
    top = Layer(network.layers[k].weight, network.layers[k].bias, relu=False)
    part = Network([*network.layers[:k], top])
    known = Bounds.of(part, bounds.box, bounds.lower[: k + 1], bounds.upper[: k + 1])
    model = network_model(part, known, BigM()).relax()
    solver = HighsSolver(model, {"presolve": "off", "simplex_scale_strategy": 0})
    seconds = []
    for row in [sample, *range(sample)]:
        c = np.zeros(model.n_columns)
        c[model.networks[0].outputs[row // 2 % top.n_out]] = 1.0 if row % 2 else -1.0
        begin = time.perf_counter()
        solver.set_objective(c, maximize=False)
        if solver.solve().status != "optimal":
            raise RuntimeError(f"layer {k}: an LP was not solved")
        seconds.append(time.perf_counter() - begin)
    return 2 * top.n_out * float(np.mean(seconds[1:]))


def together(table: pd.DataFrame, dual_seconds: float) -> pd.DataFrame:
    """All bounds of the layers, in seconds."""
    seconds = {
        name: float((table["bounds"] * table[f"{name} ms a bound"]).sum()) / 1e3
        for name in ("loop", "loop, checks off", "array path")
    }
    rows = [
        {"what": name, "s": value, "times faster than the loop": seconds["loop"] / value}
        for name, value in (seconds | {"dual rung": dual_seconds}).items()
    ]
    return pd.DataFrame(rows)


def whole_rung(network: Network, box: Box, repeats: int) -> tuple[Bounds, float]:
    """Bounds of all layers by dual ascent, and the median of its seconds."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        bounds = tighten_bounds(network, box, "dual")
        seconds.append(time.perf_counter() - begin)
    return bounds, float(np.median(seconds))


def one_layer(network: Network, bounds: Bounds, k: int) -> Task:
    """Bound layer k from the bounds of the layers before it."""
    part = Network(network.layers[: k + 1])
    known = Bounds.of(part, bounds.box, bounds.lower[: k + 1], bounds.upper[: k + 1])
    return Task(part, known, Effort("lp"), np.empty((0, part.n_inputs)), None)


def array_path(task: Task, repeats: int) -> Timed:
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        found = lp_rung(task)
        seconds.append(time.perf_counter() - begin)
    return Timed(pd.Series(seconds), found.lower, found.upper)


def pyomo_loop(task: Task, sample: int, checks: bool) -> Timed:
    """The bounds of the first neurons, `sample` in number, after one that is not counted."""
    before, top = Network(task.network.layers[:-1]), task.network.layers[-1]
    known = Bounds.of(before, task.bounds.box, task.bounds.lower[:-1], task.bounds.upper[:-1])
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(before, input_bounds=known.box, bounds=known, effort="interval")
    pyo.TransformationFactory("core.relax_integer_vars").apply_to(model)
    solver = pyo.SolverFactory("appsi_highs")
    if not checks:
        updates = solver.update_config
        updates.check_for_new_or_removed_constraints = updates.check_for_new_or_removed_vars = False
        updates.check_for_new_or_removed_params = updates.update_constraints = updates.update_vars = False
        updates.update_params = updates.update_named_expressions = False
    seconds, ends = [], np.full((2, top.n_out), np.nan)
    jobs = [(j, sense) for j in range(sample // 2) for sense in (pyo.minimize, pyo.maximize)]
    for turn, (j, sense) in enumerate([jobs[-1], *jobs]):
        begin = time.perf_counter()
        if turn > 0:
            model.del_component("z")
        row = top.dense_weight()[j]
        z = pyo.quicksum(float(w) * model.nn.outputs[i] for i, w in enumerate(row)) + float(top.bias[j])
        model.z = pyo.Objective(expr=z, sense=sense)
        solver.solve(model)
        ends[0 if sense == pyo.minimize else 1, j] = pyo.value(model.z)
        if turn > 0:
            seconds.append(time.perf_counter() - begin)
    return Timed(pd.Series(seconds), ends[0], ends[1])


def compare(ours: Timed, theirs: Timed) -> None:
    """The same values, ours on the safe side to the loop's own tolerance."""
    for mine, other in ((ours.lower, theirs.lower), (-ours.upper, -theirs.upper)):
        known = np.isfinite(other)
        difference = (other - mine)[known] / np.maximum(1.0, np.abs(other[known]))
        if not (np.abs(difference) <= AGREE).all():
            raise RuntimeError(f"a bound differs from the loop's by {difference[np.argmax(np.abs(difference))]:.2g}")
