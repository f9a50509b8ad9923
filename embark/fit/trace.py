"""Requests in the order of time: when, and for which input. Not for reading files (`reading`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int32]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Trace:
    """Requests, one input each. The arrays may lie in a file; `blocks` reads them piece by piece.

    Attributes:
        times: shape (requests,), seconds, ascending.
        inputs: shape (requests,), int32: the number of each request's input.
        numbers: inputs are numbered from 0 to below this; some numbers may be without a request.
        mean_bytes: mean length of the inputs.
    """

    times: Seconds = field(repr=False)
    inputs: Numbers = field(repr=False)
    numbers: int
    mean_bytes: float

    def __len__(self) -> int:
        return len(self.times)

    @property
    def start(self) -> float:
        """Time of the first request, seconds."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """Time of the last request, seconds."""
        return float(self.times[-1])

    @property
    def duration(self) -> float:
        """Seconds from the first request to the last; at least one millisecond."""
        return max(self.end - self.start, 1e-3)

    def blocks(self, since: float = -np.inf) -> Iterator[tuple[Seconds, Numbers]]:
        """Yield times and inputs of the requests from `since` on, at most a million at once."""
        first = int(np.searchsorted(self.times, since))
        for begin in range(first, len(self), _BLOCK):
            end = begin + _BLOCK
            yield np.asarray(self.times[begin:end]), np.asarray(self.inputs[begin:end])


@dataclass(frozen=True)
class Sightings:
    """When each input was asked for.

    Attributes:
        first: shape (numbers,), seconds of the first request; infinite for inputs without one.
        second: the same of the second request.
    """

    first: Seconds
    second: Seconds

    @property
    def distinct(self) -> int:
        """How many inputs have a request."""
        return int(np.isfinite(self.first).sum())

    @property
    def once(self) -> int:
        """How many inputs have exactly one request."""
        return self.distinct - int(np.isfinite(self.second).sum())


def sightings(trace: Trace, since: float = -np.inf) -> Sightings:
    """Return when each input was first and next asked for, from the time `since` on."""
    first = np.full(trace.numbers, np.inf)
    second = np.full(trace.numbers, np.inf)
    for times, inputs in trace.blocks(since):
        order = np.argsort(inputs, kind="stable")
        sorted_inputs, sorted_times = inputs[order], times[order]
        begins = np.flatnonzero(np.r_[True, sorted_inputs[1:] != sorted_inputs[:-1]])
        seen, earliest = sorted_inputs[begins], sorted_times[begins]
        sizes = np.diff(np.r_[begins, len(inputs)])
        following = np.where(sizes > 1, sorted_times[begins + (sizes > 1)], np.inf)

        is_new = np.isinf(first[seen])
        second[seen] = np.minimum(second[seen], np.where(is_new, following, earliest))
        first[seen[is_new]] = earliest[is_new]
    return Sightings(first, second)
