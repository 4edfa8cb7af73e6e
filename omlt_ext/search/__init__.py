"""Searches over networks and models around them, and what they return."""

from .heuristic import Heuristic, heuristic
from .incumbent import Incumbent
from .maximize import maximize
from .problem import Placed, Problem
from .result import SearchResult

__all__ = ["Heuristic", "Incumbent", "Placed", "Problem", "SearchResult", "heuristic", "maximize"]
