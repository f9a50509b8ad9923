"""A client inside the archive: bare Cassandra driver, bare LMDB, or EmbArk's own archive.

A request is a batch of digests. The bare ones return records as they lie there; EmbArk's archive
checks and decodes each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.query import tuple_factory

from benchmarks.gateway.programs.timing import Send, serve
from embark.archive import Archive
from embark.backends import ARCHIVE_FOLDER
from embark.codec import Embedding
from embark.config import load
from embark.models import load_catalogue
from embark.settings import Settings
from embark.store.base import Store
from embark.store.cassandra import CassandraStore, Connection
from embark.store.lmdb import LmdbStore, space

_TIMEOUT_SECONDS = 10.0


def _bare_driver(command: dict[str, Any]) -> Callable[[list[bytes]], int]:
    """Ask the driver for `chunk` keys a query, all queries in flight."""
    profile = ExecutionProfile(row_factory=tuple_factory)
    cluster = Cluster(
        command["contact_points"],
        command["port"],
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        compression=False,
    )
    session = cluster.connect(command["keyspace"])
    chunk, names = command["chunk"], (command["model"], command["generation"])
    where = "WHERE model = ? AND generation = ? AND digest"
    operator = "= ?" if chunk == 1 else "IN ?"
    select = session.prepare(f"SELECT digest, record FROM embedding {where} {operator}")

    def get(digests: list[bytes]) -> int:
        parts = (
            digests
            if chunk == 1
            else [digests[start : start + chunk] for start in range(0, len(digests), chunk)]
        )
        futures = [session.execute_async(select, (*names, part)) for part in parts]
        return sum(len(future.result().current_rows) for future in futures)

    return get


def _bare_lmdb(command: dict[str, Any]) -> Callable[[list[bytes]], int]:
    """Get each key in one transaction."""
    store = _lmdb(Path(command["data"]))
    prefix = space(command["model"], command["generation"])

    def get(digests: list[bytes]) -> int:
        with store.transaction() as transaction:
            return sum(transaction.get(prefix + one) is not None for one in digests)

    return get


def _archive(command: dict[str, Any]) -> Callable[[list[bytes]], int]:
    """Ask EmbArk's archive, as the gateway does."""
    settings = load(environment=command["environment"]).settings
    store: Store
    if settings.archive.backend == "cassandra":
        connection = Connection(settings.archive.cassandra)
        connection.wait_settled(_TIMEOUT_SECONDS)
        store = CassandraStore(connection)
    else:
        store = _lmdb(settings.data)
    archive = Archive(store)
    model = load_catalogue(settings.retina.model_repository)[command["model"]]

    def get(digests: list[bytes]) -> int:
        found = archive.get_many(model, digests, _TIMEOUT_SECONDS)
        return sum(isinstance(one, Embedding) for one in found)

    return get


@cache
def _lmdb(data: Path) -> LmdbStore:
    # A process may open it once.
    return LmdbStore(data / ARCHIVE_FOLDER, Settings().archive.max_bytes)


_WAYS = {"bare driver": _bare_driver, "bare lmdb": _bare_lmdb, "archive": _archive}

_opened: dict[str, Callable[[list[bytes]], int]] = {}


def _connect(command: dict[str, Any], batches: list[Any]) -> tuple[Send, list[Any]]:
    name = f"{command['way']} {command.get('chunk')} {command.get('environment')}"
    if name not in _opened:
        _opened[name] = _WAYS[command["way"]](command)
    get = _opened[name]

    def send(digests: list[bytes]) -> None:
        found = get(digests)
        if found != len(digests):
            raise RuntimeError(f"{found} of {len(digests)} records were found")

    return send, batches


if __name__ == "__main__":
    serve(_connect)
