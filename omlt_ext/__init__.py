"""Trained ReLU networks inside optimisation models: solved on open solvers, checked against the network."""

from .bounds import Bounds
from .domain import Box
from .errors import OmltExtError
from .network import Layer, Network

__version__ = "0.1.0"
__all__ = ["Bounds", "Box", "Layer", "Network", "OmltExtError", "__version__"]
