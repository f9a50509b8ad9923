"""Keyspace and tables of the archive: made and brought up to date by `embark schema apply`.

Each migration runs once and is recorded; applying again changes nothing. Why the tables are laid
out as they are is measured in docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from cassandra import AlreadyExists
from cassandra.cluster import Cluster, Session

from embark.errors import ArchiveUnavailable
from embark.models import ModelFacts
from embark.settings import CassandraSettings
from embark.store.cassandra.agreement import Agreement
from embark.store.cassandra.driver import DRIVER_ERRORS, describe, new_cluster
from embark.store.cassandra.neighbours import INDEX, TABLE, table_name

MIGRATIONS: Final[tuple[tuple[str, str], ...]] = (
    (
        "embedding",
        """
        CREATE TABLE IF NOT EXISTS {0}.embedding (
            model text,
            generation text,
            digest blob,
            record blob,
            PRIMARY KEY ((model, generation, digest))
        ) WITH comment = 'Vectors and remembered failures; docs/operations.md has the layout.'
        AND compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}}
        AND compression = {{'enabled': false}}
        AND memtable_flush_period_in_ms = 0
        """,
    ),
    (
        "claim",
        """
        CREATE TABLE IF NOT EXISTS {0}.claim (
            id blob,
            part int,
            data blob,
            PRIMARY KEY ((id, part))
        ) WITH comment = 'Inputs too large for a queue record, until their request has ended.'
        AND compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}}
        AND compression = {{'enabled': false}}
        AND gc_grace_seconds = 86400
        """,
    ),
    (
        "ledger",
        """
        CREATE TABLE IF NOT EXISTS {0}.ledger (
            model text,
            kind text,
            bucket int,
            id blob,
            value blob,
            size int,
            PRIMARY KEY ((model, kind, bucket), id)
        ) WITH comment = 'Where inputs came from, how often they are asked, what is live.'
        AND compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}}
        """,
    ),
)
"""Name and statement of each step, in order; {0} is the keyspace.

Never change one that was released; add another.
"""

_Change = Callable[[str], None]
"""Runs a statement that changes the schema."""

_CHANGE_SECONDS = 60


def apply(settings: CassandraSettings, neighbours: Iterable[ModelFacts] = ()) -> Iterator[str]:
    """Bring the schema up to date; yields what was changed, a line each.

    A change has ended when all nodes have it, for which it waits a minute at most: nodes that were
    just started may need long. Nodes that do not answer are told of, and have it when they do.

    Args:
        settings: the cluster.
        neighbours: generations whose neighbours shall be found.

    Raises:
        ArchiveUnavailable: the cluster cannot be reached, refuses, or its nodes do not agree.
    """
    cluster = None
    try:
        cluster = new_cluster(settings)
        cluster.max_schema_agreement_wait = 0  # see `agreement`
        yield from _apply(cluster, settings, neighbours)
    except AlreadyExists:
        raise ArchiveUnavailable(
            "somebody else changes the schema at the same time; run it again"
        ) from None
    except DRIVER_ERRORS as error:
        raise ArchiveUnavailable(
            f"the schema in Cassandra was not applied: {describe(error, settings)}"
        ) from error
    finally:
        if cluster is not None:
            cluster.shutdown()


def _apply(
    cluster: Cluster, settings: CassandraSettings, neighbours: Iterable[ModelFacts]
) -> Iterator[str]:
    session = cluster.connect()
    agreement = Agreement(cluster)
    change = partial(_change, session, agreement)
    yield from _keyspace(session, settings, change)
    table = f"{settings.keyspace}.migration"
    change(f"CREATE TABLE IF NOT EXISTS {table} (name text PRIMARY KEY, applied timestamp)")
    done = {name for (name,) in session.execute(f"SELECT name FROM {table}")}
    for name, statement in MIGRATIONS:
        if name not in done:
            change(statement.format(settings.keyspace))
            session.execute(
                f"INSERT INTO {table} (name, applied) VALUES (%s, toTimestamp(now()))", (name,)
            )
            yield f"cassandra: migration {name} applied"
    for facts in neighbours:
        yield from _neighbours(session, settings.keyspace, facts, change)
    for address in sorted(agreement.silent):
        yield (
            f"cassandra: WARNING: {address} does not answer, and has no change until it does: look"
            " at `nodetool describecluster` then"
        )


def _neighbours(
    session: Session, keyspace: str, facts: ModelFacts, change: _Change
) -> Iterator[str]:
    table = table_name(facts.name, facts.generation)
    known = session.execute(
        "SELECT index_name FROM system_schema.indexes WHERE keyspace_name = %s AND table_name = %s",
        (keyspace, table),
    ).one()
    if known is None:
        described = (keyspace, table, facts.dimension, facts.name, facts.generation)
        change(TABLE.format(*described))
        change(INDEX.format(*described))
        yield (
            f"cassandra: table of {facts.name}'s neighbours made, generation {facts.generation};"
            " `embark duplicates --rebuild` puts there what the archive holds already"
        )


def _keyspace(session: Session, settings: CassandraSettings, change: _Change) -> Iterator[str]:
    wanted = {"class": "NetworkTopologyStrategy"}
    for entry in settings.replication:
        name, _, copies = entry.rpartition(":")
        wanted[name] = copies
    replication = "{" + ", ".join(f"'{name}': '{value}'" for name, value in wanted.items()) + "}"
    row = session.execute(
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s",
        (settings.keyspace,),
    ).one()
    if row is None:
        change(
            f"CREATE KEYSPACE IF NOT EXISTS {settings.keyspace} WITH replication = {replication}"
        )
        yield f"cassandra: keyspace {settings.keyspace} made, {' '.join(settings.replication)}"
        return
    present = {
        name: value.removeprefix("org.apache.cassandra.locator.") for name, value in row[0].items()
    }
    if present != wanted:
        change(f"ALTER KEYSPACE {settings.keyspace} WITH replication = {replication}")
        yield (
            f"cassandra: keyspace {settings.keyspace} now has {' '.join(settings.replication)};"
            " run `nodetool repair --full` on every node, so that the new copies are filled"
        )


def _change(session: Session, agreement: Agreement, statement: str) -> None:
    """Run a statement that changes the schema; returns when the nodes agree.

    Raises:
        ArchiveUnavailable: they do not.
    """
    session.execute(statement, timeout=_CHANGE_SECONDS)
    agreement.wait()
