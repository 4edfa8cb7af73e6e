"""Linear regions of a network: how many there can be."""

from .region_bound import log_region_bound, region_bound

__all__ = ["log_region_bound", "region_bound"]
