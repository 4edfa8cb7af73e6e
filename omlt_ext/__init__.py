"""Trained ReLU networks inside optimisation models: solved on open solvers, checked against the network."""

from . import (  # register solvers and transformations
    pyomo_cuts,
    pyomo_heuristics,
    pyomo_pruning,
    pyomo_solver,
    pyomo_tightening,
)
from .block import ReLUBlock
from .bounds import Bounds
from .domain import Box, Polytope
from .errors import OmltExtError
from .network import Layer, Network
from .readers import load_network
from .tightening import Effort, tighten_bounds

__version__ = "0.1.0"
__all__ = [
    "Bounds",
    "Box",
    "Effort",
    "Layer",
    "Network",
    "OmltExtError",
    "Polytope",
    "ReLUBlock",
    "__version__",
    "load_network",
    "pyomo_cuts",
    "pyomo_heuristics",
    "pyomo_pruning",
    "pyomo_solver",
    "pyomo_tightening",
    "tighten_bounds",
]
