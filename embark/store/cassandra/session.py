"""The connection to Cassandra: made in the background, watched, and given up quickly when dead.

Opening never waits and never fails: a cluster that is down now is connected to when it comes up.
Meanwhile, and while the breaker is open, every call fails at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cassandra.cluster import Cluster, Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import PreparedStatement

from embark.breaker import Breaker
from embark.errors import ArchiveUnavailable
from embark.log import logger
from embark.metrics import ARCHIVE_BREAKER
from embark.settings import CassandraSettings
from embark.store.cassandra.driver import (
    DRIVER_ERRORS,
    ONE,
    QUORUM,
    describe,
    missing_extensions,
    new_cluster,
)

SELECT_RECORDS = (
    "SELECT digest, record FROM {0}.embedding WHERE model = ? AND generation = ? AND digest IN ?"
)
SELECT_KEYS = "SELECT model, generation, digest FROM {0}.embedding"
DELETE_RECORD = "DELETE FROM {0}.embedding WHERE model = ? AND generation = ? AND digest = ?"
INSERT_RECORD = "INSERT INTO {0}.embedding (model, generation, digest, record) VALUES (?, ?, ?, ?)"
SELECT_CLAIM = "SELECT part, data FROM {0}.claim WHERE id = ? AND part IN ?"
INSERT_CLAIM = "INSERT INTO {0}.claim (id, part, data) VALUES (?, ?, ?) USING TTL ?"
DELETE_CLAIM = "DELETE FROM {0}.claim WHERE id = ? AND part IN ?"
SELECT_LEDGER = (
    "SELECT value, size FROM {0}.ledger WHERE model = ? AND kind = ? AND bucket = ? AND id = ?"
)
SELECT_LEDGER_IDS = "SELECT id FROM {0}.ledger WHERE model = ? AND kind = ? AND bucket = ?"
INSERT_LEDGER = (
    "INSERT INTO {0}.ledger (model, kind, bucket, id, value, size) VALUES (?, ?, ?, ?, ?, ?)"
    " USING TTL ?"
)
DELETE_LEDGER = "DELETE FROM {0}.ledger WHERE model = ? AND kind = ? AND bucket = ? AND id = ?"
"""Statements, by which `Prepared.statements` has them; {0} is the keyspace."""

_STATEMENTS = (
    SELECT_RECORDS,
    SELECT_KEYS,
    INSERT_RECORD,
    DELETE_RECORD,
    SELECT_CLAIM,
    INSERT_CLAIM,
    DELETE_CLAIM,
    SELECT_LEDGER,
    SELECT_LEDGER_IDS,
    INSERT_LEDGER,
    DELETE_LEDGER,
)
_PROBE = "SELECT digest FROM {0}.embedding LIMIT 1"

_PROBE_SECONDS = 1.0
_CONNECT_ANEW_SECONDS = 30.0
_CLOSE_SECONDS = 6.0

_log = logger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A session with its prepared statements."""

    session: Session
    statements: dict[str, PreparedStatement]


class Connection:
    """One process's connection; made after fork, safe for many threads.

    Args:
        settings: where the cluster is, and how long what may take.
    """

    def __init__(self, settings: CassandraSettings) -> None:
        self.settings: Final = settings
        self.breaker: Final = Breaker(settings.breaker_failures, _report_breaker)
        self._prepared: Prepared | None = None
        self._trouble = "it has not been connected to yet"
        ARCHIVE_BREAKER.set(1)
        self._closing = threading.Event()
        self._settled = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="cassandra", daemon=True)
        self._keeper.start()

    def use(self) -> Prepared:
        """Return the session, without waiting.

        Raises:
            ArchiveUnavailable: there is none, or the cluster has not answered lately.
        """
        prepared = self._prepared
        if self._closing.is_set():
            raise ArchiveUnavailable("the archive in Cassandra is closed")
        if prepared is None or self.breaker.is_open:
            raise ArchiveUnavailable(
                f"Cassandra at {','.join(self.settings.contact_points)}:{self.settings.port} is not"
                f" available: {self._trouble}"
            )
        return prepared

    def run_many(
        self, text: str, rows: Sequence[tuple[object, ...]], *, at_once: int, trouble: str
    ) -> list[Any]:
        """Run a statement for each row at `QUORUM`; returns the results in their order.

        Args:
            text: one of the statements of this module.
            rows: what is bound.
            at_once: how many are in flight at most.
            trouble: what has failed if one fails, for the message.

        Raises:
            ArchiveUnavailable: one failed; the others may have been done.
        """
        prepared = self.use()
        try:
            results = execute_concurrent_with_args(
                prepared.session,
                prepared.statements[text],
                rows,
                concurrency=at_once,
                execution_profile=QUORUM,
            )
        except DRIVER_ERRORS as error:
            raise ArchiveUnavailable(f"{trouble}: {describe(error, self.settings)}") from error
        return [result for _, result in results]

    def wait_settled(self, timeout_s: float) -> None:
        """Return when the first attempt to connect has ended, or after `timeout_s`."""
        self._settled.wait(timeout_s)

    def close(self) -> None:
        """Disconnect; idempotent."""
        self._closing.set()
        self._keeper.join(_CLOSE_SECONDS)

    def _keep(self) -> None:
        """Connect, then look again and again whether the cluster answers."""
        cluster: Cluster | None = None
        answered_at = time.monotonic()
        while not self._closing.is_set():
            try:
                if cluster is None:
                    cluster = self._connect()
                    answered_at = time.monotonic()
                elif self._answers():
                    answered_at = time.monotonic()
                elif time.monotonic() - answered_at > _CONNECT_ANEW_SECONDS:
                    # The driver knows addresses; all of them may have changed.
                    cluster.shutdown()
                    cluster = self._prepared = None
            except Exception:
                # Whatever the driver does, this thread must not end.
                _log.exception("archive_watch_failed")
            self._settled.set()
            self._closing.wait(self.settings.probe_seconds)
        if cluster is not None:
            cluster.shutdown()

    def _connect(self) -> Cluster | None:
        cluster = None
        try:
            cluster = new_cluster(self.settings)
            session = cluster.connect()
            statements = {
                text: session.prepare(text.format(self.settings.keyspace)) for text in _STATEMENTS
            }
        except DRIVER_ERRORS as error:
            if cluster is not None:
                cluster.shutdown()
            self._note(describe(error, self.settings))
            return None
        for statement in statements.values():
            statement.is_idempotent = True
        self._prepared = Prepared(session, statements)
        self._trouble = "it does not answer"
        ARCHIVE_BREAKER.set(int(self.breaker.is_open))
        problem = missing_extensions()
        if problem:
            _log.warning("slow_driver", reason=problem)
        _log.info("archive_connected", nodes=len(cluster.metadata.all_hosts()))
        return cluster

    def _answers(self) -> bool:
        assert self._prepared is not None
        try:
            probe = _PROBE.format(self.settings.keyspace)
            self._prepared.session.execute(probe, timeout=_PROBE_SECONDS, execution_profile=ONE)
        except DRIVER_ERRORS as error:
            self._trouble = describe(error, self.settings)
            self.breaker.failed()
            return False
        self.breaker.succeeded()
        return True

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.error("archive_not_connected", reason=trouble)
        self._trouble = trouble


def _report_breaker(is_open: bool) -> None:
    ARCHIVE_BREAKER.set(int(is_open))
    if is_open:
        _log.error("archive_breaker_open")
    else:
        _log.info("archive_breaker_closed")
