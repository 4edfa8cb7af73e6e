"""The clinic's three questions as Pyomo models, and one solver's answer to one of them.

s_pt  sessions of programme t for patient p, whole: 0, or from LEAST to MOST where u_pt = 1
x_p   = patient p + sum_t s_pt effect_t,  within what the data hold;      y_p = network(x_p), the progression

total     min  sum_p y_p                                       within budget and staff
fairest   max  r   where  y_p <= (1 - r) y_p(before)           within budget and staff
cheapest  min  price   where  y_p <= (1 - FALL) y_p(before)    within staff
"""

from __future__ import annotations

import time
from typing import Any

import clinic as world
import numpy as np
import pyomo.environ as pyo
from clinic import Clinic, Floats

from omlt_ext import Network, ReLUBlock

QUESTIONS = {"total": pyo.minimize, "fairest": pyo.maximize, "cheapest": pyo.minimize}
METHODS = ("highs", "auto", "relaxing_walk", "gradient_ascent", "sample_mip")
TOLERANCE = 1e-4  # of the rules, worked out again from the sessions alone


def build(clinic: Clinic, network: Network, question: str) -> pyo.ConcreteModel:
    """The model of one question; the network reads every patient's measurements after the programmes."""
    m = pyo.ConcreteModel()
    programmes, patients = list(world.PROGRAMMES), range(len(clinic.patients))
    before = network(clinic.patients)[:, 0].tolist()
    price = {t: world.PROGRAMMES[t][0] for t in programmes}
    hours = {t: world.PROGRAMMES[t][1] for t in programmes}

    m.sessions = pyo.Var(patients, programmes, domain=pyo.Integers, bounds=(0, world.MOST))
    m.used = pyo.Var(patients, programmes, domain=pyo.Binary)
    pairs = patients, programmes
    m.most = pyo.Constraint(*pairs, rule=lambda m, p, t: m.sessions[p, t] <= world.MOST * m.used[p, t])
    m.least = pyo.Constraint(*pairs, rule=lambda m, p, t: m.sessions[p, t] >= world.LEAST * m.used[p, t])
    m.few = pyo.Constraint(patients, rule=lambda m, p: sum(m.used[p, :]) <= world.PROGRAMMES_EACH)
    m.staff = pyo.Constraint(
        expr=sum(hours[t] * m.sessions[p, t] for p in patients for t in programmes)
        <= world.HOURS_EACH * len(clinic.patients)
    )
    m.price = pyo.Expression(expr=sum(price[t] * m.sessions[p, t] for p in patients for t in programmes))
    if question != "cheapest":
        m.budget = pyo.Constraint(expr=m.price <= world.PRICE_EACH * len(clinic.patients))

    # What the programmes make of the measurements, and what the network says to that.
    effects, features = clinic.effects(), range(len(clinic.names))
    reach = [clinic.reach(patient) for patient in clinic.patients]
    m.x = pyo.Var(patients, features, bounds=lambda m, p, j: (reach[p][0][j].item(), reach[p][1][j].item()))

    @m.Constraint(patients, features)
    def change(m, p, j):
        added = sum(effects[k, j].item() * m.sessions[p, t] for k, t in enumerate(programmes) if effects[k, j])
        return m.x[p, j] == clinic.patients[p, j].item() + added

    m.nn = pyo.Block(patients)
    for p in patients:
        m.nn[p].net = ReLUBlock(network, inputs=[m.x[p, j] for j in features])
    y = [m.nn[p].net.outputs[0] for p in patients]

    if question == "total":
        m.goal = pyo.Objective(expr=sum(y))
    elif question == "fairest":
        m.fall = pyo.Var(bounds=(0, 1))
        m.falls = pyo.Constraint(patients, rule=lambda m, p: y[p] <= before[p] - before[p] * m.fall)
        m.goal = pyo.Objective(expr=m.fall, sense=pyo.maximize)
    else:
        m.falls = pyo.Constraint(patients, rule=lambda m, p: y[p] <= (1.0 - world.FALL) * before[p])
        m.goal = pyo.Objective(expr=m.price)
    return m


def answer(clinic: Clinic, network: Network, question: str, method: str, limit: float) -> dict[str, Any]:
    """What one solver finds; `RuntimeError` where its plan breaks a rule or has another value than it claims."""
    m = build(clinic, network, question)
    solver = pyo.SolverFactory(f"omlt_ext.{method}")
    begin = time.perf_counter()
    found = solver.solve(m, time_limit=limit)
    row: dict[str, Any] = {"question": question, "method": method, "limit": limit, "value": None}
    row |= {"seconds": round(time.perf_counter() - begin, 2), "status": str(found.solver.termination_condition)}
    bound = found.problem.upper_bound if QUESTIONS[question] == pyo.maximize else found.problem.lower_bound
    row |= {"bound": float(bound) if bound is not None and np.isfinite(bound) else None}
    if found.problem.number_of_solutions == 0:
        return row | {"sessions": None, "history": []}
    n, programmes = len(clinic.patients), list(world.PROGRAMMES)
    sessions = np.array([[m.sessions[p, t].value for t in programmes] for p in range(n)])
    row |= {"value": float(pyo.value(m.goal)), "sessions": sessions.round().astype(int).tolist()}
    broken = broken_rules(clinic, network, question, sessions.round(), row["value"])
    if broken or np.abs(sessions - sessions.round()).max() > TOLERANCE:
        raise RuntimeError(f"{question}, {method}: the plan breaks {', '.join(broken) or 'whole numbers'}")
    history = getattr(solver, "history", None)
    columns = ["seconds", "value"]
    points = [] if history is None else history.dropna(subset="value")[columns].to_numpy().tolist()
    return row | {"history": points}


def broken_rules(clinic: Clinic, network: Network, question: str, sessions: Floats, value: float) -> list[str]:
    """The rules that a plan (patients, programmes) breaks, worked out from the sessions alone; none if all is well."""
    n = len(clinic.patients)
    price, hours = (np.array([row[k] for row in world.PROGRAMMES.values()]) for k in (0, 1))
    after = clinic.patients + sessions @ clinic.effects()
    y, before = network(after)[:, 0], network(clinic.patients)[:, 0]
    cost = float(sessions.sum(axis=0) @ price)
    value_of = {"total": float(y.sum()), "fairest": float((1.0 - y / before).min()), "cheapest": cost}
    wanted = {"fairest": value, "cheapest": world.FALL}.get(question)
    slack = TOLERANCE * np.abs(before).max()
    rules = {
        "the number of sessions": bool(np.isin(sessions, [0, *range(world.LEAST, world.MOST + 1)]).all()),
        "the number of programmes": bool(((sessions > 0).sum(axis=1) <= world.PROGRAMMES_EACH).all()),
        "the hours of staff": sessions.sum(axis=0) @ hours <= world.HOURS_EACH * n + TOLERANCE,
        "the budget": question == "cheapest" or cost <= world.PRICE_EACH * n + TOLERANCE,
        "the range of the data": bool(
            ((after >= clinic.x.min(axis=0) - 1e-3) & (after <= clinic.x.max(axis=0) + 1e-3)).all()
        ),
        "the fall": wanted is None or bool((y <= (1.0 - wanted) * before + slack).all()),
        "its value": abs(value - value_of[question]) <= TOLERANCE * max(1.0, abs(value)),
    }
    return [name for name, kept in rules.items() if not kept]
