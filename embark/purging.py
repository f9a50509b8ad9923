"""Purging: removes every record of a generation that is no longer served, at a bounded pace.

Beside traffic: lookups and consumers go on. What a consumer had in hand when the generation was
retired may be written after the scan; another purge removes it. Not for Cassandra's table of the
generation's neighbours, which stays, empty: docs/neighbours.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from embark.pace import Pace
from embark.store.base import Store


def purge(
    store: Store,
    model: str,
    generation: str,
    *,
    per_second: float,
    stop: threading.Event,
    report: Callable[[int], None],
) -> int:
    """Forget all records of a generation; returns how many. Interrupted, it goes on when run again.

    Args:
        store: the archive's store.
        model: public model name.
        generation: which is to go.
        per_second: most records in a second; 0 for as fast as it goes.
        stop: ends it early.
        report: told how many are forgotten so far.

    Raises:
        ArchiveUnavailable: it ended half-way.
    """
    pace, forgotten = Pace(per_second, stop), 0
    for page in store.digests(model, generation):
        pace.wait(len(page))
        if stop.is_set():
            break
        store.delete_many(model, generation, page)
        forgotten += len(page)
        report(forgotten)
    return forgotten
