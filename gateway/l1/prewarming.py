"""Warming up: a process that starts reads the vectors that were asked most, while it serves.

Bounded in time and in memory, and for most of the time it waits, so that lookups are not held up.
A generation that was promoted a moment ago is not warmed: its vectors come with the first lookups.
"""

from __future__ import annotations

import heapq
import threading
import time
from functools import partial

from embark.archive import Archive
from embark.errors import ArchiveUnavailable
from embark.log import logger
from embark.metrics import L1_PREWARMED
from embark.models import Catalogue
from embark.store.ledger import Ledger
from embark.usage import read_usage
from gateway.l1.cache import L1
from gateway.l1.keeping import keep

_AT_ONCE = 100
_TIMEOUT_SECONDS = 2.0
# Enough to tell what is used most; all of a week's would take long to add up.
_LATEST_WINDOWS = 64

_log = logger(__name__)


def prewarm(
    l1: L1,
    archive: Archive,
    ledger: Ledger,
    catalogue: Catalogue,
    *,
    seconds: float,
    stop: threading.Event,
) -> None:
    """Fill L1 with the most used vectors of the live generations.

    Args:
        l1: to be filled.
        archive: where vectors are.
        ledger: where counts of use are.
        catalogue: the models; each gets an equal share of the memory and of the time.
        seconds: how long it may take.
        stop: ends it early.
    """
    started = time.monotonic()
    count = 0
    try:
        for number, model in enumerate(catalogue.values(), 1):
            # What one model leaves of its time, the next ones have.
            is_over = partial(_is_over, stop, started + seconds * number / len(catalogue))
            usage = read_usage(ledger, model.name, _LATEST_WINDOWS, is_over)
            most = l1.room(model) // len(catalogue)
            digests = heapq.nlargest(most, usage, key=usage.__getitem__)
            for start in range(0, len(digests), _AT_ONCE):
                if is_over():
                    break
                began = time.monotonic()
                chunk = digests[start : start + _AT_ONCE]
                kept = keep(l1, model, chunk, archive.get_many(model, chunk, _TIMEOUT_SECONDS))
                L1_PREWARMED.labels(model=model.name).inc(kept)
                count += kept
                stop.wait(time.monotonic() - began)
    except ArchiveUnavailable as error:
        _log.warning("prewarming_ended", reason=error.message)
    finally:
        _log.info("prewarmed", vectors=count, seconds=round(time.monotonic() - started, 2))


def _is_over(stop: threading.Event, ends: float) -> bool:
    return stop.is_set() or time.monotonic() > ends
