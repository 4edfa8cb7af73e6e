"""Which weights to prune together: the selection of the Combinatorial Brain Surgeon, by swaps.

    min over P of   F(P) = w_P' H_PP w_P = |G_P w_P|^2 / N + damp |w_P|^2,   H = G' G / N + damp I

where P holds as many weights as are to go: what the quadratic model of the loss grows by (twice, to be exact) where
all w in P become 0 together. With the terms

    alpha_i = 2 w_i (H_iP w_P) - w_i^2 H_ii,   beta_j = 2 w_j (H_jP w_P) + w_j^2 H_jj,   gamma_ij = 2 w_i H_ij w_j

F changes by -alpha_i + beta_j - gamma_ij where i leaves P and j joins it. Neither H nor G is ever formed.
Source: Yu, Serra, Ramalingam and Zhe, The Combinatorial Brain Surgeon, ICML 2022 (arXiv 2203.04466).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..domain import Floats, Ints
from ..network import Bools
from .gradients import SampleGradients

PATIENCE = 5  # passes without a smaller training loss
GAIN = 1e-9  # of F: what a swap must take away


@dataclass(frozen=True, eq=False)
class Selection:
    """F for the weights `w` (d,) of a network, by products with `gradients`.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.pruning.data import Data
    >>> from omlt_ext.pruning.weights import Weights
    >>> network = Network([Layer([[1.0, 2.0, 3.0]], [0.0], relu=False)])
    >>> weights = Weights.of(network)
    >>> data = Data.of([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], network)
    >>> selection = Selection(SampleGradients.of(weights, network, data, np.ones((2, 1))), weights.vector, damp=0.5)
    >>> gone = np.array([True, True, False])
    >>> selection.cost(gone)  # (3^2 + 2^2) / 2 + 0.5 (1 + 4)
    9.0
    """

    gradients: SampleGradients
    w: Floats
    damp: float

    @cached_property
    def own(self) -> Floats:
        """(d,): w_i^2 H_ii."""
        return self.w**2 * (self.gradients.squares() + self.damp)

    def cost(self, gone: Bools) -> float:
        """F(P), P a mask (d,)."""
        part = np.where(gone, self.w, 0.0)
        effect = self.gradients.times(part)
        return float(effect @ effect / self.gradients.n_samples + self.damp * (part @ part))

    def terms(self, gone: Bools) -> tuple[Floats, Floats]:
        """(alpha, beta), both (d,): alpha counts where `gone`, beta elsewhere."""
        part = np.where(gone, self.w, 0.0)
        pull = self.gradients.back(self.gradients.times(part)) / self.gradients.n_samples + self.damp * part
        return 2.0 * self.w * pull - self.own, 2.0 * self.w * pull + self.own

    def effects(self, index: Ints) -> Floats:
        """(N, index.size): columns c_i of G times w_i / sqrt(N): gamma_ij = 2 c_i' c_j for i != j."""
        return self.gradients.columns(index) * (self.w[index] / np.sqrt(self.gradients.n_samples))


def swap(selection: Selection, keep: Bools, group: Ints, window: int) -> Bools:
    """One pass: swaps between the weights that gain most, each the best one there is after those before it.

    `keep` (d,), `group` (d,): swaps stay within a group, and weights of group -1 take no part. Looked at are the
    `window` weights out of P with the largest alpha and as many of the others with the smallest beta, shared out
    between the groups.
    """
    alpha, beta = selection.terms(~keep)
    leave, join = (_promising(score, group, window) for score in (_only(alpha, ~keep), _only(-beta, keep)))
    if leave.size == 0 or join.size == 0:
        return keep
    first, second = selection.effects(leave), selection.effects(join)
    among_leaving, among_joining, between = 2.0 * first.T @ first, 2.0 * second.T @ second, 2.0 * first.T @ second
    change = beta[join] - alpha[leave][:, None] - between
    change[group[leave][:, None] != group[join]] = np.inf
    least, keep = GAIN * selection.cost(~keep), keep.copy()
    for _ in range(min(leave.size, join.size)):
        i, j = divmod(int(change.argmin()), join.size)
        if change[i, j] >= -least:
            break
        keep[leave[i]], keep[join[j]] = True, False
        change += (among_leaving[i] - between[:, j])[:, None]  # alpha falls
        change += among_joining[j] - between[i]  # beta grows
        change[i], change[:, j] = np.inf, np.inf
    return keep


def search(
    selection: Selection,
    keep: Bools,
    group: Ints,
    loss: Callable[[Bools], float],
    *,
    passes: int,
    window: int,
) -> Bools:
    """The weights to keep after passes of `swap` from `keep`: those of the pass with the smallest training loss.

    Ends after `passes`, after a pass without a swap, or after `PATIENCE` passes without a smaller loss.
    """
    best, least, waited = keep, loss(keep), 0
    for _ in range(passes):
        changed = swap(selection, keep, group, window)
        if np.array_equal(changed, keep):
            break
        keep, at = changed, loss(changed)
        waited = 0 if at < least else waited + 1
        if at < least:
            best, least = keep, at
        if waited == PATIENCE:
            break
    return best


def _only(score: Floats, where: Bools) -> Floats:
    return np.where(where, score, -np.inf)


def _promising(score: Floats, group: Ints, window: int) -> Ints:
    """The weights with the largest scores, `window` in all, as many of each group."""
    names = np.unique(group[group >= 0])
    share, found = max(1, window // max(1, names.size)), [np.empty(0, dtype=np.int64)]
    for name in names:
        mine = np.flatnonzero((group == name) & np.isfinite(score))
        found.append(mine[np.argsort(-score[mine], kind="stable")[:share]])
    return np.concatenate(found)
