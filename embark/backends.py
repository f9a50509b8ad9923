"""Which store and which queue the settings name, opened. Call it after fork, once a process."""

from __future__ import annotations

from pathlib import Path

from embark.config import Settings
from embark.queue.base import Queue
from embark.store.base import Store

ARCHIVE_FOLDER = Path("archive")
QUEUE_FILE = Path("queue") / "queue.sqlite"


def open_store(settings: Settings) -> Store:
    """Open the archive's store.

    Raises:
        ArchiveUnavailable: it cannot be opened.
    """
    from embark.store.lmdb import LmdbStore

    return LmdbStore(settings.data / ARCHIVE_FOLDER, settings.archive.max_bytes)


def open_queue(settings: Settings) -> Queue:
    """Open the queue.

    Raises:
        QueueUnavailable: it cannot be opened.
    """
    from embark.queue.sqlite import SqliteQueue

    return SqliteQueue(settings.data / QUEUE_FILE, settings.queue.lease_seconds)
