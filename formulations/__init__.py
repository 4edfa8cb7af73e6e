"""ReLU formulations: each turns one layer and its bounds into columns and rows, one file each."""

from .bigm import BigM

__all__ = ["BigM"]
