"""Filling: has a generation computed for the inputs that the archive knows, most used first.

Requests go to the queue as bulk work, a few thousand at a time, so that a pause counts at once and
lookups' own misses pass. What the generation has already is skipped: a filling that was
interrupted goes on where it was. Not for deciding what is live: `embark.generations`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from embark.archive import Archive
from embark.backends import Backends
from embark.codec import Failure
from embark.generations import Generations
from embark.keys import DIGEST_BYTES, Key
from embark.models import Model
from embark.pace import Pace
from embark.queue.base import Lane, Request
from embark.sources import Sources
from embark.store.base import Absent
from embark.usage import read_usage

_CHUNK = 200
_MOST_PENDING = 2000
_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.25
_ASK_AGAIN_SECONDS = 600.0
# The second finds what came during the first; without a bound, failures that expire would go on.
_PASSES = 3

Digests = npt.NDArray[np.void]


@dataclass(frozen=True)
class Progress:
    """How far a filling is.

    Attributes:
        known: inputs that the archive knows.
        done: those of which the generation has a record now.
        failed: of `done`, those that could not be embedded.
        pending: queued and not computed yet.
        forgotten: inputs whose content is not remembered, so that they cannot be computed.
        paused: whether it waits for `embark models fill --resume`.
        retired: whether it has ended because the generation was retired meanwhile.
        still_s: for how long nothing has been computed although something is pending, seconds.
    """

    known: int = 0
    done: int = 0
    failed: int = 0
    pending: int = 0
    forgotten: int = 0
    paused: bool = False
    retired: bool = False
    still_s: float = 0.0


class Filling:
    """One filling of one generation.

    Args:
        backends: archive, ledger and queue; not closed with it.
        model: the generation to fill.
        per_second: most inputs queued in a second; 0 for as fast as they are computed.
        stop: ends it early.
        report: told how far it is, a few times a second.
    """

    def __init__(
        self,
        backends: Backends,
        model: Model,
        *,
        per_second: float,
        stop: threading.Event,
        report: Callable[[Progress], None],
    ) -> None:
        self._archive: Final = Archive(backends.store)
        self._ledger: Final = backends.ledger
        self._queue: Final = backends.queue
        self._sources: Final = Sources(backends.ledger)
        self._generations: Final = Generations(backends.ledger)
        self._model: Final = model
        self._pace: Final = Pace(per_second, stop)
        self._stop: Final = stop
        self._report: Final = report
        self._progress = Progress()
        # Digest → when it was queued, monotonic seconds.
        self._pending: dict[bytes, float] = {}
        self._moved_at = self._looked_at = time.monotonic()

    def run(self) -> Progress:
        """Fill until every known input has a record, those that come meanwhile included.

        Ends early when stopped, and when the generation is retired: consumers drop its requests.

        Raises:
            ArchiveUnavailable, QueueUnavailable: it ended half-way; run it again.
        """
        for _ in range(_PASSES):
            queued = self._pass()
            self._drain(0)
            if not queued or self._ends():
                break
        return self._progress

    def _pass(self) -> int:
        """Go through all known inputs once; returns how many were queued."""
        order = most_used_first(
            self._sources, read_usage(self._ledger, self._model.name), self._model
        )
        self._progress = Progress(known=len(order))
        queued = 0
        for chunk in _chunks(order):
            self._wait_while_paused()
            if self._ends():
                break
            missing = self._settle(chunk)
            self._drain(_MOST_PENDING - len(missing))
            self._pace.wait(len(missing))
            queued += self._queue_chunk(missing)
            self._tell()
        return queued

    def _settle(self, digests: Sequence[bytes]) -> list[bytes]:
        """Count those that have a record; return the others."""
        answers = self._archive.get_many(self._model, digests, _TIMEOUT_SECONDS)
        missing = [
            digest
            for digest, answer in zip(digests, answers, strict=True)
            if isinstance(answer, Absent)
        ]
        failed = sum(isinstance(answer, Failure) for answer in answers)
        self._progress = replace(
            self._progress,
            done=self._progress.done + len(digests) - len(missing),
            failed=self._progress.failed + failed,
        )
        return missing

    def _queue_chunk(self, digests: Sequence[bytes]) -> int:
        name, generation = self._model.name, self._model.generation
        sources = self._sources.get_many(name, digests)
        requests = [
            Request(Key(name, generation, digest), source.item, Lane.BULK)
            for digest, source in zip(digests, sources, strict=True)
            if source is not None and source.item is not None
        ]
        if requests:
            self._queue.put(requests)
        now = time.monotonic()
        if not self._pending:
            self._moved_at = now
        for digest in digests:
            self._pending.pop(digest, None)
        self._pending.update((request.key.digest, now) for request in requests)
        forgotten = self._progress.forgotten + len(digests) - len(requests)
        self._progress = replace(self._progress, forgotten=forgotten)
        return len(requests)

    def _drain(self, most: int) -> None:
        """Return when at most `most` are pending."""
        while not self._ends():
            if time.monotonic() - self._looked_at >= _POLL_SECONDS:
                self._look_for_retirement()
                self._settle_pending()
                self._ask_again()
            self._tell()
            if len(self._pending) <= most:
                return
            self._stop.wait(_POLL_SECONDS)

    def _ask_again(self) -> None:
        """Queue once more what has been pending for so long that it may have been lost."""
        before = time.monotonic() - _ASK_AGAIN_SECONDS
        lost = [digest for digest, at in self._pending.items() if at < before][:_CHUNK]
        if lost:
            self._queue_chunk(lost)

    def _ends(self) -> bool:
        return self._stop.is_set() or self._progress.retired

    def _look_for_retirement(self) -> None:
        retired = self._generations.state(self._model.name).retired
        self._progress = replace(self._progress, retired=self._model.generation in retired)

    def _wait_while_paused(self) -> None:
        while self._model.generation in self._generations.state(self._model.name).paused:
            self._settle_pending()
            self._progress = replace(self._progress, paused=True)
            self._tell()
            if self._stop.wait(_POLL_SECONDS):
                break
        self._progress = replace(self._progress, paused=False)

    def _settle_pending(self) -> None:
        self._looked_at = time.monotonic()
        pending = list(self._pending)
        missing = set(self._settle(pending))
        if len(missing) < len(pending):
            self._moved_at = self._looked_at
        self._pending = {one: at for one, at in self._pending.items() if one in missing}

    def _tell(self) -> None:
        still_s = time.monotonic() - self._moved_at if self._pending else 0.0
        self._progress = replace(self._progress, pending=len(self._pending), still_s=still_s)
        self._report(self._progress)


def most_used_first(sources: Sources, usage: dict[bytes, float], model: Model) -> Digests:
    """Return the digests of all inputs of a model, shape (inputs,), 16 bytes each."""
    packed = bytearray()
    for page in sources.digests(model.name):
        packed += b"".join(page)
    digests = np.frombuffer(bytes(packed), f"V{DIGEST_BYTES}")
    uses = np.fromiter((usage.get(one.tobytes(), 0.0) for one in digests), np.float64, len(digests))
    return digests[np.argsort(-uses, kind="stable")]


def _chunks(order: Digests) -> Iterator[list[bytes]]:
    for start in range(0, len(order), _CHUNK):
        yield [digest.tobytes() for digest in order[start : start + _CHUNK]]
