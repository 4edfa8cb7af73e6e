"""How many weights each layer keeps at extreme sparsity: one ranking, equal shares, or the bound on linear regions.

Networks trained on scikit-learn's digits, 64 pixels as they are and 784 scaled up, are pruned by magnitude in one step,
and then fine-tuned for a few epochs. All weights of `total` count towards the sparsity. `hidden` counts as in arXiv
2301.07966: the sparsity is that of the hidden layers, and the output layer stays whole. Accuracies in per cent are on
images that were not learned from. "equal before the output" has the output's part of `regions` and equal shares in the
other layers: "better" and "worse" count the seeds on which a rule beats it, or loses, after fine-tuning.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from networks import trained_digits
from record import Tables, spread
from tqdm.auto import tqdm

from omlt_ext import Network
from omlt_ext.domain import Floats, Ints
from omlt_ext.pruning import prune
from omlt_ext.pruning.densities import region_densities
from omlt_ext.pruning.finetune import Finetune
from omlt_ext.pruning.weights import Weights
from omlt_ext.regions import log_region_bound

TRAINED = 1500  # images that `trained_digits` learns from
SEEDS = 5
TOTAL = (0.95, 0.98, 0.99, 0.995)
HIDDEN = (0.99, 0.995, 0.998, 0.999)
EPOCHS = 15
RATE = 0.05
BASE = "equal before the output"

Samples = tuple[Floats, Ints]


def main(*, small: bool = False) -> Tables:
    hidden = (12, 12) if small else (100, 100)
    sides = (8,) if small else (8, 28)
    rows = []
    cases = [(side, seed) for side in sides for seed in range(1 if small else SEEDS)]
    for side, seed in tqdm(cases, desc="densities", unit="network"):
        network, _ = trained_digits(hidden, side=side, seed=seed)
        learned, test = digits(side)
        name = "-".join(str(n) for n in (network.n_inputs, *(layer.n_out for layer in network.layers)))
        for counted, sparsities in (("total", TOTAL), ("hidden", HIDDEN)):
            if counted == "hidden" and side != sides[-1]:
                continue  # fewer weights would stay than the smaller network has inputs
            for sparsity in sparsities[:1] if small else sparsities:
                about = {"counted": counted, "network": name, "sparsity": sparsity, "seed": seed}
                for rule, shares in rules(network, counted, sparsity).items():
                    rows.append(about | measured(network, rule, shares, learned, test, 1 if small else EPOCHS))
    table = pd.DataFrame(rows)
    return {counted: summary(part) for counted, part in table.groupby("counted", sort=False)}


def digits(side: int) -> tuple[Samples, Samples]:
    """The images and labels that `trained_digits` learns from, and the others."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grid = np.arange(side) * 8 // side
    images = (images / 16).reshape(-1, 8, 8)[:, grid][:, :, grid].reshape(-1, side * side)
    return (images[:TRAINED], labels[:TRAINED]), (images[TRAINED:], labels[TRAINED:])


def rules(network: Network, counted: str, sparsity: float) -> dict[str, Floats]:
    """The shares that each rule keeps of the layers' weights."""
    if counted == "hidden":
        before = Network(network.layers[:-1])
        shares = {BASE: equal(before, sparsity), "ranking": ranking(before, sparsity)}
        shares["regions"] = np.array(region_densities(before, sparsity))
        return {rule: np.append(found, 1.0) for rule, found in shares.items()}
    regions = np.array(region_densities(network, sparsity))
    sizes = np.array([layer.nnz for layer in network.layers])
    alike = regions.copy()
    alike[:-1] = (regions[:-1] @ sizes[:-1]) / sizes[:-1].sum()
    found = {"equal": equal(network, sparsity), "ranking": ranking(network, sparsity)}
    return found | {BASE: alike, "regions": regions}


def equal(network: Network, sparsity: float) -> Floats:
    return np.full(len(network.layers), 1.0 - sparsity)


def ranking(network: Network, sparsity: float) -> Floats:
    """The shares that one ranking of all weights by magnitude leaves."""
    weights = Weights.of(network)
    sizes = np.abs(weights.vector)
    stays = np.zeros(sizes.size, dtype=bool)
    stays[np.argsort(-sizes, kind="stable")[: sizes.size - round(sparsity * sizes.size)]] = True
    return np.array([stays[part].mean() for part in weights.slices])


def measured(
    network: Network, rule: str, shares: Floats, learned: Samples, test: Samples, epochs: int
) -> dict[str, object]:
    pruned = prune(network, densities=shares)
    tuned = prune(network, densities=shares, data=learned, finetune=Finetune(epochs=epochs, learning_rate=RATE))
    kept = {f"share of layer {k} %": 100 * share for k, share in enumerate(shares.tolist())}
    accuracies = {"dense %": network, "pruned %": pruned.network, "tuned %": tuned.network}
    found = {title: accuracy(each, test) for title, each in accuracies.items()}
    return {"rule": rule, **found, "ln R": log_region_bound(network, shares), **kept, "ReLUs": pruned.network.n_relus}


def accuracy(network: Network, test: Samples) -> float:
    return 100.0 * float((network(test[0]).argmax(axis=1) == test[1]).mean())


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds, the range after fine-tuning, and the seeds on which a rule beats `BASE`."""
    case = ["network", "sparsity"]
    against = rows[rows["rule"] == BASE].set_index([*case, "seed"])["tuned %"].rename("base %")
    rows = rows.join(against, on=[*case, "seed"])
    gain = rows["tuned %"] - rows["base %"]
    rows = rows.assign(better=gain > 0, worse=gain < 0)
    groups = rows.groupby([*case, "rule"], sort=False)
    shown = ["dense %", "pruned %", "tuned %", "ln R", "ReLUs", *(name for name in rows if name.startswith("share"))]
    table = groups[shown].mean().join(groups[["better", "worse"]].sum())
    table.insert(3, "spread", groups["tuned %"].apply(spread))
    return table.reset_index()
