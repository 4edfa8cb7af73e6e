"""Tightening bounds: one entry point, more effort for tighter bounds."""

from .ladder import tighten_bounds

__all__ = ["tighten_bounds"]
