"""Which impressions find a vector: an archive of one modality in front of its encoders."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embark.fit import Encoders, Trace
from embark.fit.trace import Seconds, sightings

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Hits:
    """Which impressions find what, shape (impressions,).

    Attributes:
        text, image: whether the vector of the item's text is there, and of its picture.
    """

    text: Flags
    image: Flags

    @classmethod
    def all(cls, impressions: int, found: bool) -> Hits:
        """Return that every impression finds both, or neither."""
        both = np.full(impressions, found)
        return cls(both, both)


@dataclass(frozen=True)
class Answers:
    """What the archive answers.

    Attributes:
        hit: shape (requests,): which are answered with a vector.
        computed: inputs that encoders were asked for.
        waits: shape (computed,): seconds until each vector could be read.
    """

    hit: Flags
    computed: int
    waits: Seconds


def answers(trace: Trace, encoders: Encoders, known: Flags) -> Answers:
    """Replay requests.

    Args:
        trace: all requests.
        encoders: compute what is missing, in the order in which it was missed.
        known: shape (numbers,): inputs whose vectors are there from the start.
    """
    first = sightings(trace).first
    missing = np.flatnonzero(np.isfinite(first) & ~known)
    missing = missing[np.argsort(first[missing], kind="stable")]
    readable = np.where(known, -np.inf, np.inf)
    readable[missing] = encoders.ready_times(first[missing])
    hit = trace.times >= readable[trace.inputs]
    return Answers(hit, len(missing), readable[missing] - first[missing])


def flushed(trace: Trace, encoders: Encoders, known: Flags, changes: Seconds) -> Answers:
    """Replay requests with an archive that is emptied at each of `changes`.

    What is queued when a change comes is dropped with the rest: its vectors would be of the old
    model.

    Args:
        trace: all requests.
        encoders: compute what is missing.
        known: shape (numbers,): inputs whose vectors are there until the first change.
        changes: seconds, ascending.
    """
    cuts = [0, *np.searchsorted(trace.times, changes).tolist(), len(trace)]
    parts = []
    for number, (begin, end) in enumerate(itertools.pairwise(cuts)):
        if begin == end:
            continue
        part = Trace(trace.times[begin:end], trace.inputs[begin:end], trace.numbers, 0.0)
        parts.append(answers(part, encoders, known if number == 0 else np.zeros_like(known)))
    return Answers(
        np.concatenate([part.hit for part in parts]),
        sum(part.computed for part in parts),
        np.concatenate([part.waits for part in parts]),
    )
