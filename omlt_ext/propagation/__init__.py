"""Bounds without a solver: interval arithmetic and CROWN, rounded outward."""

from .crown import crown
from .interval import interval

__all__ = ["crown", "interval"]
