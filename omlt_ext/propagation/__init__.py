"""Bounds without a solver: interval arithmetic, CROWN and dual ascent, rounded outward."""

from .crown import crown
from .dual import dual
from .interval import interval

__all__ = ["crown", "dual", "interval"]
