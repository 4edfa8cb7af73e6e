"""Checks of options: what cannot be is named with its value and with what could be."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from numbers import Integral, Real

from .errors import OptionError

LARGEST = sys.float_info.max


def check_count(name: str, value: object, least: int) -> None:
    """Raise `OptionError` unless the value is a whole number of at least `least`.

    >>> check_count("rounds", 2.5, 1)
    Traceback (most recent call last):
    ...
    omlt_ext.errors.OptionError: rounds is 2.5; it must be a whole number of at least 1
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise OptionError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def check_number(name: str, value: object, *, positive: bool = False, most: float = LARGEST) -> None:
    """Raise `OptionError` unless the value is a number from 0 to `most`, above 0 where it must be `positive`.

    >>> check_number("share", 2.0, most=1.0)
    Traceback (most recent call last):
    ...
    omlt_ext.errors.OptionError: share is 2.0; it must be a number from 0 to 1
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not 0.0 <= number <= most or (positive and number == 0.0):
        says = "above 0" if positive else "of at least 0" if most >= LARGEST else f"from 0 to {most:g}"
        raise OptionError(f"{name} is {value!r}; it must be a number {says}")


def check_flag(name: str, value: object) -> None:
    """Raise `OptionError` unless the value is True or False."""
    if not isinstance(value, bool):
        raise OptionError(f"{name} is {value!r}; it must be True or False")


def check_choice(name: str, value: object, known: Sequence[str]) -> None:
    """Raise `OptionError` unless the value is one of the known words."""
    if not isinstance(value, str) or value not in known:
        raise OptionError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}")
