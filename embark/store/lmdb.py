"""The embedded store: LMDB, a memory-mapped B+tree that many processes read without locks.

One writer at a time, across processes; a commit is on disk when `put_many` returns. A process
killed in a write leaves the last commit intact, and LMDB's robust mutex frees its lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import lmdb

from embark.errors import ArchiveUnavailable
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
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._closing = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._env: lmdb.Environment | None = lmdb.open(
                str(folder), map_size=max_bytes, max_readers=_READERS, max_dbs=1, metasync=True
            )
            self._ledger = self._env.open_db(LEDGER)
            # Slots of readers that were killed would pin old pages for ever.
            self._env.reader_check()
        except (lmdb.Error, OSError) as error:
            raise ArchiveUnavailable(f"archive in {folder} cannot be opened: {error}") from error

    def get_many(
        self, model: str, generation: str, digests: Sequence[bytes], timeout_s: float
    ) -> list[Found]:
        """See `Store.get_many`. Reads are memory accesses, so `timeout_s` is never reached."""
        prefix = _prefix(model, generation)
        with self.transaction() as txn:
            get = cast("Callable[[bytes, Found], Found]", txn.get)
            return [get(prefix + digest, MISSING) for digest in digests]

    def put_many(self, model: str, generation: str, records: Mapping[bytes, bytes]) -> None:
        """See `Store.put_many`."""
        prefix = _prefix(model, generation)
        with self.transaction(write=True) as txn:
            for digest, record in records.items():
                txn.put(prefix + digest, record)

    def delete_many(self, model: str, generation: str, digests: Sequence[bytes]) -> None:
        """See `Store.delete_many`."""
        prefix = _prefix(model, generation)
        with self.transaction(write=True) as txn:
            for digest in digests:
                txn.delete(prefix + digest)

    def digests(self, model: str, generation: str) -> Iterator[list[bytes]]:
        """See `Store.digests`. Each page is a transaction of its own: a long one pins old pages."""
        prefix = _prefix(model, generation)
        after = prefix
        while page := self._keys(prefix, after):
            yield [key[len(prefix) :] for key in page]
            after = page[-1] + b"\0"

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
            raise ArchiveUnavailable(f"archive in {self._folder} is closed")
        try:
            with env.begin(self._ledger if in_ledger else None, write=write) as txn:
                yield txn
        except lmdb.MapFullError as error:
            raise ArchiveUnavailable(
                f"archive in {self._folder} is full; raise archive.max_bytes",
                code="archive_full",
            ) from error
        except (lmdb.Error, OSError) as error:
            raise ArchiveUnavailable(f"archive in {self._folder} failed: {error}") from error


def _prefix(model: str, generation: str) -> bytes:
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
