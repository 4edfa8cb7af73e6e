"""Trained ReLU networks inside optimisation models: solved on open solvers, checked against the network."""

from . import pyomo_cuts, pyomo_exact, pyomo_heuristics, pyomo_pruning, pyomo_solver, pyomo_tightening  # register
from .block import ReLUBlock
from .bounds import Bounds
from .domain import Box, Polytope
from .errors import OmltExtError
from .network import Layer, Network
from .readers import load_network
from .search.branch_and_bound import branch_and_bound
from .tightening import Effort, tighten_bounds
from .verification import verify

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
    "branch_and_bound",
    "load_network",
    "pyomo_cuts",
    "pyomo_exact",
    "pyomo_heuristics",
    "pyomo_pruning",
    "pyomo_solver",
    "pyomo_tightening",
    "tighten_bounds",
    "verify",
]
