"""Encoders behind a queue: when each queued input has its vector. Not for running one.

A replica takes what waits, first come first served, at most a batch, and a batch's vectors are
there when it ends. A batch of one takes `latency_s`, a full one `batch / throughput`, those between
lie on the line between. This is what consumers and Triton do, without their noise.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from embark.errors import ConfigurationError
from embark.fit.trace import Seconds


@dataclass(frozen=True)
class Encoders:
    """Replicas of one encoder.

    Attributes:
        throughput: inputs a second that one replica computes in full batches.
        replicas: how many there are.
        batch: most inputs that a replica computes at once.
        latency_s: seconds that a batch of one takes; without it, `1 / throughput`.
        overhead_s: seconds from a miss until an encoder could begin with it.
    """

    throughput: float
    replicas: int = 1
    batch: int = 16
    latency_s: float | None = None
    overhead_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("throughput", "replicas", "batch"):
            if not getattr(self, name) > 0 or not math.isfinite(getattr(self, name)):
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.overhead_s < math.inf:
            raise ConfigurationError(f"overhead is {self.overhead_s} s; it must be 0 or more")
        full = self.batch / self.throughput
        if self.latency_s is not None and not 0 < self.latency_s <= full * (1 + 1e-9):
            raise ConfigurationError(
                f"a batch of one takes {self.latency_s} s, but {self.batch} inputs at"
                f" {self.throughput:g}/s take {full:g} s: give a larger batch, a lower throughput"
                " or a shorter latency"
            )

    @property
    def capacity(self) -> float:
        """Inputs a second that all replicas compute together."""
        return self.throughput * self.replicas

    def batch_seconds(self) -> list[float]:
        """Return how long a batch takes, by its size; entry 0 is unused."""
        single = self.latency_s or 1 / self.throughput
        if self.batch == 1:
            return [0.0, 1 / self.throughput]
        each = (self.batch / self.throughput - single) / (self.batch - 1)
        return [0.0] + [single + each * further for further in range(self.batch)]

    def ready_times(self, asked: Seconds) -> Seconds:
        """Return when the vector of each input can be read.

        Args:
            asked: shape (inputs,), when each was first missed, seconds, ascending.

        Returns:
            Shape (inputs,), seconds.
        """
        arrivals = (asked + self.overhead_s).data
        takes = self.batch_seconds()
        free = [-math.inf] * self.replicas
        sizes: list[int] = []
        ends: list[float] = []
        begin, count = 0, len(arrivals)
        while begin < count:
            starts = max(arrivals[begin], free[0])
            end = bisect_right(arrivals, starts, begin, min(begin + self.batch, count))
            done = starts + takes[end - begin]
            heapq.heapreplace(free, done)
            sizes.append(end - begin)
            ends.append(done)
            begin = end
        return np.repeat(np.array(ends), sizes)


def deepest(asked: Seconds, ready: Seconds) -> int:
    """Return the most inputs that waited or were computed at one time."""
    if not len(asked):
        return 0
    arrived = np.arange(1, len(asked) + 1)
    return int((arrived - np.searchsorted(np.sort(ready), asked, side="right")).max())
