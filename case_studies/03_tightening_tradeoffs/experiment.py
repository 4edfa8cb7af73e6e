"""One measurement: tighten the bounds of a network around an image by one rung, then solve the MILP that uses them.

    max  f_t(x) - f_c(x)   where   |x - a| <= radius, 0 <= x <= 1 in every pixel

Symbols: a the image, c its label, t the runner-up among f(a), f the logits. The network is robust against t where the
maximum is negative. f_t - f_c is made the one output of the last layer, so that every rung bounds it as well.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pyomo.environ as pyo
from images import Images
from pyomo.opt import TerminationCondition
from training import Recipe, accuracy, make_network

from omlt_ext import Bounds, Box, Effort, Layer, Network, ReLUBlock, tighten_bounds

GAP = 1e-4
STARTS = 1000
Record = dict[str, Any]


def efforts(seconds_per_solve: float) -> dict[str, Effort]:
    """The rungs that are compared. Neurons that a rung has decided are left alone by the next ones.

    "weak" and "strong" are the names of the literature; its weak bounds know no splits, so they are left out there.
    "capped" is no rung but a way to spoil one: the split bounds, with the margin's own bound in the MILP as well.
    """
    return {
        "naive": Effort("interval"),
        "crown": Effort("crown"),
        "dual": Effort("dual", neurons="unstable"),
        "split": Effort("split", neurons="unstable"),
        "weak": Effort("lp", neurons="unstable", leaves=1),
        "lp": Effort("lp", neurons="unstable"),
        "strong": Effort("milp", neurons="unstable", seconds_per_solve=seconds_per_solve),
        "capped": Effort("split", neurons="unstable"),
    }


@dataclass(frozen=True)
class Case:
    """A network and which of the images that it labels correctly; `limit` in seconds for each verification MILP."""

    data: str
    recipe: Recipe
    image: int
    radius: float
    limit: float
    seconds_per_solve: float


class Problem:
    """A case made concrete: the network with f_t - f_c as its output, the box, and a good point to start from."""

    def __init__(self, case: Case, images: Images) -> None:
        classifier = make_network(case.recipe, images)
        right = np.flatnonzero(classifier(images.x_test).argmax(axis=1) == images.y_test)
        a = images.x_test[right[case.image]]
        runner_up, label = np.argsort(classifier(a))[-2:]
        *hidden, last = classifier.layers
        W, b = last.weight, last.bias
        self.case = case
        self.network = Network([*hidden, Layer(W[[runner_up]] - W[[label]], b[[runner_up]] - b[[label]], relu=False)])
        self.box = Box.ball(a, case.radius, within=Box.full(a.size, 0.0, 1.0))
        points = np.vstack([a, self.box.sample(STARTS, np.random.default_rng(0))])
        self.start = points[int(np.argmax(self.network(points)))]
        weights = [layer.weight for layer in classifier.layers]
        self.about: Record = {
            "network": str(case.recipe),
            "digest": sha256(b"".join(W.tobytes() for W in weights)).hexdigest()[:12],
            "accuracy": accuracy(classifier, images),
            "nonzeros": sum(map(np.count_nonzero, weights)) / sum(W.size for W in weights),
            "label": int(label),
            "runner_up": int(runner_up),
            "start": float(self.network(self.start)[0]),
        }

    def measure(self, rung: str) -> Record:
        """The record of one rung; Ctrl-C raises, so that nothing half measured is kept."""
        begin = time.perf_counter()
        bounds = tighten_bounds(self.network, self.box, efforts(self.case.seconds_per_solve)[rung])
        tighten_seconds = time.perf_counter() - begin
        if any("Ctrl-C" in note for note in bounds.notes):
            raise KeyboardInterrupt
        used = bounds if rung == "capped" else self.uncapped(bounds)
        begin = time.perf_counter()
        solved = self.solve(used)
        seconds = {"tighten_seconds": tighten_seconds, "solve_seconds": time.perf_counter() - begin}
        return {"case": asdict(self.case), "rung": rung} | self.about | describe(bounds) | solved | seconds

    def uncapped(self, bounds: Bounds) -> Bounds:
        """The same bounds of the ReLUs, but naive ones of the margin.

        A tight bound of the objective's column cuts the LP's optimum off along a face: whichever point of that face
        the solver returns says little about where to branch. "capped" measures it.
        """
        free = tighten_bounds(self.network, self.box, "interval")
        lower, upper = (*bounds.lower[:-1], free.lower[-1]), (*bounds.upper[:-1], free.upper[-1])
        return Bounds.of(self.network, self.box, lower, upper)

    def solve(self, bounds: Bounds) -> Record:
        """The verification MILP as a user of Pyomo writes it; HiGHS on one thread."""
        m = pyo.ConcreteModel()
        m.nn = ReLUBlock(self.network, input_bounds=self.box, bounds=bounds, effort="interval")
        m.margin = pyo.Objective(expr=m.nn.outputs[0], sense=pyo.maximize)
        m.nn.set_values_from(self.start)
        found = pyo.SolverFactory("omlt_ext.highs").solve(
            m, time_limit=self.case.limit, gap=GAP, options={"threads": 1}
        )
        status = found.solver.termination_condition
        if status == TerminationCondition.userInterrupt:
            raise KeyboardInterrupt
        if status not in (TerminationCondition.optimal, TerminationCondition.maxTimeLimit):
            raise RuntimeError(f"{self.case}: HiGHS ended with {status} ({found.solver.message})")
        x = np.clip([m.nn.inputs[i].value for i in m.nn.inputs], self.box.lower, self.box.upper)
        return {
            "status": str(status),
            "value": float(self.network(x)[0]),
            "bound": found.problem.upper_bound,
            "nodes": found.solver.statistics.branch_and_bound.number_of_bounded_subproblems,
        }


def describe(bounds: Bounds) -> Record:
    """Layer by layer, the last one apart: decided ReLUs, and the mean width u - l with 0 for the decided ones.

    That width is what a big-M model sees of the bounds: a ReLU whose sign is decided needs neither binary nor big-M.
    """
    hidden = range(len(bounds.relu) - 1)
    return {
        "width": [float(np.where(bounds.unstable[k], bounds.width()[k], 0.0).mean()) for k in hidden],
        "unstable": [int(bounds.unstable[k].sum()) for k in hidden],
        "active": [int(bounds.stable_active[k].sum()) for k in hidden],
        "inactive": [int(bounds.stable_inactive[k].sum()) for k in hidden],
        "margin_bound": float(bounds.upper[-1][0]),
        "notes": list(bounds.notes),
    }
