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

_READERS = 1024


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
                str(folder), map_size=max_bytes, max_readers=_READERS, max_dbs=0, metasync=True
            )
            # Slots of readers that were killed would pin old pages for ever.
            self._env.reader_check()
        except (lmdb.Error, OSError) as error:
            raise ArchiveUnavailable(f"archive in {folder} cannot be opened: {error}") from error

    def get_many(
        self, model: str, generation: str, digests: Sequence[bytes], timeout_s: float
    ) -> list[Found]:
        """See `Store.get_many`. Reads are memory accesses, so `timeout_s` is never reached."""
        prefix = _prefix(model, generation)
        with self._transaction(write=False) as txn:
            get = cast("Callable[[bytes, Found], Found]", txn.get)
            return [get(prefix + digest, MISSING) for digest in digests]

    def put_many(self, model: str, generation: str, records: Mapping[bytes, bytes]) -> None:
        """See `Store.put_many`."""
        prefix = _prefix(model, generation)
        with self._transaction(write=True) as txn:
            for digest, record in records.items():
                txn.put(prefix + digest, record)

    def check(self) -> None:
        """See `Store.check`."""
        with self._transaction(write=False) as txn:
            txn.stat()

    def close(self) -> None:
        """See `Store.close`."""
        with self._closing:
            env, self._env = self._env, None
        if env is not None:
            env.close()

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[lmdb.Transaction]:
        env = self._env
        if env is None:
            raise ArchiveUnavailable(f"archive in {self._folder} is closed")
        try:
            with env.begin(write=write) as txn:
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
