"""Accuracy of pruned networks on images that were not learned from: method by method, one step or many, fine-tuned.

64-100-100-10 on scikit-learn's digits, another split and another start for each seed; trained by SGD whose steps get
smaller, with weight decay, so that it almost comes to rest, and by scikit-learn's Adam, which does not. `methods`: one
step, nothing trained afterwards. "against magnitude" is the difference of the mean accuracies, "as good" counts the
seeds where the accuracy is at least that of magnitude. "alpha" is the regression of the balance between classes after
on that before, over the classes of all seeds (above 1: pruning widens the differences). `steps`: the first training
only, as many epochs of fine-tuning in all whether they come after one step or are shared among many.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
from networks import default_init
from record import Tables
from tqdm.auto import tqdm

from omlt_ext import Layer, Network
from omlt_ext.pruning import Data, prune
from omlt_ext.pruning.cbs import CBS
from omlt_ext.pruning.finetune import Finetune
from omlt_ext.pruning.method import Method
from omlt_ext.pruning.report import PruningReport
from omlt_ext.pruning.undecayed import Undecayed

SEEDS = 5
LEARNED = 1200  # of 1797 images
SPARSITIES = (0.8, 0.9, 0.95, 0.98)
DECAY = 5e-4
RATES = {0.05: 60, 0.01: 40, 0.001: 20}  # learning rate: epochs
STEPS = 5
GRADUAL = (0.95, 0.98)  # sparsities that are reached in steps, too
EPOCHS = 20
TUNED = ("magnitude", "undecayed", "CBS")
Row = dict[str, object]


def main(*, small: bool = False) -> Tables:
    rows: list[Row] = []
    steps: list[Row] = []
    seeds, sparsities = (range(1), GRADUAL[:1]) if small else (range(SEEDS), SPARSITIES)
    cases = [(training, seed) for training in ("SGD", "Adam") for seed in seeds]
    for training, seed in tqdm(cases, desc="pruning", unit="network"):
        data, test = digits(seed)
        dense, decay = trained(training, data, (8, 8) if small else (100, 100), seed)
        for sparsity in sparsities:
            about: Row = {"training": training, "sparsity": sparsity, "seed": seed}
            for name, (method, scope) in methods(decay).items():
                begin = time.perf_counter()
                found = prune(dense, method, sparsity, data, scope=scope, test=test, seed=seed).report
                rows.append(about | {"method": name, "seconds": time.perf_counter() - begin} | measured(found))
            if training != "SGD" or sparsity not in GRADUAL:
                continue
            for name in TUNED:
                for plan, finetune in plans(2 if small else EPOCHS):
                    steps_taken = STEPS if "steps" in plan else 1
                    method, scope = methods(decay)[name]
                    options = {"steps": steps_taken, "finetune": finetune, "test": test, "seed": seed}
                    found = prune(dense, method, sparsity, data, scope=scope, **options).report
                    steps.append(about | {"method": name, "plan": plan} | measured(found))
    found = pd.DataFrame(rows)
    return {"methods": by_method(found), "steps": by_plan(pd.DataFrame(steps))}


def methods(decay: float) -> dict[str, tuple[str | Method, str]]:
    return {
        "magnitude": ("magnitude", "global"),
        "magnitude, each layer": ("magnitude", "layer"),
        "gradient": ("gradient", "global"),
        "undecayed, decay of the training": (Undecayed(decay), "global"),
        "undecayed": ("undecayed", "global"),
        "CBS, selection": (CBS(update=False), "global"),
        "CBS": ("cbs", "global"),
    }


def plans(epochs: int) -> list[tuple[str, Finetune | None]]:
    """Names of plans and what is trained after each step; the epochs of all steps together are the same."""
    share = max(1, epochs // STEPS)
    return [
        ("1 step", None),
        (f"{STEPS} steps", None),
        ("1 step, fine-tuned", Finetune(epochs, 0.01)),
        (f"{STEPS} steps, fine-tuned", Finetune(share, 0.01)),
        (f"{STEPS} steps, fine-tuned, rewound", Finetune(share, 0.01, rewind=True)),
    ]


def digits(seed: int) -> tuple[Data, Data]:
    """Images to learn from, and the others."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    whole, order = Data(images / 16, labels=labels), np.random.default_rng(seed).permutation(len(labels))
    return whole.take(order[:LEARNED]), whole.take(order[LEARNED:])


def trained(training: str, data: Data, hidden: tuple[int, ...], seed: int) -> tuple[Network, float]:
    """(network, the weight decay that it was trained with, for a mean loss + decay/2 |w|^2)."""
    if training == "SGD":
        network, rng = default_init((64, *hidden, 10), seed), np.random.default_rng(seed)
        for rate, epochs in RATES.items():
            network = Finetune(epochs, rate, decay=DECAY).run(network, data, rng)
        return network, DECAY
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(hidden, max_iter=100, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not trained to the end
        model.fit(data.inputs, data.labels)
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    network = Network([Layer(W.T, b, relu=k < len(layers) - 1) for k, (W, b) in enumerate(layers)])
    return network, model.alpha / min(200, data.n_samples)  # scikit-learn's decay is alpha / samples of a batch


def measured(report: PruningReport) -> Row:
    assert report.recall is not None
    before, after = report.recall
    found: Row = {"dense": before.accuracy, "accuracy": after.accuracy, "least recall": np.nanmin(after.recall)}
    return found | {"before": before.balance, "after": after.balance}


def by_method(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each training, sparsity and method."""
    table = []
    for about, part in rows.groupby(["training", "sparsity", "method"], sort=False):
        same = (rows["training"] == about[0]) & (rows["sparsity"] == about[1])
        base = rows[same & (rows["method"] == "magnitude")].set_index("seed")["accuracy"]
        accuracy = part.set_index("seed")["accuracy"]
        b, a = np.concatenate(list(part["before"])), np.concatenate(list(part["after"]))
        line: Row = dict(zip(("training", "sparsity", "method"), about, strict=True))
        line |= {"dense": part["dense"].mean(), "accuracy": accuracy.mean()}
        line |= {"least": accuracy.min(), "most": accuracy.max(), "against magnitude": (accuracy - base).mean()}
        line |= {"as good": int((accuracy >= base).sum()), "seeds": len(part)}
        line |= {"least recall": part["least recall"].mean(), "alpha": a @ b / (b @ b)}
        table.append(line | {"seconds": part["seconds"].mean()})
    return pd.DataFrame(table)


def by_plan(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracies: a line for each sparsity and plan, a column for each method."""
    means = rows.groupby(["sparsity", "plan", "method"], sort=False)["accuracy"].mean()
    return means.unstack()[list(TUNED)].reset_index().rename_axis(columns=None)
