"""Bounds without a solver: interval arithmetic, CROWN and dual ascent, rounded outward."""

from .crown import crown
from .dual import dual, dual_rows
from .interval import interval
from .split import split_rows

__all__ = ["crown", "dual", "dual_rows", "interval", "split_rows"]
