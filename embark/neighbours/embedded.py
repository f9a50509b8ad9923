"""Neighbours on the embedded profile: HNSW snapshots beside LMDB, and what changed since.

    a write ─ record and journal entry, one transaction ─→ archive
    a search ─ graph of the snapshot ┐
             └ vectors of the tail ──┴→ candidates → records → exact cosines
    now and then ─ a process folds the tail into a new snapshot, and trims the journal

Writers do nothing but append to the journal. A process that searches follows the journal and looks
for new snapshots once a second, in a thread of its own. Nothing here is needed to restart: the
journal is in the archive, and a snapshot that is missing or damaged is made again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from embark.archive import Archive
from embark.errors import ArchiveUnavailable, Unavailable
from embark.log import Seldom, logger
from embark.metrics import (
    NEIGHBOURS_AGE,
    NEIGHBOURS_BEHIND,
    NEIGHBOURS_BUILDS,
    NEIGHBOURS_ITEMS,
    NEIGHBOURS_TAIL,
    SHARED_FOLDER,
)
from embark.models import Model
from embark.neighbours.base import Matrix, Near, directions
from embark.neighbours.building import BUSY, Order, locked
from embark.neighbours.exact import exact_nearest
from embark.neighbours.rebuilding import FOLDER
from embark.neighbours.space import Space
from embark.neighbours.vectors import rank
from embark.store import lmdb_journal
from embark.store.lmdb import LmdbStore, space

_EVERY_SECONDS = 1.0
_AT_ONCE = 2000
_ALL = 2**60
_TIDIED_SECONDS = 60.0
_AFTER_FAILURE_SECONDS = 30.0
_END_SECONDS = 5.0

Served = Callable[[], Iterable[Model]]

_log = logger(__name__)


class EmbeddedNeighbours:
    """See `Neighbours`.

    Args:
        store: the archive.
        served: returns the generations of which snapshots are made.
        builds: whether this process has snapshots made when they are due.
    """

    def __init__(self, store: LmdbStore, served: Served, *, builds: bool = True) -> None:
        self._store: Final = store
        self._archive: Final = Archive(store)
        self._served: Final = served
        self._builder: Final = _Builder(store) if builds else None
        self._spaces: Final[dict[tuple[str, str], Space]] = {}
        self._lock = threading.Lock()
        self._tidies_at = 0.0
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="neighbours", daemon=True)
        self._keeper.start()

    def nearest(self, model: Model, queries: Matrix, k: int, timeout_s: float) -> list[list[Near]]:
        """See `Neighbours.nearest`. While there is no index yet, every vector is compared."""
        if self._closed.is_set():
            raise Unavailable("the index of neighbours is closed", code="neighbours_closed")
        one = self._space(model)
        one.follow(_AT_ONCE)
        if not one.is_known:
            return self._without_index(model, queries, k, timeout_s)
        asked = directions(queries)
        found = one.candidates(asked, k)
        return rank(self._archive, model, asked, found, k=k, timeout_s=timeout_s)

    def close(self) -> None:
        """See `Neighbours.close`."""
        self._closed.set()
        self._keeper.join()
        if self._builder is not None:
            self._builder.close()

    def _without_index(
        self, model: Model, queries: Matrix, k: int, timeout_s: float
    ) -> list[list[Near]]:
        try:
            return exact_nearest(self._archive, model, queries, k, timeout_s)
        except ArchiveUnavailable:
            raise
        except Unavailable:
            raise Unavailable(
                f"the index of {model.name}'s neighbours is being made; try again in some minutes",
                code="neighbours_in_the_making",
            ) from None

    def _space(self, model: Model) -> Space:
        name = (model.name, model.generation)
        with self._lock:
            found = self._spaces.get(name)
            if found is None:
                folder = self._store.folder / FOLDER / model.name / model.generation
                found = self._spaces[name] = Space(self._store, folder, model)
            return found

    def _keep(self) -> None:
        seldom = Seldom()
        while not self._closed.wait(_EVERY_SECONDS):
            try:
                self._follow([*self._served()])
            except Exception as error:
                # Whatever is wrong, this thread must not end.
                if seldom.due():
                    _log.error("neighbours_not_followed", reason=str(error))

    def _follow(self, served: Sequence[Model]) -> None:
        for model in served:
            one = self._space(model)
            one.adopt()
            one.follow(_ALL)
            _report(one)
            if self._builder is not None and one.is_due:
                self._builder.want(one)
        if self._builder is not None:
            self._builder.turn()
        self._forget({(model.name, model.generation) for model in served})
        if served and self._builder is not None and time.monotonic() > self._tidies_at:
            self._tidies_at = time.monotonic() + _TIDIED_SECONDS
            self._tidy({space(model.name, model.generation) for model in served})

    def _forget(self, served: set[tuple[str, str]]) -> None:
        """Let go of generations that are served no more."""
        for name in set(self._spaces) - served:
            with self._lock:
                gone = self._spaces.pop(name)
            if self._builder is not None and served:
                shutil.rmtree(gone.folder, ignore_errors=True)

    def _tidy(self, served: set[bytes]) -> None:
        """End the journals of generations that are not served: nobody folds them."""
        journal = self._store.journal
        with self._store.transaction() as txn:
            unread = set(lmdb_journal.spaces(txn, journal)) - served
        for records in unread:
            with self._store.transaction(write=True) as txn:
                lmdb_journal.end(txn, journal, records)


class _Builder:
    """Starts the process that makes a snapshot, one at a time. Not safe for threads."""

    def __init__(self, store: LmdbStore) -> None:
        self._store: Final = store
        self._wanted: Final[dict[Path, Space]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._rests_until = 0.0

    def want(self, one: Space) -> None:
        self._wanted[one.folder] = one

    def turn(self) -> None:
        """See how the process does; start the next one if it has ended."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._end(status)
        if self._wanted and time.monotonic() >= self._rests_until:
            _, wanted = self._wanted.popitem()
            with locked(wanted.folder) as free:
                pass
            if free:
                self._start(wanted)

    def close(self) -> None:
        """End the process; what it was making is begun again some time."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
            self._process.kill()
            self._process.wait()

    def _start(self, wanted: Space) -> None:
        order = Order(
            archive=self._store.folder.absolute(),
            max_bytes=self._store.max_bytes,
            folder=wanted.folder.absolute(),
            model=wanted.model.facts,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "embark.neighbours.building"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=None,
            env={name: value for name, value in os.environ.items() if name != SHARED_FOLDER},
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as order_pipe:
            order_pipe.write(order.model_dump_json().encode())

    def _end(self, status: int) -> None:
        self._process = None
        if status == BUSY:
            return
        NEIGHBOURS_BUILDS.labels(outcome="failed" if status else "made").inc()
        if status:
            _log.error("neighbours_not_made", status=status)
            self._rests_until = time.monotonic() + _AFTER_FAILURE_SECONDS


def _report(one: Space) -> None:
    labels = {"model": one.model.name, "generation": one.model.generation}
    extent = one.extent
    NEIGHBOURS_ITEMS.labels(**labels).set(extent.items)
    NEIGHBOURS_TAIL.labels(**labels).set(extent.tail)
    NEIGHBOURS_BEHIND.labels(**labels).set(extent.behind)
    NEIGHBOURS_AGE.labels(**labels).set(extent.age_s)
