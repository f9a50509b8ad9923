"""One generation's index as a process sees it: the newest snapshot, and the tail since.

Not for when a snapshot is made, nor by whom: that is `embark.neighbours.embedded`.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embark.archive import Archive
from embark.models import Model
from embark.neighbours.base import Matrix
from embark.neighbours.snapshot import (
    KEY_BYTES,
    Facts,
    Snapshot,
    is_ahead,
    newest_facts,
    open_newest,
)
from embark.neighbours.tail import Tail
from embark.neighbours.vectors import read_directions
from embark.store import lmdb_journal
from embark.store.lmdb import LmdbStore, space
from embark.store.lmdb_journal import Head

_READ_SECONDS = 5.0
_PAGE = 1000
_EVERYTHING = 2**60
_FOLDED_AT_LEAST = 2000
_FOLDED_SHARE = 0.05
_TAIL_BYTES = 64 * 2**20
_TAILS_KEPT = 4
_SPARE = 16


@dataclass(frozen=True, slots=True)
class Extent:
    """How far an index has come.

    Attributes:
        items: vectors in the snapshot.
        tail: changes since that are searched one by one.
        behind: changes that are not searched yet.
        age_s: how long ago the snapshot was made; 0 if there is none.
    """

    items: int
    tail: int
    behind: int
    age_s: float


@dataclass
class _View:
    """A snapshot and the tail since.

    Attributes:
        upto: number of the first entry of the journal that was not taken in.
        epoch: of the journal.
        is_whole: whether all entries since the snapshot, or the journal's beginning, are there.
    """

    snapshot: Snapshot | None
    tail: Tail
    upto: int
    epoch: bytes
    is_whole: bool

    def continues_to(self, head: Head) -> bool:
        return self.epoch == head.epoch and self.upto <= head.end


class Space:
    """The index of one generation. Safe for many threads.

    Args:
        store: where records and journal are.
        folder: where its snapshots are.
        model: the generation.
    """

    def __init__(self, store: LmdbStore, folder: Path, model: Model) -> None:
        self.model: Final = model
        self.folder: Final = folder
        self._store: Final = store
        self._archive: Final = Archive(store)
        self._records: Final = space(model.name, model.generation)
        self._lock = threading.Lock()
        self._head: Head | None = None
        self._view = _View(None, Tail(model.facts.dimension), 0, b"", is_whole=False)

    @property
    def is_known(self) -> bool:
        """Whether snapshot and tail are all there is; if not, a snapshot must be made first."""
        return self._view.is_whole

    @property
    def extent(self) -> Extent:
        """How far it has come."""
        view, head = self._view, self._head
        facts: Facts | None = None if view.snapshot is None else view.snapshot.facts
        return Extent(
            items=0 if facts is None else facts.items,
            tail=view.tail.changes,
            behind=0 if head is None else max(0, head.end - view.upto),
            age_s=0 if facts is None else max(0.0, time.time() - facts.made_s),
        )

    @property
    def is_due(self) -> bool:
        """Whether a new snapshot is due."""
        extent = self.extent
        return not self.is_known or extent.tail > self._folded_at(extent.items)

    def follow(self, most: int) -> None:
        """Take in up to `most` changes, or a little more.

        Raises:
            ArchiveUnavailable: journal or records cannot be read.
        """
        with self._lock:
            head = self._head = self._read_head()
            if not self._view.continues_to(head):
                self._view = self._open(head)
            if not self._take_in(self._view, head, most):
                self._view = self._open(head)

    def adopt(self) -> None:
        """Go over to a newer snapshot, if there is one; searches go on meanwhile.

        Raises:
            ArchiveUnavailable: journal or records cannot be read.
        """
        head, old = self._read_head(), self._view
        newest = newest_facts(self.folder, head)
        if newest is None or (old.snapshot is not None and newest.upto <= old.snapshot.facts.upto):
            return
        view = self._open(head)
        if view.snapshot is not None and self._take_in(view, head, _EVERYTHING):
            with self._lock:
                self._view = view

    def candidates(self, queries: Matrix, k: int) -> list[list[bytes]]:
        """Return the digests that may be the `k` nearest of each query."""
        with self._lock:
            snapshot = self._view.snapshot
            late = self._view.tail.search(queries, k)
        if snapshot is None:
            return late
        found = snapshot.search(queries, 2 * k + _SPARE)
        return [
            [*self._digests([int(key).to_bytes(KEY_BYTES, "little") for key in keys]), *some]
            for keys, some in zip(found, late, strict=True)
        ]

    def _digests(self, starts: list[bytes]) -> list[bytes]:
        matching = self._store.matching(self.model.name, self.model.generation, starts)
        return [digest for some in matching for digest in some]

    def _read_head(self) -> Head:
        with self._store.transaction() as txn:
            head = lmdb_journal.head(txn, self._store.journal, self._records)
        if head is None:
            with self._store.transaction(write=True) as txn:
                head = lmdb_journal.begin(txn, self._store.journal, self._records)
        return head

    def _begin_anew(self) -> Head:
        """Begin another journal if the archive was put back to an older state."""
        journal = self._store.journal
        with self._store.transaction(write=True) as txn:
            # Now that nobody writes: the journal may have gone on since it was looked at.
            head = lmdb_journal.begin(txn, journal, self._records)
            if is_ahead(self.folder, head):
                lmdb_journal.end(txn, journal, self._records)
                head = lmdb_journal.begin(txn, journal, self._records)
        return head

    def _take_in(self, view: _View, head: Head, most: int) -> bool:
        """Have a view take in changes; returns whether the journal has those that it needs."""
        # What is searched one by one is bounded: beyond, the index is behind until it is folded.
        items = 0 if view.snapshot is None else view.snapshot.facts.items
        limit = _TAILS_KEPT * self._folded_at(items)
        while view.is_whole and most > 0 and view.upto < head.end and view.tail.changes < limit:
            with self._store.transaction() as txn:
                found = lmdb_journal.changes(
                    txn, self._store.journal, self._records, view.upto, _PAGE
                )
            if found is None:
                # Trimmed: it is in a newer snapshot. Without any, all must be read.
                view.is_whole = view.snapshot is not None
                return not view.is_whole
            digests = list(dict.fromkeys(found.digests))
            view.tail.change(
                digests, *read_directions(self._archive, self.model, digests, _READ_SECONDS)
            )
            view.upto = found.upto
            most -= len(found.digests)
        return True

    def _open(self, head: Head) -> _View:
        if is_ahead(self.folder, head):
            head = self._head = self._begin_anew()
        dimension = self.model.facts.dimension
        snapshot = open_newest(self.folder, head, dimension)
        upto = 0 if snapshot is None else snapshot.facts.upto
        is_whole = head.whole or snapshot is not None
        return _View(snapshot, Tail(dimension), upto, head.epoch, is_whole=is_whole)

    def _folded_at(self, items: int) -> int:
        fits = _TAIL_BYTES // (4 * self.model.facts.dimension)
        return max(_FOLDED_AT_LEAST, min(int(items * _FOLDED_SHARE), fits))
