"""Rebuilding: an index of neighbours made anew from what the archive holds.

Needed on Cassandra for records that were written before their generation's table was made; harmless
at any time. On the embedded profile it is done without being asked when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from embark.errors import Unavailable
from embark.models import Model
from embark.settings import Settings
from embark.store.base import Store, scan

FOLDER: Final = "neighbours"
"""Name of the folder with all snapshots, in the embedded archive's folder."""

Report = Callable[[int], None]

_PAGE_SECONDS = 30.0


def rebuild(store: Store, settings: Settings, model: Model, report: Report) -> int:
    """Make the index of one generation anew; returns how many vectors it holds.

    Args:
        store: as `embark.backends.open_backends` opened it.
        settings: the same.
        model: the generation.
        report: told how many records were looked at so far.

    Raises:
        Unavailable: Cassandra's table is not made, or the embedded index is being made already.
        ArchiveUnavailable: it ended half-way; run it again.
    """
    if settings.archive.backend == "lmdb":
        return _embedded(store, model, report)
    return _cassandra(store, model, report)


def _embedded(store: Store, model: Model, report: Report) -> int:
    from embark.neighbours.building import build
    from embark.store import lmdb_journal
    from embark.store.lmdb import LmdbStore, space

    assert isinstance(store, LmdbStore)
    with store.transaction(write=True) as txn:
        lmdb_journal.end(txn, store.journal, space(model.name, model.generation))
    made = build(store, store.folder / FOLDER / model.name / model.generation, model, report=report)
    if made is None:
        raise Unavailable(
            f"another process makes the index of {model.name}'s neighbours; run it again",
            code="neighbours_in_the_making",
        )
    return made.items


def _cassandra(store: Store, model: Model, report: Report) -> int:
    from embark.store.cassandra import CassandraStore

    assert isinstance(store, CassandraStore)
    tables = store.neighbours
    if tables is None or tables.statements(model.name, model.generation) is None:
        raise Unavailable(
            f"the table of {model.name}'s neighbours, generation {model.generation}, is not made;"
            " run `embark schema apply`",
            code="neighbours_table_missing",
        )
    written = seen = 0
    for page in scan(store, model.name, model.generation, _PAGE_SECONDS):
        written += tables.put(model.name, model.generation, dict(page))
        seen += len(page)
        report(seen)
    return written
