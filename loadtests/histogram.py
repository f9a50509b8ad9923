"""Durations in buckets of 0.4 %: percentiles at any count, and adding up over processes.

Locust rounds its response times to two digits, which a limit of 50 ms cannot be judged by.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

_FINE_BITS = 8  # buckets of a power of two: 256


class Histogram:
    """Counts of durations, in milliseconds, from 1 µs up."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = (), longest_ms: float = 0.0) -> None:
        self._buckets: Counter[int] = Counter(dict(pairs))
        self._longest_ms = longest_ms

    def __len__(self) -> int:
        return self._buckets.total()

    @property
    def longest_ms(self) -> float:
        """The longest duration, exact."""
        return self._longest_ms

    def add(self, duration_ms: float) -> None:
        """Count a duration; a negative one counts as none."""
        self._buckets[_bucket(duration_ms)] += 1
        self._longest_ms = max(self._longest_ms, duration_ms)

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        self._buckets.update(other._buckets)
        self._longest_ms = max(self._longest_ms, other._longest_ms)

    def percentile(self, percent: float) -> float:
        """Return the duration that `percent` of all do not exceed, at most 0.4 % above it.

        NaN when nothing was counted.
        """
        wanted = max(1, math.ceil(len(self) * percent / 100))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_upper_ms(bucket), self._longest_ms)
        return math.nan

    def to_data(self) -> list[object]:
        """Return what `from_data` reads, of types that every encoding has."""
        return [self._longest_ms, [list(pair) for pair in sorted(self._buckets.items())]]

    @classmethod
    def from_data(cls, data: list[object]) -> Histogram:
        """Read what `to_data` wrote."""
        longest_ms, pairs = data
        assert isinstance(longest_ms, float) and isinstance(pairs, list)
        return cls(((bucket, count) for bucket, count in pairs), longest_ms)


def needed(percent: float) -> int:
    """Return how many durations a percentile needs so that at least one lies beyond it."""
    return math.ceil(round(100 / (100 - percent), 6))


def _bucket(duration_ms: float) -> int:
    micros = max(0, math.ceil(duration_ms * 1000))
    shift = max(0, micros.bit_length() - _FINE_BITS - 1)
    return (shift << (_FINE_BITS + 1)) + (micros >> shift)


def _upper_ms(bucket: int) -> float:
    shift, fine = divmod(bucket, 1 << (_FINE_BITS + 1))
    return (((fine + 1) << shift) - 1) / 1000
