"""What stands around a network in tests of whole models: inputs, of which two may be used, whole lots, a budget."""

import pyomo.environ as pyo


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
