"""The smallest change of an image that flips a classifier, proved to be the smallest: scikit-learn's digits, HiGHS.

    python case_studies/02_minimum_image_change/run.py [--small] [--seed 0] [--time-limit 120] [--out DIR] [--json]

What the answer means, and why the box of every pixel is valid, is in the README beside this file.
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

import numpy as np
import pyomo.environ as pyo
from digits import Floats, first_flip, train_classifier
from flip_report import draw, table
from sklearn.neural_network import MLPClassifier

from omlt_ext import Network, ReLUBlock, load_network

PACKAGES = ("omlt-ext", "pyomo", "highspy", "scikit-learn", "numpy")
MARGIN = 0.1  # by how much the logit of the wrong class must win: far above what solvers tolerate


def build(network: Network, image: Floats, start: Floats) -> pyo.ConcreteModel:
    """min |x - image|_1 where some wrong class beats the right one; `start` is an image for which it does."""
    m = pyo.ConcreteModel()
    pixels, right = range(image.size), int(np.argmax(network(image)))
    wrong = [t for t in range(network.n_outputs) if t != right]

    # `start` costs c, so the best flip costs at most c in all, and no pixel of it moves by more than min(c, 1). A box
    # this tight loses no optimum, and the bounds of the network are the tighter for it.
    c = float(np.abs(start - image).sum())
    low, high = np.maximum(image - c, 0.0).tolist(), np.minimum(image + c, 1.0).tolist()
    before = image.tolist()
    m.x = pyo.Var(pixels, bounds=lambda m, i: (low[i], high[i]))
    m.up = pyo.Var(pixels, bounds=lambda m, i: (0.0, high[i] - before[i]))
    m.down = pyo.Var(pixels, bounds=lambda m, i: (0.0, before[i] - low[i]))
    m.change = pyo.Constraint(pixels, rule=lambda m, i: m.x[i] == before[i] + m.up[i] - m.down[i])
    m.cost = pyo.Objective(expr=sum(m.up.values()) + sum(m.down.values()))

    # The classifier: its outputs are the logits, each a Pyomo variable with proved bounds.
    m.nn = ReLUBlock(network, inputs=m.x)

    # At least one wrong class wins. Where wins[t] = 0 the row only repeats what the bounds of the logits say.
    m.wins = pyo.Var(wrong, domain=pyo.Binary)
    m.someone = pyo.Constraint(expr=sum(m.wins.values()) == 1)

    @m.Constraint(wrong)
    def flipped(m, t):
        least = m.nn.outputs[t].lb - m.nn.outputs[right].ub
        return m.nn.outputs[t] - m.nn.outputs[right] >= least + (MARGIN - least) * m.wins[t]

    # The flip we have is the start of the search.
    m.nn.set_values_from(start)
    winner = max(wrong, key=lambda t: network(start)[t])
    for t in wrong:
        m.wins[t].set_value(int(t == winner))
    for i, step in enumerate((start - image).tolist()):
        m.up[i].set_value(max(step, 0.0))
        m.down[i].set_value(max(-step, 0.0))
    return m


def smallest_flip(network: Network, classifier: MLPClassifier, image: Floats, limit: float) -> dict[str, Any]:
    """One image: the first flip, the best one, what is proved of it, and what scikit-learn says to it."""
    row: dict[str, Any] = {"digit": int(np.argmax(network(image))), "before": image.tolist(), "after": None}
    start = first_flip(network, image, MARGIN)
    if start is None:
        return row | {"status": "no first flip found"}
    m = build(network, image, start)
    found = pyo.SolverFactory("omlt_ext.highs").solve(m, time_limit=limit)
    row |= {"first_cost": float(np.abs(start - image).sum()), "status": str(found.solver.termination_condition)}
    row |= {"nodes": found.solver.statistics.branch_and_bound.number_of_bounded_subproblems}
    row |= {"seconds": round(found.solver.wallclock_time, 2), "binaries": m.nn.activation_bounds.n_unstable}
    if found.problem.number_of_solutions == 0:
        return row
    after = np.clip([m.x[i].value for i in m.x], 0.0, 1.0)  # HiGHS may leave a bound by its tolerance
    probability = classifier.predict_proba(after[None])[0]
    row |= {"cost": pyo.value(m.cost), "bound": found.problem.lower_bound, "network_error": m.nn.get_error()}
    row |= {"after": after.tolist(), "pixels": int((np.abs(after - image) > 1e-6).sum())}
    return row | {"becomes": int(np.argmax(probability)), "sklearn_probabilities": probability.tolist()}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="The smallest change of an image that flips a classifier.")
    parser.add_argument("--small", action="store_true", help="three images and a small network: a few seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the training")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for each image")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder for JSON and plot")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    hidden, wanted = ((10, 10), range(3)) if options.small else ((20, 20), range(10))

    begin = time.perf_counter()
    classifier, accuracy, images = train_classifier(hidden, options.seed)
    network = load_network(classifier, logits=True)  # without the softmax, which is not piecewise linear
    digits = classifier.predict(images)
    chosen = [images[np.flatnonzero(digits == d)[0]] for d in wanted if d in digits]
    report: dict[str, Any] = {"date": str(date.today()), "cores": os.cpu_count(), "seed": options.seed}
    report |= {"versions": {name: version(name) for name in PACKAGES}}
    report |= {"network": repr(network), "accuracy": accuracy, "margin": MARGIN}
    report["images"] = [smallest_flip(network, classifier, image, options.time_limit) for image in chosen]
    report["seconds"] = round(time.perf_counter() - begin, 1)

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "result.json").write_text(json.dumps(report) + "\n")
    print(json.dumps(report) if options.json else table(report))
    draw(report, options.out / "flips.png")
    return report


if __name__ == "__main__":
    main()
