"""What the blender has: real wines, invented prices and treatments, and a network trained on the wines.

The 178 wines and their 13 measurements are scikit-learn's `load_wine` (UCI Wine: three cultivars of one Italian
region). Eleven of the measurements are amounts, which add up when wines are poured together: a blend has the average
of its parts. The ratio of the optical densities at 280 and 315 nm does not, so it has to be predicted from the amounts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.datasets import load_wine
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import RepeatedKFold, cross_val_score, train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

RATIO = "od280/od315_of_diluted_wines"
NOT_ADDITIVE = ("hue", RATIO)  # ratios of two readings: the ratio of a blend is not the blend of the ratios

# Invented for the example: the data know no prices, no casks and no treatments.
PRICE = (9.0, 6.0, 4.0)  # of a litre of cultivar 0, 1, 2, before a spread of up to 25 % from wine to wine
PREMIUM = (1.0, 0.5, 0.5)  # what a litre earns more where its label names the cultivar
LABEL_SHARE = 0.85  # a label may name a cultivar that makes up at least this share of the blend
CASK = 0.35  # no wine on offer fills more than this share of the order,
LEAST_SHARE = 0.10  # and none is opened for less
MAX_WINES = 4
MAX_TREATMENTS = 2
MIN_DOSE, MAX_DOSE = 0.2, 10.0  # of a treatment that is used, in standard doses
# treatment: (price of setting it up, price of a standard dose, what a standard dose adds in the units of the data)
TREATMENTS: dict[str, tuple[float, float, dict[str, float]]] = {
    "malolactic": (0.10, 0.10, {"malic_acid": -1.0}),
    "tannin": (0.10, 0.15, {"total_phenols": 0.5, "proanthocyanins": 0.6}),
    "skin extract": (0.20, 0.30, {"total_phenols": 0.7, "flavanoids": 0.9, "color_intensity": 1.0}),
    "fining": (0.10, 0.10, {"nonflavanoid_phenols": -0.15, "color_intensity": -0.8}),
}
SPECIFICATION = {"alcohol": (12.5, 13.5), "color_intensity": (5.0, 8.0)}  # the buyer's: (least, most)


@dataclass(frozen=True, eq=False)
class Cellar:
    """The wines that train the network, and which of them are on sale.

    `amounts` (n, 11), `ratio` (n,), `cultivar` (n,) and `price` (n,) a litre; `offer`: the rows on sale; `tested`:
    amounts and ratios of the wines held out of training.
    """

    names: list[str]
    amounts: NDArray[np.float64]
    ratio: NDArray[np.float64]
    cultivar: NDArray[np.int64]
    price: NDArray[np.float64]
    offer: list[int]
    tested: tuple[NDArray[np.float64], NDArray[np.float64]]

    def distance(self, amounts: NDArray[np.float64]) -> float:
        """Distance of a composition from the convex hull of the wines, each amount in its standard deviations."""
        scale = self.amounts.std(axis=0)
        sum_to_one = 1e4  # weight of the row sum(weights) = 1 in the least-squares problem
        rows = np.vstack([self.amounts.T / scale[:, None], np.full(len(self.amounts), sum_to_one)])
        return float(nnls(rows, np.append(amounts / scale, sum_to_one))[1])


def load_cellar(seed: int, on_offer: int) -> Cellar:
    """Three quarters of the wines train the network, `on_offer` of those are on sale; the others test it."""
    data = load_wine()
    additive = [i for i, name in enumerate(data.feature_names) if name not in NOT_ADDITIVE]
    amounts, ratio = data.data[:, additive], data.data[:, data.feature_names.index(RATIO)]
    split = train_test_split(np.arange(len(ratio)), stratify=data.target, random_state=seed)
    train, test = (np.sort(rows) for rows in split)
    rng = np.random.default_rng(seed)
    cultivar = data.target[train]
    return Cellar(
        names=[data.feature_names[i] for i in additive],
        amounts=amounts[train],
        ratio=ratio[train],
        cultivar=cultivar,
        price=np.round(np.array(PRICE)[cultivar] * rng.uniform(0.75, 1.25, cultivar.size), 2),
        offer=np.sort(rng.choice(cultivar.size, on_offer, replace=False)).tolist(),
        tested=(amounts[test], ratio[test]),
    )


def train_network(cellar: Cellar, hidden: tuple[int, ...]) -> Pipeline:
    """The fitted pipeline: a scaler and a ReLU network."""
    network = MLPRegressor(hidden_layer_sizes=hidden, alpha=5.0, solver="lbfgs", max_iter=2000, random_state=0)
    return make_pipeline(StandardScaler(), network).fit(cellar.amounts, cellar.ratio)


def r_squared(cellar: Cellar, pipeline: Pipeline) -> dict[str, float]:
    """R2 of the network and of a ridge regression: on the wines held out, and cross-validated.

    Cross-validation uses all wines, 5 folds twice over, so that its figure hangs less on one lucky split.
    """
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 25))).fit(cellar.amounts, cellar.ratio)
    everything = np.vstack([cellar.amounts, cellar.tested[0]]), np.append(cellar.ratio, cellar.tested[1])
    folds = RepeatedKFold(n_splits=5, n_repeats=2, random_state=1)
    r2 = {}
    for name, model in (("network", pipeline), ("ridge", ridge)):
        r2[f"{name}, held out"] = float(model.score(*cellar.tested))
        r2[f"{name}, cross-validated"] = float(cross_val_score(model, *everything, cv=folds).mean())
    return r2
