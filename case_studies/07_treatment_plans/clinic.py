"""What the clinic has: real patients, invented programmes, and a network trained on the patients.

The 442 patients and their ten measurements are scikit-learn's `load_diabetes`, in their own units; what is learned is
the progression of the disease one year later. The programmes, what a session of one changes, its cost and the hours of
staff are invented: the data say how measurements and progression go together, not what a treatment does.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]

MOST = 6  # sessions of one programme for one patient
LEAST = 2  # and no fewer once it has begun
PROGRAMMES_EACH = 3  # for one patient at most
# programme: (price of a session, hours of staff, what a session changes in the units of the data)
PROGRAMMES: dict[str, tuple[float, float, dict[str, float]]] = {
    "diet": (40.0, 0.5, {"bmi": -0.35, "s5": -0.02, "s1": -2.0}),
    "exercise": (30.0, 1.0, {"bmi": -0.2, "bp": -0.9, "s3": 0.9}),
    "blood pressure": (60.0, 0.4, {"bp": -2.5}),
    "lipids": (70.0, 0.3, {"s1": -6.0, "s2": -5.5, "s5": -0.06, "s4": -0.1}),
    "glucose": (55.0, 0.6, {"s6": -1.8, "s5": -0.03}),
}
PRICE_EACH, HOURS_EACH = 200.0, 4.0  # of the budget and of the staff, for each patient there is
FALL = 0.06  # of the predicted progression, that the cheapest plan must reach for every patient


@dataclass(frozen=True, eq=False)
class Clinic:
    """The patients that train the network, those who test it, and which of the tested ones come to the clinic.

    `x` (n, 10) measurements by `names`, `y` (n,) progressions; `patients` (m, 10).
    """

    names: list[str]
    x: Floats
    y: Floats
    tested: tuple[Floats, Floats]
    patients: Floats

    def effects(self) -> Floats:
        """(programmes, 10): what a session of each programme changes."""
        change = np.zeros((len(PROGRAMMES), len(self.names)))
        for row, (_, _, effect) in zip(change, PROGRAMMES.values(), strict=True):
            row[[self.names.index(name) for name in effect]] = list(effect.values())
        return change

    def reach(self, patient: Floats) -> tuple[Floats, Floats]:
        """(lower, upper): what the measurements of a patient can become, never outside what the data hold."""
        change = self.effects()
        low = patient + MOST * np.minimum(change, 0.0).sum(axis=0)
        high = patient + MOST * np.maximum(change, 0.0).sum(axis=0)
        return np.maximum(low, self.x.min(axis=0)), np.minimum(high, self.x.max(axis=0))


def load_clinic(seed: int, patients: int) -> Clinic:
    """Three quarters of the patients train the network; the others test it, and the worst of them come."""
    data = load_diabetes(scaled=False)
    x, x_test, y, y_test = train_test_split(data.data, data.target, random_state=seed)
    inside = ((x_test >= x.min(axis=0)) & (x_test <= x.max(axis=0))).all(axis=1)
    worst = np.flatnonzero(inside)[np.argsort(-y_test[inside])[:patients]]
    return Clinic(list(data.feature_names), x, y, (x_test, y_test), x_test[worst])


def train_network(clinic: Clinic, hidden: tuple[int, ...]) -> Pipeline:
    """The fitted pipeline: a scaler and a ReLU network."""
    network = MLPRegressor(hidden_layer_sizes=hidden, alpha=10.0, learning_rate_init=0.01, max_iter=300, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the penalty is what stops it from learning by heart
        return make_pipeline(StandardScaler(), network).fit(clinic.x, clinic.y)


def r_squared(clinic: Clinic, pipeline: Pipeline) -> dict[str, float]:
    """R2 on the patients held out: of the network, and of a ridge regression."""
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 25))).fit(clinic.x, clinic.y)
    return {"network": float(pipeline.score(*clinic.tested)), "ridge": float(ridge.score(*clinic.tested))}
