"""Accuracy and recall of each class, and what pruning does to the balance between classes.

Good et al., "Recall Distortion in Neural Network Pruning and the Undecayed Pruning Algorithm", NeurIPS 2022
(arXiv 2206.02976).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..domain import Floats, Ints


@dataclass(frozen=True, eq=False)
class Recall:
    """`accuracy` in [0, 1]; `recall` (classes,): the share of each class's samples that is recognised, NaN without any.

    >>> found = Recall.of(np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]]), np.array([0, 0, 0, 1]))
    >>> found.accuracy, found.recall, found.balance
    (0.5, array([0.66666667, 0.        ]), array([ 0.33333333, -1.        ]))
    """

    accuracy: float
    recall: Floats

    @classmethod
    def of(cls, outputs: Floats, labels: Ints) -> Recall:
        """From outputs (N, classes), the largest of which is the answer, and labels (N,)."""
        right = outputs.argmax(axis=1) == labels
        samples = np.bincount(labels, minlength=outputs.shape[1])
        found = np.bincount(labels[right], minlength=outputs.shape[1])
        recall = np.full(samples.size, np.nan)
        np.divide(found, samples, out=recall, where=samples > 0)
        return cls(float(right.mean()), recall)

    @property
    def balance(self) -> Floats:
        """(classes,): b_c = (recall_c - accuracy) / accuracy, NaN where nothing is recognised."""
        if self.accuracy == 0.0:
            return np.full(self.recall.size, np.nan)
        return (self.recall - self.accuracy) / self.accuracy


def intensification(before: Recall, after: Recall) -> float:
    """alpha of the regression b_after = alpha b_before through the origin: above 1, pruning widens the differences.

    NaN where there is none: all classes were recognised equally well before, or nothing is recognised after.

    >>> intensification(Recall(0.8, np.array([0.9, 0.7])), Recall(0.6, np.array([0.75, 0.45])))
    2.0
    """
    b, a = before.balance, after.balance
    known = np.isfinite(b) & np.isfinite(a)
    squared = float(b[known] @ b[known])
    return round(float(a[known] @ b[known]) / squared, 12) if squared > 0.0 else float("nan")
