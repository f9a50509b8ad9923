"""How many distinct inputs there will be beyond the log: two extrapolations, and how good they are.

Heaps' law, `distinct = scale * requests ** exponent`, is what a fixed catalogue of unequal
popularity shows while its rare items turn up. A catalogue that grows steadily goes on as the last
quarter of the log did. The truth is mostly between; both are tried on the half of the log that they
did not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from embark.fit.replay import Bins
from embark.fit.trace import Seconds

_POINTS = 64
_TAIL = 0.75
_LEAST_BINS = 8


class Law(Protocol):
    """Distinct inputs as a function of requests."""

    @property
    def name(self) -> str:
        """For people."""

    def distinct(self, requests: float) -> float:
        """Return the number of distinct inputs among so many requests."""

    def new_share(self, requests: float) -> float:
        """Return the share of first-seen inputs among requests, after so many."""


@dataclass(frozen=True)
class Heaps:
    """`distinct = scale * requests ** exponent`."""

    scale: float
    exponent: float
    name: str = "heaps"

    @classmethod
    def fitted(cls, requests: Seconds, distinct: Seconds) -> Heaps:
        """Fit to the last nine tenths of cumulative counts: least squares of logarithms."""
        targets = np.geomspace(max(requests[0], requests[-1] / 10), requests[-1], _POINTS)
        chosen = np.unique(np.searchsorted(requests, targets).clip(max=len(requests) - 1))
        if len(chosen) < 2:
            return cls(float(distinct[-1] / requests[-1]), 1.0)
        exponent, logarithm = np.polyfit(np.log(requests[chosen]), np.log(distinct[chosen]), 1)
        return cls(float(np.exp(logarithm)), float(exponent))

    def distinct(self, requests: float) -> float:
        """See `Law`."""
        return float(self.scale * requests**self.exponent)

    def new_share(self, requests: float) -> float:
        """See `Law`."""
        return min(1.0, float(self.scale * self.exponent * requests ** (self.exponent - 1)))


@dataclass(frozen=True)
class Steady:
    """From `known` inputs at `requests` on, `share` of all further requests are of new ones."""

    requests: float
    known: float
    share: float
    name: str = "steady"

    @classmethod
    def fitted(cls, requests: Seconds, distinct: Seconds) -> Steady:
        """Take the share of the last quarter of requests, from cumulative counts."""
        tail = min(int(np.searchsorted(requests, requests[-1] * _TAIL)), len(requests) - 2)
        if tail < 0:
            return cls(float(requests[-1]), float(distinct[-1]), float(distinct[-1] / requests[-1]))
        share = (distinct[-1] - distinct[tail]) / (requests[-1] - requests[tail])
        return cls(float(requests[-1]), float(distinct[-1]), float(share))

    def distinct(self, requests: float) -> float:
        """See `Law`."""
        return self.known + self.share * (requests - self.requests)

    def new_share(self, requests: float) -> float:
        """See `Law`."""
        return self.share


@dataclass(frozen=True)
class Extrapolation:
    """A law fitted to a log.

    Attributes:
        law: fitted to all of it.
        error: relative error of the distinct inputs at its end, when fitted to the first half of
            the requests: +0.1 is 10 % too many. None: the log has too few bins to tell.
    """

    law: Law
    error: float | None


def extrapolations(bins: Bins) -> tuple[Extrapolation, Extrapolation]:
    """Return Heaps' law and steady growth, fitted to a log."""
    occupied = bins.requests > 0
    requests = np.cumsum(bins.requests[occupied]).astype(np.float64)
    distinct = np.cumsum(bins.first_seen[occupied]).astype(np.float64)
    half = int(np.searchsorted(requests, requests[-1] / 2)) + 1

    def tried(fit: type[Heaps] | type[Steady]) -> Extrapolation:
        law = fit.fitted(requests, distinct)
        if half < _LEAST_BINS:
            return Extrapolation(law, None)
        promised = fit.fitted(requests[:half], distinct[:half]).distinct(requests[-1])
        return Extrapolation(law, float(promised / distinct[-1] - 1))

    return tried(Heaps), tried(Steady)
