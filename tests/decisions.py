"""Whole models for tests: inputs, of which two may be used, whole lots and a budget; and two networks in a chain."""

import pyomo.environ as pyo

from omlt_ext import Network, ReLUBlock


def decisions(budget: float) -> pyo.ConcreteModel:
    """The variables x, chosen and lots, and the constraints on them; networks and an objective are to be added."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(4), bounds=(0, 2))
    model.chosen = pyo.Var(range(4), domain=pyo.Binary)
    model.lots = pyo.Var(domain=pyo.NonNegativeIntegers, bounds=(0, 5))
    model.link = pyo.Constraint(range(4), rule=lambda m, i: m.x[i] <= 2 * m.chosen[i])
    model.few = pyo.Constraint(expr=sum(model.chosen[i] for i in range(4)) <= 2)
    model.budget = pyo.Constraint(expr=(1.0, sum(model.x[i] for i in range(4)) + 0.5 * model.lots, budget))
    return model


def chain(first: Network, second: Network) -> pyo.ConcreteModel:
    """Two inputs; `second` reads the two outputs of `first` and an input; a row between outputs of both."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.first = ReLUBlock(first, inputs=model.x)
    model.second = ReLUBlock(second, inputs=[*model.first.outputs.values(), model.x[0]])
    model.low = pyo.Constraint(expr=model.first.outputs[0] <= model.second.outputs[0] + 1)
    model.cost = pyo.Objective(expr=model.second.outputs[0] - model.x[1])
    return model
