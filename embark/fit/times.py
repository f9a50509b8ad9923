"""Times in logs: ISO 8601, or seconds, milliseconds or microseconds as a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone

TimeParser = Callable[[str], float]


def _iso(text: str) -> float:
    """Return seconds since 1970 of an ISO 8601 time; without an offset it is in UTC."""
    # Python 3.10 does not know Z.
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "Zz" else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def _milliseconds(text: str) -> float:
    return float(text) / 1e3


def _microseconds(text: str) -> float:
    return float(text) / 1e6


UNITS: dict[str, TimeParser] = {
    "iso": _iso,
    "s": float,
    "ms": _milliseconds,
    "us": _microseconds,
}
# Seconds reach this in the year 5138, milliseconds since 1970 passed it in 1973.
_FIRST_MILLISECOND = 1e11
_FIRST_MICROSECOND = 1e14


def unit_of(text: str) -> str:
    """Return the unit that a log's first time is written in: a key of `UNITS`.

    Raises:
        ValueError: it is no time.
    """
    try:
        number = float(text)
    except ValueError:
        _iso(text)
        return "iso"
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not finite")
    if abs(number) < _FIRST_MILLISECOND:
        return "s"
    return "ms" if abs(number) < _FIRST_MICROSECOND else "us"
