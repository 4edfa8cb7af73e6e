"""Searches over a trained network, one file each: find good points fast."""

from omlt_ext.search import maximize

from .auto import Auto
from .milp import Milp

__all__ = ["Auto", "Milp", "maximize"]
