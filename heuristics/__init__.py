"""Searches over a trained network that are quick to call: each finds a good point, one file each."""

from .maximize import maximize

__all__ = ["maximize"]
