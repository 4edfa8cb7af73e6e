"""Solvers behind one small seam: arrays in; status, value, dual bound and point out."""

from .choice import open_solver
from .highs import HighsSolver
from .seam import BASIC, LOWER, UPPER, Solver, SolveResult, States, Watch, lowered, raised

__all__ = [
    "BASIC",
    "LOWER",
    "UPPER",
    "HighsSolver",
    "SolveResult",
    "Solver",
    "States",
    "Watch",
    "lowered",
    "open_solver",
    "raised",
]
