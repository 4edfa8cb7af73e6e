"""Solvers behind one small seam: arrays in; status, value, dual bound and point out."""

from .highs import HighsSolver, SolveResult, lowered

__all__ = ["HighsSolver", "SolveResult", "lowered"]
