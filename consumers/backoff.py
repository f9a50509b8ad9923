"""When to try again: exponential back-off with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random


def delay_s(attempt: int, base_s: float, max_s: float, rng: random.Random) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 1) has failed.

    Uniform between half of and the whole of min(max_s, base_s * 2 ** (attempt - 1)), so that a
    burst that failed together does not come back together.
    """
    ceiling = min(max_s, base_s * 2.0 ** min(attempt - 1, 60))
    return ceiling * rng.uniform(0.5, 1.0)
