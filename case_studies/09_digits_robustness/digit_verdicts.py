"""One image and the ball around it: the verdict of `verify`, and that of a MILP for each wrong class.

Symbols: a the image, c the class that the network f reads there, r the radius. Wanted is an x with |x - a| <= r and
0 <= x <= 1 that is read otherwise: f_k(x) >= f_c(x) for some k, so that the margin, max_k f_k(x) - f_c(x), is not
negative.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pyomo.environ as pyo

from omlt_ext import Network, ReLUBlock, verify
from omlt_ext.domain import Floats, Polytope
from omlt_ext.verification import Property, confirm, robustness

Norm = Literal["inf", "1"]


def digest(network: Network) -> str:
    """Of the weights: networks that differ have different ones."""
    arrays = [array for layer in network.layers for array in (layer.dense_weight(), layer.bias)]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:12]


def judge(network: Network, image: Floats, radius: float, norm: Norm, method: str, limit: float) -> dict[str, Any]:
    """The verdict of one method, with the counterexample where it found one.

    Raises `KeyboardInterrupt` where the method was interrupted, `RuntimeError` for a counterexample that is none.
    """
    unsafe = robustness(network, image, radius, norm=norm, within=(0.0, 1.0))
    begin = time.perf_counter()
    found = (by_verify if method == "verify" else by_milp)(network, unsafe, limit)
    row: dict[str, Any] = {"method": method, "limit": limit, "digit": int(network(image).argmax())}
    after = found.pop("after")
    row |= found | {"seconds": round(time.perf_counter() - begin, 4)}
    if after is None:
        return row | {"after": None, "reads": None, "margin": None}
    return row | seen(network, image, unsafe, after, radius, norm)


def seen(network: Network, image: Floats, unsafe: Property, after: Floats, radius: float, norm: Norm) -> dict[str, Any]:
    """What the network reads at `after`, computed without the search; `RuntimeError` where it is no counterexample."""
    moved = np.abs(after - image)
    distance = float(moved.sum() if norm == "1" else moved.max())
    logits, right = network(after), int(network(image).argmax())
    others = np.where(np.arange(logits.size) == right, -np.inf, logits)
    margin = float(others.max() - logits[right])
    inside = distance <= radius * (1 + 1e-9) and after.min() >= 0.0 and after.max() <= 1.0
    if not inside or margin < 0.0 or not unsafe.violated(after, logits):
        raise RuntimeError(f"no counterexample: {distance} of {radius} moved, a margin of {margin}")
    return {"after": after.tolist(), "reads": int(others.argmax()), "margin": margin, "moved": distance}


def by_verify(network: Network, unsafe: Property, limit: float) -> dict[str, Any]:
    """One call for all classes."""
    found = verify(network, unsafe, time_limit=limit)
    if found.status == "interrupted":
        raise KeyboardInterrupt
    row = {"verdict": found.verdict, "status": found.status, "nodes": found.nodes, "solver": found.trusts_solver}
    return row | {"after": None if found.counterexample is None else found.counterexample.x}


def by_milp(network: Network, unsafe: Property, limit: float) -> dict[str, Any]:
    """One MILP for each wrong class, is there an x with f_k(x) >= f_c(x), until one has a point.

    The classes nearest to c in the middle of the ball come first; the time limit is for all of them together.
    """
    begin = time.perf_counter()
    middle = network(unsafe.disjuncts[0].box.center)
    order = sorted(range(len(unsafe.disjuncts)), key=lambda k: float(unsafe.disjuncts[k].Gy[0] @ middle))
    row = {"verdict": "unsat", "status": "proved", "nodes": None, "solver": True, "after": None}
    for k in order:
        left = limit - (time.perf_counter() - begin)
        ended = "maxTimeLimit"
        if left > 0.0:
            m = milp(network, unsafe, k)
            with without_warnings():
                found = pyo.SolverFactory("omlt_ext.highs").solve(m, time_limit=left)
            ended = str(found.solver.termination_condition)
            if ended == "userInterrupt":
                raise KeyboardInterrupt
            if found.problem.number_of_solutions:
                confirmed = confirm(network, unsafe, unsafe.point(np.array([x.value for x in m.x.values()])))
                if confirmed is not None:
                    return row | {"verdict": "sat", "status": "confirmed", "solver": False, "after": confirmed.x}
        if ended != "infeasible":
            row |= {"verdict": "unknown", "status": ended}
            if left <= 0.0:
                break
    return row


@contextmanager
def without_warnings() -> Iterator[None]:
    """The solver warns of an infeasible model, which is a proof here."""
    logger = logging.getLogger("omlt_ext")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def milp(network: Network, unsafe: Property, k: int) -> pyo.ConcreteModel:
    """The points of disjunct k: the ball, the network, and f_k >= f_c; the objective is 0."""
    searched, domain, _ = unsafe.searched(network, k)
    box = domain.box if isinstance(domain, Polytope) else domain
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(box.n), bounds=lambda m, i: (float(box.lower[i]), float(box.upper[i])))
    m.rows = pyo.ConstraintList()
    if isinstance(domain, Polytope):
        for a, b in zip(domain.A, domain.b, strict=True):
            m.rows.add(sum(float(a[i]) * m.x[i] for i in m.x) <= float(b))
    m.nn = ReLUBlock(searched, inputs=m.x)
    weights = unsafe.disjuncts[k].Gy[0]
    m.wrong = pyo.Constraint(expr=sum(float(weights[j]) * m.nn.outputs[j] for j in np.flatnonzero(weights)) <= 0.0)
    m.nothing = pyo.Objective(expr=0.0)
    return m
