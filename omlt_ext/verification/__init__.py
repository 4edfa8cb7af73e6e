"""Verification: properties of a network, VNN-LIB files, and counterexamples that the original file confirms.

A property states what a counterexample is: a point x of its domain whose outputs y = f(x) satisfy linear rows.
"""

from .ball import L1Ball
from .counterexample import Counterexample, confirm
from .property import Disjunct, Property
from .robustness import robustness
from .verdict import Verdict
from .verify import verify
from .vnnlib import parse_vnnlib, read_vnnlib
from .vnnlib_text import write_vnnlib

__all__ = [
    "Counterexample",
    "Disjunct",
    "L1Ball",
    "Property",
    "Verdict",
    "confirm",
    "parse_vnnlib",
    "read_vnnlib",
    "robustness",
    "verify",
    "write_vnnlib",
]
