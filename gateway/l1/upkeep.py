"""What goes on in L1 beside lookups: it drops what is invalidated or retired, and warms up.

One thread follows the log of invalidations (`embark.forgotten`) for as long as the process runs;
another reads the most used vectors ahead, and ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from embark.archive import Archive
from embark.errors import ArchiveUnavailable
from embark.following import Following
from embark.forgotten import KEPT_SECONDS, ForgottenReader
from embark.log import Seldom, logger
from embark.metrics import L1_INVALIDATIONS
from embark.models import Catalogue
from embark.store.ledger import Ledger
from gateway.l1.cache import L1
from gateway.l1.prewarming import prewarm

_BLIND_SECONDS = KEPT_SECONDS / 2
# One read of the archive; a thread that reads longer ends with the process.
_CLOSING_SECONDS = 5.0

_log = logger(__name__)


class Upkeep:
    """The upkeep of one process's L1; made before the first lookup. Not made for an L1 that is off.

    Args:
        l1: what is kept up.
        archive: where vectors are.
        ledger: where invalidations and counts of use are.
        following: the models.
        every_s: how often to look for invalidations.
        prewarm_s: how long to warm up; 0 for not at all.
    """

    def __init__(
        self,
        l1: L1,
        archive: Archive,
        ledger: Ledger,
        following: Following,
        *,
        every_s: float,
        prewarm_s: float,
    ) -> None:
        self._l1: Final = l1
        self._ledger: Final = ledger
        self._following: Final = following
        self._every_s: Final = every_s
        self._readers: dict[str, ForgottenReader] = {}
        self._looked_at: dict[str, float] = {}
        self._seldom = Seldom()
        self._closed = threading.Event()
        self._look(following.current)
        self._threads: Final = [threading.Thread(target=self._follow, name="l1", daemon=True)]
        if prewarm_s:
            warm = partial(
                prewarm,
                l1,
                archive,
                ledger,
                following.current,
                seconds=prewarm_s,
                stop=self._closed,
            )
            self._threads.append(threading.Thread(target=warm, name="prewarm", daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; idempotent."""
        self._closed.set()
        deadline = time.monotonic() + _CLOSING_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _follow(self) -> None:
        while not self._closed.wait(self._every_s):
            catalogue = self._following.current
            self._try(partial(self._drop_unserved, catalogue))
            self._look(catalogue)

    def _drop_unserved(self, catalogue: Catalogue) -> None:
        self._l1.keep_only(
            {(name, one.generation) for name in catalogue for one in catalogue.generations(name)}
        )

    def _look(self, catalogue: Catalogue) -> None:
        for name in catalogue:
            self._try(partial(self._look_at, name))

    def _try(self, task: Callable[[], None]) -> None:
        """Whatever is wrong with one model, the others are followed, and the thread goes on."""
        try:
            task()
        except ArchiveUnavailable as error:
            if self._seldom.due():
                _log.warning("invalidations_not_read", reason=error.message)
        except Exception:
            _log.exception("l1_upkeep_failed")

    def _look_at(self, name: str) -> None:
        now = time.monotonic()
        is_blind = now - self._looked_at.setdefault(name, now) > _BLIND_SECONDS
        if is_blind or name not in self._readers:
            # All that is noted is new to it: what was read just before must not stay.
            self._readers[name] = ForgottenReader(self._ledger, name)
        entries = self._readers[name].read()
        if is_blind:
            self._l1.drop(name)
            L1_INVALIDATIONS.labels(dropped="all").inc()
        for entry in entries:
            self._l1.forget(name, entry.generation, entry.digests, entry.noted_ms)
            dropped = "generation" if entry.digests is None else "inputs"
            L1_INVALIDATIONS.labels(dropped=dropped).inc()
        self._looked_at[name] = now
