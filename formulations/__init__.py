"""ReLU formulations: each turns one layer and its bounds into columns and rows, one file each."""

from .bigm import BigM
from .complementarity import Complementarity
from .indicator import Indicator
from .sos1 import SOS1

__all__ = ["SOS1", "BigM", "Complementarity", "Indicator"]
