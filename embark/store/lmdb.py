"""The embedded store: LMDB, a memory-mapped B+tree that many processes read without locks.

Changes are noted in a journal (`embark.store.lmdb_journal`) in the transaction that makes them.
One writer at a time, across processes; a commit is on disk when `put_many` returns. A process
killed in a write leaves the last commit intact, and LMDB's robust mutex frees its lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import lmdb

from embark.errors import ArchiveUnavailable
from embark.store import lmdb_journal
from embark.store.base import MISSING, Found

LEDGER = b"ledger"
"""Name of the database that `embark.store.lmdb_ledger` keeps in the same file."""

_READERS = 1024
_PAGE = 1000


class LmdbStore:
    """A store in a folder.

    Args:
        folder: made if missing.
        max_bytes: bound of the data file. Address space is reserved for it, disk is not.
        journals: whether changes to a model's records are noted in the journal.

    Attributes:
        folder: where it is.
        max_bytes: as given.
        journal: handle of the journal's database, for `embark.store.lmdb_journal`.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        journals: Callable[[str], bool] = lambda model: True,
    ) -> None:
        self.folder: Final = folder
        self.max_bytes: Final = max_bytes
        self._journals: Final = journals
        self._closing = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._env: lmdb.Environment | None = lmdb.open(
                str(folder), map_size=max_bytes, max_readers=_READERS, max_dbs=2, metasync=True
            )
            self._ledger = self._env.open_db(LEDGER)
            self.journal: Final[Any] = self._env.open_db(lmdb_journal.JOURNAL)
            # Slots of readers that were killed would pin old pages for ever.
            self._env.reader_check()
        except (lmdb.Error, OSError) as error:
            raise ArchiveUnavailable(f"archive in {folder} cannot be opened: {error}") from error

    def get_many(
        self, model: str, generation: str, digests: Sequence[bytes], timeout_s: float
    ) -> list[Found]:
        """See `Store.get_many`. Reads are memory accesses, so `timeout_s` is never reached."""
        prefix = space(model, generation)
        with self.transaction() as txn:
            get = cast("Callable[[bytes, Found], Found]", txn.get)
            return [get(prefix + digest, MISSING) for digest in digests]

    def put_many(self, model: str, generation: str, records: Mapping[bytes, bytes]) -> None:
        """See `Store.put_many`."""
        prefix = space(model, generation)
        with self.transaction(write=True) as txn:
            self._note(txn, model, prefix, records)
            for digest, record in records.items():
                txn.put(prefix + digest, record)

    def delete_many(self, model: str, generation: str, digests: Sequence[bytes]) -> None:
        """See `Store.delete_many`."""
        prefix = space(model, generation)
        with self.transaction(write=True) as txn:
            self._note(txn, model, prefix, digests)
            for digest in digests:
                txn.delete(prefix + digest)

    def digests(self, model: str, generation: str) -> Iterator[list[bytes]]:
        """See `Store.digests`. Each page is a transaction of its own: a long one pins old pages."""
        prefix = space(model, generation)
        after = prefix
        while page := self._keys(prefix, after):
            yield [key[len(prefix) :] for key in page]
            after = page[-1] + b"\0"

    def matching(self, model: str, generation: str, starts: Iterable[bytes]) -> list[list[bytes]]:
        """Return, for each beginning of a digest, the digests of records that have it."""
        prefix = space(model, generation)
        found: list[list[bytes]] = []
        with self.transaction() as txn:
            cursor = txn.cursor()
            for start in starts:
                keys = keys_from(cursor, prefix + start, prefix + start)
                found.append([key[len(prefix) :] for key in keys])
        return found

    def _note(
        self, txn: lmdb.Transaction, model: str, prefix: bytes, digests: Iterable[bytes]
    ) -> None:
        if self._journals(model):
            lmdb_journal.append(txn, self.journal, prefix, digests)
        else:
            lmdb_journal.end(txn, self.journal, prefix)

    def _keys(self, prefix: bytes, start: bytes) -> list[bytes]:
        with self.transaction() as txn:
            return keys_from(txn.cursor(), prefix, start)

    def check(self) -> None:
        """See `Store.check`."""
        with self.transaction() as txn:
            txn.stat()

    def close(self) -> None:
        """See `Store.close`."""
        with self._closing:
            env, self._env = self._env, None
        if env is not None:
            env.close()

    @contextmanager
    def transaction(
        self, *, write: bool = False, in_ledger: bool = False
    ) -> Iterator[lmdb.Transaction]:
        """Hold a transaction on the vectors, or on the ledger.

        Raises:
            ArchiveUnavailable: the archive is closed, full or damaged.
        """
        env = self._env
        if env is None:
            raise ArchiveUnavailable(f"archive in {self.folder} is closed")
        try:
            with env.begin(self._ledger if in_ledger else None, write=write) as txn:
                yield txn
        except lmdb.MapFullError as error:
            raise ArchiveUnavailable(
                f"archive in {self.folder} is full; raise archive.max_bytes",
                code="archive_full",
            ) from error
        except (lmdb.Error, OSError) as error:
            raise ArchiveUnavailable(f"archive in {self.folder} failed: {error}") from error


def space(model: str, generation: str) -> bytes:
    """Return what the names of a generation's records begin with."""
    return f"{model}:{generation}:".encode()


def keys_from(cursor: lmdb.Cursor, prefix: bytes, start: bytes, most: int = _PAGE) -> list[bytes]:
    """Return up to `most` keys that begin with `prefix`, in order, from `start` on."""
    keys: list[bytes] = []
    if cursor.set_range(start):
        for key in cast("Iterator[bytes]", cursor.iternext(keys=True, values=False)):
            if len(keys) == most or not key.startswith(prefix):
                break
            keys.append(key)
    return keys
