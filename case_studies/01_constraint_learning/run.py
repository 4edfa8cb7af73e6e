"""Blend wines for the best predicted quality within a budget: a trained network inside a Pyomo model.

    python case_studies/01_constraint_learning/run.py [--small] [--seed 0] [--time-limit 60] [--out DIR] [--json]

The story, the data and what they do not support are in the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cellar as world
import numpy as np
import pyomo.environ as pyo
from blend_report import FREE, INSIDE, draw, table

from omlt_ext import Network, ReLUBlock, load_network

PACKAGES = ("omlt-ext", "pyomo", "highspy", "scikit-learn", "numpy")


def build(cellar: world.Cellar, network: Network, *, trust_region: bool) -> pyo.ConcreteModel:
    """The blender's model: his decisions and rules, the network that predicts, and the trust region around the data."""
    m = pyo.ConcreteModel()
    wines, treatments, amounts = cellar.offer, list(world.TREATMENTS), cellar.names

    # Decisions: how much of which wine, which treatments, which cultivar the label names.
    m.share = pyo.Var(wines, bounds=(0, world.CASK))
    m.opened = pyo.Var(wines, domain=pyo.Binary)
    m.dose = pyo.Var(treatments, bounds=(0, world.MAX_DOSE))
    m.used = pyo.Var(treatments, domain=pyo.Binary)
    m.label = pyo.Var(range(3), domain=pyo.Binary)

    # Side constraints: full casks only, few wines, few treatments, two that exclude each other, an honest label.
    m.whole = pyo.Constraint(expr=sum(m.share.values()) == 1)
    m.cask = pyo.Constraint(wines, rule=lambda m, w: m.share[w] <= world.CASK * m.opened[w])
    m.no_sip = pyo.Constraint(wines, rule=lambda m, w: m.share[w] >= world.LEAST_SHARE * m.opened[w])
    m.few_wines = pyo.Constraint(expr=sum(m.opened.values()) <= world.MAX_WINES)
    m.dose_if_used = pyo.Constraint(treatments, rule=lambda m, t: m.dose[t] <= world.MAX_DOSE * m.used[t])
    m.least_dose = pyo.Constraint(treatments, rule=lambda m, t: m.dose[t] >= world.MIN_DOSE * m.used[t])
    m.few_treatments = pyo.Constraint(expr=sum(m.used.values()) <= world.MAX_TREATMENTS)
    m.not_both = pyo.Constraint(expr=m.used["tannin"] + m.used["fining"] <= 1)
    m.one_name = pyo.Constraint(expr=sum(m.label.values()) <= 1)

    @m.Constraint(range(3))
    def honest_label(m, k):
        return sum(m.share[w] for w in wines if cellar.cultivar[w] == k) >= world.LABEL_SHARE * m.label[k]

    # The budget for a litre: wines and treatments, less what the label earns.
    setup, dose_price = ({t: world.TREATMENTS[t][i] for t in treatments} for i in (0, 1))
    m.cost = pyo.Expression(
        expr=sum(cellar.price[w].item() * m.share[w] for w in wines)
        + sum(setup[t] * m.used[t] + dose_price[t] * m.dose[t] for t in treatments)
        - sum(world.PREMIUM[k] * m.label[k] for k in range(3))
    )
    m.budget = pyo.Param(mutable=True, initialize=0.0)
    m.within_budget = pyo.Constraint(expr=m.cost <= m.budget)

    # What is in the bottle. The network needs a finite box: the range of the data, or far beyond it.
    low, high = cellar.amounts.min(axis=0), cellar.amounts.max(axis=0)
    low, high = (low, high) if trust_region else (0 * low, 2 * high)
    box = {a: (low[i].item(), high[i].item()) for i, a in enumerate(amounts)}
    m.amount = pyo.Var(amounts, bounds=lambda m, a: box[a])

    @m.Constraint(amounts)
    def mixing(m, a):
        column = cellar.amounts[:, amounts.index(a)].tolist()
        added = sum(world.TREATMENTS[t][2].get(a, 0.0) * m.dose[t] for t in treatments)
        return m.amount[a] == sum(column[w] * m.share[w] for w in wines) + added

    for a, (least, most) in world.SPECIFICATION.items():
        m.amount[a].setlb(max(least, m.amount[a].lb))
        m.amount[a].setub(min(most, m.amount[a].ub))

    # Trust region: the bottle is a convex combination of the wines that the network has seen.
    if trust_region:
        m.weight = pyo.Var(range(len(cellar.amounts)), bounds=(0, 1))
        m.weights = pyo.Constraint(expr=sum(m.weight.values()) == 1)

        @m.Constraint(amounts)
        def in_hull(m, a):
            column = cellar.amounts[:, amounts.index(a)].tolist()
            return m.amount[a] == sum(value * m.weight[i] for i, value in enumerate(column))

    # The learned function: the network reads the amounts and its output is what we maximise.
    m.nn = ReLUBlock(network, inputs=m.amount)
    m.quality = pyo.Objective(expr=m.nn.outputs[0], sense=pyo.maximize)
    return m


def solve(m: pyo.ConcreteModel, budget: float, cellar: world.Cellar, pipeline: Any, limit: float) -> dict[str, Any]:
    """Solve for one budget; the row says what was found, what is proved, and whether scikit-learn agrees."""
    m.budget.set_value(budget)  # the model stays; the last solution is the start of the next solve
    found = pyo.SolverFactory("omlt_ext.highs").solve(m, time_limit=limit)
    row: dict[str, Any] = {"budget": budget, "status": str(found.solver.termination_condition)}
    row |= {"nodes": found.solver.statistics.branch_and_bound.number_of_bounded_subproblems}
    row |= {"seconds": round(found.solver.wallclock_time, 2), "predicted": None}
    if found.problem.number_of_solutions == 0:
        return row
    amounts = np.array(list(m.amount.get_values().values()))
    predicted = pyo.value(m.quality)
    row |= {"predicted": predicted, "bound": found.problem.upper_bound, "cost": pyo.value(m.cost)}
    row |= {"network_error": m.nn.get_error()}
    row |= {"sklearn_error": abs(predicted - pipeline.predict(amounts[None])[0]).item()}
    row |= {"amounts": m.amount.get_values(), "distance_from_hull": cellar.distance(amounts)}
    row |= {"wines": {w: s.value for w, s in m.share.items() if m.opened[w].value > 0.5}}
    row |= {"treatments": {t: d.value for t, d in m.dose.items() if m.used[t].value > 0.5}}
    return row | {"label": next((k for k in range(3) if m.label[k].value > 0.5), None)}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Blend wines for the best predicted quality within a budget.")
    parser.add_argument("--small", action="store_true", help="fewer wines, neurons and budgets: a few seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the prices and the wines on offer")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds for each solve")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder for JSON and plot")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    on_offer, hidden = (12, (6, 6)) if options.small else (30, (12, 12))
    budgets = (5.0, 7.0) if options.small else (4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0)

    begin = time.perf_counter()
    cellar = world.load_cellar(options.seed, on_offer)
    pipeline = world.train_network(cellar, hidden)
    network = load_network(pipeline)  # the scaler is part of it, so its inputs are the amounts as measured
    report: dict[str, Any] = {"date": str(date.today()), "cores": os.cpu_count(), "seed": options.seed}
    report |= {"versions": {name: version(name) for name in PACKAGES}, "network": repr(network)}
    report["r2"] = world.r_squared(cellar, pipeline)
    for name, trust_region in ((INSIDE, True), (FREE, False)):
        model = build(cellar, network, trust_region=trust_region)
        report[name] = [solve(model, budget, cellar, pipeline, options.time_limit) for budget in budgets]
    report["seconds"] = round(time.perf_counter() - begin, 1)

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "result.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1) if options.json else table(report))
    draw(cellar, report, options.out / "blend.png")
    return report


if __name__ == "__main__":
    main()
