"""What pruning has taken away, and what it has cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..domain import Floats
from ..network import Network
from .data import Data
from .method import Method
from .recall import Recall, intensification

COLUMNS = {  # of the table, and what they are called where it is printed
    "neurons_before": "neurons",
    "neurons_after": "after",
    "relus_before": "ReLUs",
    "relus_after": "after",
    "weights_before": "weights",
    "weights_kept": "kept",
    "weights_after": "after",
}


@dataclass(frozen=True, eq=False)
class PruningReport:
    """The dense network and its pruned copy, side by side.

    `method` as text, `sparsity` as asked for, `layers` the table of `to_frame`. What was measured on the samples, None
    where there were none: the mean loss before and after, `error`, the largest difference of an output (|y_j' - y_j|),
    and for classes the recall of each, before and after.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.pruning import prune
    >>> hidden = Layer([[1.0, 0.1], [0.1, 1.0], [0.1, -0.1]], [0.0, 0.0, 0.5], relu=True)
    >>> dense = Network([hidden, Layer([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0]], [0.0, 0.0], relu=False)])
    >>> print(prune(dense, sparsity=0.4, data=([[1.0, 0.0], [0.5, 1.0], [0.0, 0.5]], [0, 1, 1])).report)
    Magnitude(), sparsity 0.4: 10 weights -> 4, 5 neurons -> 4, 3 ReLUs -> 2
       layer  neurons  after  ReLUs  after  weights  kept  after
          0        3     2      3     2        6     2       2
          1        2     2      0     0        4     4       2
      3 samples: loss 0.443 -> 0.42, largest change of an output 0.3
      accuracy 1.0000 -> 1.0000, recall of a class 1.000 to 1.000 -> 1.000 to 1.000, alpha none
    """

    method: str
    sparsity: float
    layers: pd.DataFrame
    samples: int = 0
    loss: tuple[float, float] | None = None
    error: float | None = None
    recall: tuple[Recall, Recall] | None = None

    @property
    def reached(self) -> float:
        """The share of the weights that is 0, before neurons are folded away."""
        before, kept = int(self.layers["weights_before"].sum()), int(self.layers["weights_kept"].sum())
        return 1.0 - kept / before if before else 0.0

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """The share of samples whose class is recognised, before and after."""
        return None if self.recall is None else (self.recall[0].accuracy, self.recall[1].accuracy)

    @property
    def alpha(self) -> float | None:
        """The slope of the balance between classes after over that before; above 1, pruning widens the differences."""
        if self.recall is None:
            return None
        slope = intensification(*self.recall)
        return None if math.isnan(slope) else slope

    def to_frame(self) -> pd.DataFrame:
        """A row for each layer of the dense network: neurons and ReLUs before and after pruning and folding, weights
        that are not 0 before, after pruning ("kept") and after folding."""
        return self.layers.copy()

    def to_dict(self) -> dict[str, Any]:
        """Everything in a form that JSON takes; None for what was not measured or is not defined."""
        found: dict[str, Any] = {"method": self.method, "sparsity": self.sparsity, "reached": self.reached}
        found |= {column: int(self.layers[column].sum()) for column in COLUMNS}
        found |= {"layers": [{str(k): int(v) for k, v in row.items()} for row in self.layers.to_dict("records")]}
        found |= {"samples": self.samples, "error": self.error, "alpha": self.alpha}
        for when, side in enumerate(("before", "after")):
            found[f"loss_{side}"] = None if self.loss is None else self.loss[when]
            found[f"accuracy_{side}"] = None if self.recall is None else self.recall[when].accuracy
            for name in ("recall", "balance"):
                values = None if self.recall is None else getattr(self.recall[when], name)
                found[f"{name}_{side}"] = None if values is None else _listed(values)
        return found

    def __str__(self) -> str:
        total = self.layers[list(COLUMNS)].sum()
        parts = {"weights": "weights", "neurons": "neurons", "relus": "ReLUs"}
        counts = ", ".join(f"{total[f'{key}_before']} {name} -> {total[f'{key}_after']}" for key, name in parts.items())
        shown = self.layers.set_axis(["layer", *COLUMNS.values()], axis=1)
        lines = [f"{self.method}, sparsity {self.sparsity:g}: {counts}"]
        lines += [f"  {line}" for line in shown.to_string(index=False, col_space=5).splitlines()]
        if self.loss is not None:
            before, after = self.loss
            changed = f"largest change of an output {self.error:.3g}"
            lines.append(f"  {self.samples} samples: loss {before:.3g} -> {after:.3g}, {changed}")
        if self.recall is not None:
            sides = [f"{np.nanmin(side.recall):.3f} to {np.nanmax(side.recall):.3f}" for side in self.recall]
            accuracy = " -> ".join(f"{side.accuracy:.4f}" for side in self.recall)
            alpha = "none" if self.alpha is None else f"{self.alpha:.3g}"
            lines.append(f"  accuracy {accuracy}, recall of a class {' -> '.join(sides)}, alpha {alpha}")
        return "\n".join(lines)


def report(
    dense: Network, unfolded: Network, folded: Network, method: Method, sparsity: float, data: Data | None
) -> PruningReport:
    """Counts of the three networks, and what the folded one does on the data against the dense one."""
    layers = _counts(dense, unfolded, folded)
    if data is None:
        return PruningReport(repr(method), sparsity, layers)
    before, after = dense(data.inputs), folded(data.inputs)
    loss = float(data.losses(before).mean()), float(data.losses(after).mean())
    recall = None if data.labels is None else (Recall.of(before, data.labels), Recall.of(after, data.labels))
    error = float(np.abs(after - before).max())
    return PruningReport(repr(method), sparsity, layers, data.n_samples, loss, error, recall)


def _counts(dense: Network, unfolded: Network, folded: Network) -> pd.DataFrame:
    """The table of `to_frame`; a network that was folded to one constant layer has no neurons in the hidden ones."""
    gone = len(dense.layers) - len(folded.layers)
    left = [None] * gone + list(folded.layers)
    rows = []
    for k, (layer, masked, after) in enumerate(zip(dense.layers, unfolded.layers, left, strict=True)):
        neurons, relus, nnz = (after.n_out, int(after.relu.sum()), after.nnz) if after is not None else (0, 0, 0)
        counts = (layer.n_out, neurons, int(layer.relu.sum()), relus, layer.nnz, masked.nnz, nnz)
        rows.append({"layer": k, **dict(zip(COLUMNS, counts, strict=True))})
    return pd.DataFrame(rows)


def _listed(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
