"""Checks of options: what is let through, and what the message says of the rest."""

import numpy as np
import pytest

from omlt_ext.errors import OptionError
from omlt_ext.options import check_choice, check_count, check_flag, check_number


@pytest.mark.parametrize("value", [0, 0.0, 2, np.float32(0.5), np.int64(3), 1e308])
def test_numbers(value: object) -> None:
    check_number("gap", value)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "1", None, True, 1j])
def test_no_numbers(value: object) -> None:
    with pytest.raises(OptionError, match=r"gap is .*; it must be a number of at least 0"):
        check_number("gap", value)


def test_ranges_of_numbers() -> None:
    check_number("time_limit", np.inf, most=np.inf)
    check_number("share", 1, most=1.0)
    with pytest.raises(OptionError, match=r"share is 1\.5; it must be a number from 0 to 1"):
        check_number("share", 1.5, most=1.0)
    with pytest.raises(OptionError, match=r"epsilon is 0; it must be a number above 0"):
        check_number("epsilon", 0, positive=True)


@pytest.mark.parametrize("value", [1, 10**20, np.int8(5)])
def test_counts(value: object) -> None:
    check_count("rounds", value, 1)


@pytest.mark.parametrize("value", [0, 1.0, np.float64(2), True, None, "3"])
def test_no_counts(value: object) -> None:
    with pytest.raises(OptionError, match=r"rounds is .*; it must be a whole number of at least 1"):
        check_count("rounds", value, 1)


def test_flags_and_choices() -> None:
    check_flag("mip", False)
    check_choice("xi", "first", ("first", "current"))
    with pytest.raises(OptionError, match="mip is 1; it must be True or False"):
        check_flag("mip", 1)
    for value in ("last", None, ["first"]):
        with pytest.raises(OptionError, match=r"xi is .*; it must be one of 'first', 'current'"):
            check_choice("xi", value, ("first", "current"))
