"""Numbers on the command line: what argparse takes for its options."""

from __future__ import annotations

import argparse
import math


def finite(text: str) -> float:
    """Return a number that is neither infinite nor NaN.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


def between(text: str, least: float, most: float) -> float:
    """Return a number from `least` to `most`.

    Raises:
        ArgumentTypeError: it is none.
    """
    number = finite(text)
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g}")
    return number


def not_negative(text: str) -> float:
    """Return a number that is 0 or more."""
    number = finite(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return number


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    number = finite(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share, a number from 0 to 1")
    return number
