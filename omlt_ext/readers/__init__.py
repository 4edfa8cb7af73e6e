"""Readers: each turns one source into a `Network` and checks the result against the source's own evaluator."""

from .load import load_network

__all__ = ["load_network"]
