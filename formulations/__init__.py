"""ReLU formulations: each turns one layer and its bounds into columns and rows, one file each."""

from .auto import Auto
from .balas import Balas
from .bigm import BigM
from .complementarity import Complementarity
from .cuts import IdealCuts
from .indicator import Indicator
from .partition import Partition
from .psplit import PSplit
from .reduced_space import ReducedSpace
from .smooth import Smooth
from .sos1 import SOS1
from .triangle import TriangleRelaxation

__all__ = [
    "SOS1",
    "Auto",
    "Balas",
    "BigM",
    "Complementarity",
    "IdealCuts",
    "Indicator",
    "PSplit",
    "Partition",
    "ReducedSpace",
    "Smooth",
    "TriangleRelaxation",
]
