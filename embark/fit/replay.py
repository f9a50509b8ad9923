"""A trace through an archive that is empty at first: which requests are hits, and when.

The first request of an input is out of vocabulary (OOV) and queues it; so are further ones, which
queue nothing (single flight), until its vector is written. From then on it is a hit for ever. Bulk
work does not delay what lookups miss, so it is not in here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from embark.fit.encoders import Encoders, deepest
from embark.fit.trace import Seconds, Sightings, Trace, sightings

Counts = npt.NDArray[np.int64]

_MOST_BINS = 100_000
_WIDTHS_S = (1.0, 10.0, 60.0, 600.0, 3600.0, 86400.0)


@dataclass(frozen=True)
class Bins:
    """Counts of requests by time; bin `k` begins `start + k * width_s`.

    Attributes:
        start: seconds.
        width_s: seconds of a bin.
        requests: shape (bins,): all.
        first_seen: those whose input was never asked for before.
        oov: those that are answered out of vocabulary, the first-seen among them.
    """

    start: float
    width_s: float
    requests: Counts = field(repr=False)
    first_seen: Counts = field(repr=False)
    oov: Counts = field(repr=False)

    def between(self, since: float, until: float) -> slice:
        """Return the bins that begin at these times; at least one."""
        first, last = (
            math.ceil((min(max(time, self.start), self.end) - self.start) / self.width_s - 1e-9)
            for time in (since, until)
        )
        first = min(first, len(self.requests) - 1)
        return slice(first, max(last, first + 1))

    @property
    def end(self) -> float:
        """Where the last bin ends, seconds."""
        return self.start + self.width_s * len(self.requests)


@dataclass(frozen=True)
class Replay:
    """What a cold start at `since` does.

    Attributes:
        seen: when inputs are asked for, from then on.
        order: shape (distinct,): the inputs that have a request, by their first one.
        asked: shape (distinct,): when each input is queued, seconds, ascending.
        ready: shape (distinct,): when its vector can be read.
        first_hit: shape (distinct,): its first hit; infinite if there is none.
        bins: counts by time.
        deepest: most inputs queued or computed at one time.
    """

    seen: Sightings = field(repr=False)
    order: npt.NDArray[np.int64] = field(repr=False)
    asked: Seconds = field(repr=False)
    ready: Seconds = field(repr=False)
    first_hit: Seconds = field(repr=False)
    bins: Bins
    deepest: int


def replay(trace: Trace, encoders: Encoders, since: float | None = None) -> Replay:
    """Replay the requests from the time `since` on; without it, all."""
    start = trace.start if since is None else since
    seen = sightings(trace, start)
    order = np.argsort(seen.first, kind="stable")[: seen.distinct]
    asked = seen.first[order]
    ready = encoders.ready_times(asked)
    readable = np.full(trace.numbers, np.inf)
    readable[order] = ready
    bins, first_hit = _count(trace, start, seen, readable)
    return Replay(seen, order, asked, ready, first_hit[order], bins, deepest(asked, ready))


def _count(trace: Trace, start: float, seen: Sightings, readable: Seconds) -> tuple[Bins, Seconds]:
    length = max(trace.end - start, 0.0)
    width = next((one for one in _WIDTHS_S if length / one < _MOST_BINS), length / (_MOST_BINS - 1))
    count = int(length / width) + 1
    requests, oov = np.zeros(count, np.int64), np.zeros(count, np.int64)
    first_hit = np.full(trace.numbers, np.inf)
    for times, inputs in trace.blocks(start):
        place = _places(times, start, width)
        is_hit = times >= readable[inputs]
        requests += np.bincount(place, minlength=count)
        oov += np.bincount(place[~is_hit], minlength=count)
        _note_first_hits(first_hit, times[is_hit], inputs[is_hit])
    first = _places(seen.first[np.isfinite(seen.first)], start, width)
    first_seen = np.bincount(first, minlength=count)
    return Bins(start, width, requests, first_seen, oov), first_hit


def _note_first_hits(first_hit: Seconds, times: Seconds, inputs: npt.NDArray[np.int32]) -> None:
    """Enter the times of hits, ascending, where none was before."""
    is_new = np.isinf(first_hit[inputs])
    # Of several assignments to one place the last one stays: backwards, that is the earliest.
    first_hit[inputs[is_new][::-1]] = times[is_new][::-1]


def _places(times: Seconds, start: float, width: float) -> npt.NDArray[np.int64]:
    return ((times - start) / width).astype(np.int64)
