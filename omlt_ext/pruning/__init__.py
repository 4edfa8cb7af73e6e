"""Sparse copies of a network: which weights go, how the others make up for it, and what that costs.

Symbols: w (d,) all weights of a network, biases apart; g_n the gradient of sample n's loss by w; sparsity the share of
w that becomes 0.
"""

from .data import Data
from .finetune import Finetune
from .fold import fold
from .prune import PrunedNetwork, prune

__all__ = ["Data", "Finetune", "PrunedNetwork", "fold", "prune"]
