"""Searches over networks and models around them, one idea a file: they find good points fast."""

from omlt_ext.search import maximize

from .auto import Auto
from .gradient_ascent import GradientAscent, gradient_ascent
from .milp import Milp
from .pruned_surrogate import PrunedSurrogate, pruned_surrogate
from .relaxing_walk import RelaxingWalk, relaxing_walk
from .sample_mip import SampleMip, sample_mip

__all__ = [
    "Auto",
    "GradientAscent",
    "Milp",
    "PrunedSurrogate",
    "RelaxingWalk",
    "SampleMip",
    "gradient_ascent",
    "maximize",
    "pruned_surrogate",
    "relaxing_walk",
    "sample_mip",
]
