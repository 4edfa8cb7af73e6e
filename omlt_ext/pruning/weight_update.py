"""How the weights that stay make up for those that go: the systematic update of the Combinatorial Brain Surgeon.

    min over delta of   delta' H delta / 2   where   delta_P = -w_P,   H = G' G / N + damp I

P the weights that go, R those that stay. Its solution is damped least squares, G_R delta_R near G_P w_P:

    (G_R' G_R + N damp I) delta_R = G_R' r   or   delta_R = G_R' (G_R G_R' + N damp I)^-1 r,   r = G_P w_P

the first where R has fewer weights than there are samples, else the second (Woodbury): no matrix has a side longer than
the number N of samples. Equal to (H^-1)_PP lambda = w_P, delta = -H^-1_:P lambda of the source.
Source: Yu, Serra, Ramalingam and Zhe, The Combinatorial Brain Surgeon, ICML 2022 (arXiv 2203.04466).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..domain import Floats
from ..errors import OptionError
from ..network import Bools
from ..propagation.rounding import row_blocks
from .gradients import SampleGradients

BLOCK_BYTES = 2**23  # of columns of G that are multiplied together
SCALES = (1.0, 0.5, 0.25, 0.125, 0.0)  # parts of the update that are tried on the loss itself


class Update:
    """delta_R for any damping, from products of columns of G that are made once.

    `w` (d,) the weights, `keep` (d,) those that stay.

    >>> from omlt_ext import Layer, Network
    >>> from omlt_ext.pruning.data import Data
    >>> from omlt_ext.pruning.weights import Weights
    >>> network = Network([Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> weights = Weights.of(network)
    >>> gradients = SampleGradients.of(weights, network, Data.of([[3.0, 3.0]], network), np.ones((1, 1)))
    >>> Update(gradients, weights.vector, np.array([False, True])).delta(1e-12)  # the inputs are equal
    array([-1.,  1.])
    """

    def __init__(self, gradients: SampleGradients, w: Floats, keep: Bools) -> None:
        self.gradients, self.w, self.keep = gradients, w, keep
        self.stay = np.flatnonzero(keep)
        self.effect = gradients.times(np.where(keep, 0.0, w))
        n = gradients.n_samples
        self._in_weights = self.stay.size < n
        if self._in_weights:
            columns = gradients.columns(self.stay)
            self._products = columns.T @ columns
        else:
            self._products = np.zeros((n, n))
            for some in row_blocks(self.stay.size, n, BLOCK_BYTES):
                columns = gradients.columns(self.stay[some])
                self._products += columns @ columns.T

    def delta(self, damp: float) -> Floats:
        """(d,): -w at the weights that go, the update at those that stay; `damp` > 0."""
        found = np.where(self.keep, 0.0, -self.w)
        if self.stay.size == 0:
            return found
        K = self._products.copy()
        K[np.diag_indices_from(K)] += self.gradients.n_samples * damp
        try:
            factor = cho_factor(K, lower=True, overwrite_a=True)
        except np.linalg.LinAlgError:
            raise OptionError(f"a damping of {damp:.1e} is next to nothing beside the gradients; take more") from None
        if self._in_weights:
            found[self.stay] = cho_solve(factor, self.gradients.back(self.effect)[self.stay])
        else:
            found[self.stay] = self.gradients.back(cho_solve(factor, self.effect))[self.stay]
        return found


def updated(update: Update, damps: tuple[float, ...], loss: Callable[[Floats], float]) -> Floats:
    """w (d,) with the part of an update that has the smallest training loss, for the best of `damps`.

    0.0 where a weight has gone. The quadratic model holds near w only, and where most weights go a full step can leave
    a worse network than no step. The training loss is never above that without update.
    """
    pruned = np.where(update.keep, update.w, 0.0)
    best, least = pruned, np.inf
    for damp in damps:
        step = np.where(update.keep, update.delta(damp), 0.0)
        for scale in SCALES:
            moved = pruned + scale * step
            at = loss(moved)
            if at < least:
                best, least = moved, at
    return best
