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
