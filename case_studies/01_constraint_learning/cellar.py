"""What the blender has: real wines, made-up prices, treatments, and a network trained on the wines.

The 178 wines and their 13 measurements are scikit-learn's `load_wine` (UCI Wine; three cultivars of one Italian
region). Eleven of the measurements are amounts, which add up when wines are poured together: a blend has the average
of its parts. The ratio of the optical densities at 280 and 315 nm does not, so it has to be predicted from the amounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import RepeatedKFold, cross_val_score, train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

RATIO = "od280/od315_of_diluted_wines"
NOT_ADDITIVE = ("hue", RATIO)  # ratios of two readings: the ratio of a blend is not the blend of the ratios

# Everything below, down to MAX_WINES, is invented for the example: the data know no prices and no treatments.
PRICE = (9.0, 6.0, 4.0)  # a litre of cultivar 0, 1, 2, before a spread of up to 25 % from wine to wine
PREMIUM = (1.0, 0.5, 0.5)  # what a litre earns more where the label may name the cultivar
LABEL_SHARE = 0.85  # a label may name a cultivar that makes up at least this share of the bottle
CASK = 0.35  # no wine on offer fills more than this share of the order
LEAST_SHARE = 0.10  # nor is one opened for less
MAX_WINES = 4
# treatment: (price of setting it up, price of a full dose, what a full dose adds), in the units of the data
TREATMENTS: dict[str, tuple[float, float, dict[str, float]]] = {
    "malolactic": (0.10, 0.10, {"malic_acid": -1.0}),
    "tannin": (0.10, 0.30, {"total_phenols": 0.5, "proanthocyanins": 0.6}),
    "skin extract": (0.20, 0.60, {"total_phenols": 0.7, "flavanoids": 0.9, "color_intensity": 1.0}),
    "fining": (0.10, 0.20, {"nonflavanoid_phenols": -0.15, "color_intensity": -0.8}),
}
LEAST_DOSE = 0.2  # of a full dose, where a treatment is used at all
# what the buyer asks of the bottle: (least, most)
SPECIFICATION = {"alcohol": (12.5, 13.5), "color_intensity": (5.0, 8.0)}


@dataclass(frozen=True, eq=False)
class Cellar:
    """`amounts` (n, 11) and `ratio` (n,) of the training wines; `offer`: the rows on sale; `price`, `cultivar` of all."""

    names: list[str]
    amounts: NDArray[np.float64]
    ratio: NDArray[np.float64]
    cultivar: NDArray[np.int64]
    offer: NDArray[np.int64]
    price: NDArray[np.float64]
    held_out: tuple[NDArray[np.float64], NDArray[np.float64]]

    @property
    def effects(self) -> NDArray[np.float64]:
        """What a full dose of each treatment adds: (treatments, 11)."""
        return np.array([[effect.get(name, 0.0) for name in self.names] for _, _, effect in TREATMENTS.values()])


def load_cellar(seed: int, on_offer: int) -> Cellar:
    """Three quarters of the wines train the network, `on_offer` of those are on sale; the rest tests it."""
    data = load_wine()
    additive = [i for i, name in enumerate(data.feature_names) if name not in NOT_ADDITIVE]
    rows = train_test_split(np.arange(len(data.target)), stratify=data.target, random_state=seed)
    train, test = (np.sort(part) for part in rows)
    amounts, ratio = data.data[:, additive], data.data[:, data.feature_names.index(RATIO)]
    rng = np.random.default_rng(seed)
    offer = np.sort(rng.choice(train.size, on_offer, replace=False))
    spread = rng.uniform(0.75, 1.25, train.size)
    price = np.round(np.array(PRICE)[data.target[train]] * spread, 2)
    names = [data.feature_names[i] for i in additive]
    held_out = (amounts[test], ratio[test])
    return Cellar(names, amounts[train], ratio[train], data.target[train], offer, price, held_out)


def train(cellar: Cellar, hidden: tuple[int, ...]) -> tuple[Pipeline, dict[str, float]]:
    """The fitted pipeline (scaler, network) and R2 of it and of a ridge regression, held out and cross-validated."""
    regressor = MLPRegressor(hidden_layer_sizes=hidden, alpha=3.0, solver="lbfgs", max_iter=2000, random_state=0)
    models: dict[str, Any] = {
        "network": make_pipeline(StandardScaler(), regressor),
        "ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 25))),
    }
    folds = RepeatedKFold(n_splits=5, n_repeats=2, random_state=0)
    scores = {}
    for name, model in models.items():
        scores[f"{name}, 5-fold"] = float(cross_val_score(model, cellar.amounts, cellar.ratio, cv=folds).mean())
        scores[f"{name}, held out"] = float(model.fit(cellar.amounts, cellar.ratio).score(*cellar.held_out))
    return models["network"], scores
