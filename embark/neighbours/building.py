"""Makes snapshots: `python -m embark.neighbours.building`, a short-lived process with one order.

A process of its own, since making a large graph takes memory and processor time that lookups
need; it runs at low priority. One at a time works on a generation, whoever ordered it: the others
find its lock and do nothing. Killed at any moment, it leaves the last snapshot and the journal as
they were.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict
from usearch.index import Index

from embark.archive import Archive
from embark.errors import EmbArkError
from embark.models import Model, ModelFacts
from embark.neighbours import snapshot
from embark.neighbours.base import Matrix
from embark.neighbours.snapshot import Facts
from embark.neighbours.vectors import read_directions
from embark.store import lmdb_journal
from embark.store.lmdb import LmdbStore, space

BUSY: Final = 3
"""Exit status: another process works on the generation."""

_LOCK_FILE = ".lock"
_NICENESS = 10
_PAGE = 1000
_PAGE_SECONDS = 30.0
_TRIMMED_AT_ONCE = 1000
# A graph from which many were taken out finds less: then it is made from nothing.
_MOST_REMOVED = 0.2

Report = Callable[[int], None]


class Order(BaseModel):
    """What to make, as JSON on the process's standard input.

    Attributes:
        archive: folder of the embedded archive.
        max_bytes: bound of its file.
        folder: where the generation's snapshots are.
        model: the generation.
        threads: how many add vectors at once.
    """

    model_config = ConfigDict(frozen=True)

    archive: Path
    max_bytes: int
    folder: Path
    model: ModelFacts
    threads: int = 1


def build(
    store: LmdbStore,
    folder: Path,
    model: Model,
    threads: int = 1,
    report: Report = lambda done: None,
) -> Facts | None:
    """Make a snapshot of a generation as it is now, from the last one if there is one.

    Args:
        store: where records and journal are.
        folder: where the generation's snapshots are.
        model: the generation.
        threads: how many add vectors at once.
        report: told how many vectors were looked at so far.

    Returns:
        What was made; None if another process is making one.

    Raises:
        ArchiveUnavailable: the archive cannot be read.
    """
    with locked(folder) as mine:
        if not mine:
            return None
        made = _Making(store, model, threads, report).make(folder)
        _trim(store, model, made.before)
        return made


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a generation's snapshots, if nobody has it; it ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


class _Making:
    """One snapshot in the making."""

    def __init__(self, store: LmdbStore, model: Model, threads: int, report: Report) -> None:
        self._store: Final = store
        self._archive: Final = Archive(store)
        self._model: Final = model
        self._threads: Final = threads
        self._report: Final = report
        self._done = 0
        self._removed = 0

    def make(self, folder: Path) -> Facts:
        store, records = self._store, space(self._model.name, self._model.generation)
        with store.transaction(write=True) as txn:
            head = lmdb_journal.begin(txn, store.journal, records)
        last = snapshot.newest_facts(folder, head)
        graph = None
        if last is not None and last.removed <= _MOST_REMOVED * last.items:
            graph = self._continued(folder, last, head.end)
        if graph is None:
            self._removed = 0
            graph = self._from_nothing()
        before = 0 if last is None else last.upto
        return snapshot.save(folder, graph, head, before, self._removed)

    def _from_nothing(self) -> Index:
        graph = snapshot.new_graph(self._model.facts.dimension)
        for page in self._store.digests(self._model.name, self._model.generation):
            self._change(graph, page)
        return graph

    def _continued(self, folder: Path, last: Facts, end: int) -> Index | None:
        """Return the last snapshot's graph with what changed since; None if that is not known."""
        graph = snapshot.load_graph(folder, last)
        if graph is None:
            return None
        self._removed = last.removed
        after = last.upto
        while after < end:
            with self._store.transaction() as txn:
                records = space(self._model.name, self._model.generation)
                found = lmdb_journal.changes(txn, self._store.journal, records, after, _PAGE)
            if found is None:
                return None
            self._change(graph, list(dict.fromkeys(found.digests)))
            after = found.upto
        return graph

    def _change(self, graph: Index, digests: Sequence[bytes]) -> None:
        """Bring the graph to what the archive holds of some records."""
        found, vectors = read_directions(self._archive, self._model, digests, _PAGE_SECONDS)
        held = [key for key in snapshot.keys_of(digests).tolist() if graph.contains(key)]
        same = _unchanged(graph, set(held), found, vectors)
        for key in set(held) - same:
            graph.remove(key)
            self._removed += 1
        keys, rows = np.unique(snapshot.keys_of(found), return_index=True)
        new = [position for position, key in enumerate(keys.tolist()) if key not in same]
        if new:
            graph.add(keys[new], vectors[rows[new]], threads=self._threads)
        self._done += len(digests)
        self._report(self._done)


def _unchanged(graph: Index, held: set[int], found: Sequence[bytes], vectors: Matrix) -> set[int]:
    """Return the keys whose vector is in the graph already."""
    same: set[int] = set()
    for key, vector in zip(snapshot.keys_of(found).tolist(), vectors, strict=True):
        if key in held and np.array_equal(np.asarray(graph.get(key)), vector.astype(np.float16)):
            same.add(key)
    return same


def _trim(store: LmdbStore, model: Model, before: int) -> None:
    """Forget entries that no reader needs; a short transaction each, so that writers may pass."""
    records = space(model.name, model.generation)
    gone = _TRIMMED_AT_ONCE
    while gone == _TRIMMED_AT_ONCE:
        with store.transaction(write=True) as txn:
            gone = lmdb_journal.trim(txn, store.journal, records, before, _TRIMMED_AT_ONCE)


def main() -> int:
    """Carry out the order on standard input."""
    order = Order.model_validate_json(sys.stdin.buffer.read())
    os.nice(_NICENESS)
    try:
        store = LmdbStore(order.archive, order.max_bytes)
        try:
            model = Model(order.model, np.zeros(order.model.dimension, order.model.dtype))
            return 0 if build(store, order.folder, model, order.threads) else BUSY
        finally:
            store.close()
    except (EmbArkError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
