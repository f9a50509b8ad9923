"""How soon an input is asked for again: the Kaplan-Meier estimate.

An input first seen a minute before the log ends had only a minute to come back. Kaplan and Meier's
estimator (1958) counts it as not yet back after a minute, and not as one that never comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from embark.fit.trace import Seconds


@dataclass(frozen=True)
class Returns:
    """Distribution of the time from an input's first request to a later event.

    Attributes:
        after_s: times of events, seconds, ascending.
        share: shape of `after_s`: estimated share of inputs that had theirs by then.
    """

    after_s: Seconds = field(repr=False)
    share: Seconds = field(repr=False)

    def within(self, seconds: float) -> float:
        """Return the estimated share of inputs whose event comes within so many seconds."""
        position = int(np.searchsorted(self.after_s, seconds, side="right"))
        return float(self.share[position - 1]) if position else 0.0

    def quantile(self, share: float) -> float | None:
        """Return within how many seconds this share has its event; None: not within the log."""
        position = int(np.searchsorted(self.share, share - 1e-12))
        return float(self.after_s[position]) if position < len(self.after_s) else None


def returns(first: Seconds, event: Seconds, end: float) -> Returns:
    """Estimate the distribution of `event - first`.

    Args:
        first: shape (inputs,), when each was first asked for, seconds.
        event: shape (inputs,), when its event came; infinite if it has not by `end`.
        end: when the log ends.
    """
    happened = np.isfinite(event)
    after, counts = np.unique(event[happened] - first[happened], return_counts=True)
    # Everybody whose own time, to the event or to the end, is not shorter is still at risk.
    until = np.sort(np.where(happened, event, end) - first)
    at_risk = len(until) - np.searchsorted(until, after, side="left")
    share = np.asarray(1 - np.cumprod(1 - counts / at_risk), np.float64)
    return Returns(after, share)
