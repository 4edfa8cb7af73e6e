"""Searches over networks and what they return."""

from .result import SearchResult

__all__ = ["SearchResult"]
