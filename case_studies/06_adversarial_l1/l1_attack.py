"""One image under attack: the Pyomo model, and one search of it by one solver.

    max   f_t(x) - f_c(x)
    s.t.  x_i = a_i + p_i - n_i,   sum_i (p_i + n_i) <= delta,   0 <= x_i <= 1,   p, n >= 0

a is an image that the network reads correctly as c, t the class with the second largest logit there, f the logits, p
and n the ink added to and taken from each pixel. The image is misread where the maximum, the margin, is positive.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyomo.environ as pyo
from l1_images import Floats

from omlt_ext import Layer, Network, ReLUBlock

METHODS = ("highs", "auto", "relaxing_walk", "gradient_ascent", "sample_mip")
SLACK = 1e-5  # by which a returned image may exceed the budget


def build(network: Network, image: Floats, delta: float, *, folded: bool = False) -> pyo.ConcreteModel:
    """The model; `folded` hands p and n themselves to the network, behind a linear layer x = a + p - n."""
    m = pyo.ConcreteModel()
    pixels = range(image.size)
    a = image.tolist()
    right, wrong = classes(network, image)
    m.p = pyo.Var(pixels, bounds=lambda m, i: (0.0, min(delta, 1.0 - a[i])))
    m.n = pyo.Var(pixels, bounds=lambda m, i: (0.0, min(delta, a[i])))
    m.budget = pyo.Constraint(expr=sum(m.p.values()) + sum(m.n.values()) <= delta)
    if folded:
        eye = np.eye(image.size)
        moved = Network([Layer(np.hstack([eye, -eye]), image, relu=False), *network.layers])
        m.nn = ReLUBlock(moved, inputs=[*m.p.values(), *m.n.values()])
    else:
        m.x = pyo.Var(pixels, bounds=lambda m, i: (max(0.0, a[i] - delta), min(1.0, a[i] + delta)))
        m.move = pyo.Constraint(pixels, rule=lambda m, i: m.x[i] == a[i] + m.p[i] - m.n[i])
        m.nn = ReLUBlock(network, inputs=m.x)
    m.margin = pyo.Objective(expr=m.nn.outputs[wrong] - m.nn.outputs[right], sense=pyo.maximize)
    return m


def classes(network: Network, image: Floats) -> tuple[int, int]:
    """The class that the network reads, and the second."""
    wrong, right = np.argsort(network(image))[-2:].tolist()
    return right, wrong


def attack(network: Network, image: Floats, delta: float, method: str, limit: float, seed: int) -> dict[str, Any]:
    """What one solver finds; "auto, folded" is `auto` on the folded model.

    Raises `RuntimeError` where the point returned breaks the budget or the box, or has another margin than it claims.
    """
    name, _, form = method.partition(", ")
    m = build(network, image, delta, folded=form == "folded")
    solver = pyo.SolverFactory(f"omlt_ext.{name}")
    begin = time.perf_counter()
    found = solver.solve(m, time_limit=limit, **({} if name == "highs" else {"seed": seed}))
    row: dict[str, Any] = {"method": method, "seconds": round(time.perf_counter() - begin, 2), "limit": limit}
    row |= {"status": str(found.solver.termination_condition), "margin": None, "bound": None, "after": None}
    upper = found.problem.upper_bound
    row |= {"bound": None if upper is None or not np.isfinite(upper) else upper}
    if found.problem.number_of_solutions == 0:
        return row
    after = image + np.array([m.p[i].value - m.n[i].value for i in m.p])
    moved = float(np.abs(after - image).sum())
    if moved > delta + SLACK * max(1.0, delta) or after.min() < -SLACK or after.max() > 1.0 + SLACK:
        raise RuntimeError(
            f"{method}: the image moves {moved} of {delta}, with ink from {after.min()} to {after.max()}"
        )
    right, wrong = classes(network, image)
    logits = network(after)
    margin = float(logits[wrong] - logits[right])
    if abs(margin - pyo.value(m.margin)) > 1e-4 * max(1.0, abs(margin)):
        raise RuntimeError(f"{method}: the network's margin is {margin}, the model's {pyo.value(m.margin)}")
    history = getattr(solver, "history", None)
    points = (
        [] if history is None else history.dropna(subset="value")[["seconds", "value"]].to_numpy().round(5).tolist()
    )
    row |= {"margin": margin, "moved": moved, "after": after.round(6).tolist(), "reads": int(np.argmax(logits))}
    return row | {"history": points[:: max(1, len(points) // 100)]}
