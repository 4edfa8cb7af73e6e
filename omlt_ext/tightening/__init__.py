"""Tightening bounds: one entry point, more effort for tighter bounds."""

from .effort import Effort
from .ladder import tighten_bounds
from .mixed import tighten_mixed

__all__ = ["Effort", "tighten_bounds", "tighten_mixed"]
