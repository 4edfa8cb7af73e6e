"""Searches over networks and models around them, and what they return."""

from .branch_and_bound import branch_and_bound
from .heuristic import Heuristic, heuristic
from .incumbent import Incumbent
from .maximize import maximize
from .problem import Placed, Problem
from .result import SearchResult

__all__ = ["Heuristic", "Incumbent", "Placed", "Problem", "SearchResult", "branch_and_bound", "heuristic", "maximize"]
