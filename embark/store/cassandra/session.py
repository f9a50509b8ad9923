"""The connection to Cassandra: made in the background, watched, and given up quickly when dead.

Opening never waits and never fails: a cluster that is down now is connected to when it comes up.
Meanwhile, and while the breaker is open, every call fails at once.
"""

from __future__ import annotations

import importlib.util
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Final

import cassandra.cluster
from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    ProtocolVersion,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.connection import ConnectionBusy, ConnectionException, ProtocolError
from cassandra.policies import (
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ErrorMessage
from cassandra.query import PreparedStatement, tuple_factory

from embark.breaker import Breaker
from embark.errors import ArchiveUnavailable
from embark.log import logger
from embark.metrics import ARCHIVE_BREAKER
from embark.settings import CassandraSettings, TlsSettings

ONE: Final = "one"
"""Execution profile of lookups: any replica's answer, and the next one asked when it is slow.

Vectors never change, so one replica's answer is as good as all.
"""

QUORUM: Final = EXEC_PROFILE_DEFAULT
"""Execution profile of writes, and of reads that must see them."""

SELECT_RECORDS = (
    "SELECT digest, record FROM {0}.embedding WHERE model = ? AND generation = ? AND digest IN ?"
)
INSERT_RECORD = "INSERT INTO {0}.embedding (model, generation, digest, record) VALUES (?, ?, ?, ?)"
SELECT_CLAIM = "SELECT part, data FROM {0}.claim WHERE id = ? AND part IN ?"
INSERT_CLAIM = "INSERT INTO {0}.claim (id, part, data) VALUES (?, ?, ?) USING TTL ?"
DELETE_CLAIM = "DELETE FROM {0}.claim WHERE id = ? AND part IN ?"
"""Statements, by which `Prepared.statements` has them; {0} is the keyspace."""

_STATEMENTS = (SELECT_RECORDS, INSERT_RECORD, SELECT_CLAIM, INSERT_CLAIM, DELETE_CLAIM)
_PROBE = "SELECT digest FROM {0}.embedding LIMIT 1"

DRIVER_ERRORS: Final = (
    DriverException,
    NoHostAvailable,
    ConnectionException,
    ConnectionBusy,
    ProtocolError,
    ErrorMessage,
    OSError,
)
"""What the driver raises when a call fails."""

_CONNECT_SECONDS = 3.0
_PROBE_SECONDS = 1.0
_CONNECT_ANEW_SECONDS = 30.0
_HEARTBEAT_SECONDS = 5
_WRITE_SPECULATIVE_SECONDS = 0.25

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

    def wait_settled(self, timeout_s: float) -> None:
        """Return when the first attempt to connect has ended, or after `timeout_s`."""
        self._settled.wait(timeout_s)

    def close(self) -> None:
        """Disconnect; idempotent."""
        self._closing.set()
        self._keeper.join(_CONNECT_SECONDS * 2)

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
        _report_breaker(self.breaker.is_open)
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


def new_cluster(settings: CassandraSettings) -> Cluster:
    """Return a cluster with our policies, not yet connected."""
    # Replicas in ring order, so that a query goes to the node its keys were grouped for.
    balancing = TokenAwarePolicy(
        DCAwareRoundRobinPolicy(settings.local_datacenter), shuffle_replicas=False
    )
    attempts = settings.speculative_attempts
    one = ExecutionProfile(
        load_balancing_policy=balancing,
        consistency_level=ConsistencyLevel.LOCAL_ONE,
        speculative_execution_policy=ConstantSpeculativeExecutionPolicy(
            settings.speculative_ms / 1000, attempts
        ),
        row_factory=tuple_factory,
    )
    quorum = ExecutionProfile(
        load_balancing_policy=balancing,
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        speculative_execution_policy=ConstantSpeculativeExecutionPolicy(
            _WRITE_SPECULATIVE_SECONDS, attempts
        ),
        request_timeout=settings.write_timeout_seconds,
        row_factory=tuple_factory,
    )
    return Cluster(
        settings.contact_points,
        settings.port,
        protocol_version=ProtocolVersion.V5,
        execution_profiles={ONE: one, QUORUM: quorum},
        auth_provider=_credentials(settings),
        ssl_context=_tls_context(settings.tls),
        # Vectors do not compress; the attempt costs time on both sides.
        compression=False,
        connect_timeout=_CONNECT_SECONDS,
        control_connection_timeout=_CONNECT_SECONDS,
        reconnection_policy=ExponentialReconnectionPolicy(0.25, 2.0, max_attempts=None),
        idle_heartbeat_interval=_HEARTBEAT_SECONDS,
        idle_heartbeat_timeout=_HEARTBEAT_SECONDS,
    )


def describe(error: Exception, settings: CassandraSettings) -> str:
    """Return what a driver's error means, in a line."""
    if isinstance(error, NoHostAvailable):
        # The driver gives a list where it has no causes.
        causes = error.errors.values() if isinstance(error.errors, dict) else ()
        for cause in causes:
            if isinstance(cause, AuthenticationFailed):
                return f"it refuses user {settings.user!r}: {_line(cause)}"
            if isinstance(cause, ssl.SSLError):
                return f"TLS fails: {_line(cause)}"
        names = ", ".join(sorted({type(cause).__name__ for cause in causes}))
        return f"no node answers in data center {settings.local_datacenter} ({names or 'none up'})"
    if isinstance(error, InvalidRequest):
        return (
            f"keyspace {settings.keyspace} lacks a table, or does not exist; run"
            f" `embark schema apply` ({error})"
        )
    return _line(error)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def missing_extensions() -> str | None:
    """Return which of the driver's C extensions are missing, None if all are there."""
    compiled = str(cassandra.cluster.__file__).endswith(".so")
    missing = [
        name
        for name, there in (
            ("Cython modules", compiled),
            ("murmur3", importlib.util.find_spec("cassandra.cmurmur3") is not None),
            ("libev", importlib.util.find_spec("cassandra.io.libevwrapper") is not None),
        )
        if not there
    ]
    if not missing:
        return None
    return f"cassandra-driver lacks {', '.join(missing)}: install its wheel, not its source"


def _credentials(settings: CassandraSettings) -> PlainTextAuthProvider | None:
    if not settings.user:
        return None
    return PlainTextAuthProvider(settings.user, settings.password.get_secret_value())


def _tls_context(tls: TlsSettings) -> ssl.SSLContext | None:
    if not tls.enabled:
        return None
    context = ssl.create_default_context(cafile=tls.authority)
    context.check_hostname = tls.check_hostname
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _report_breaker(is_open: bool) -> None:
    ARCHIVE_BREAKER.set(int(is_open))
    if is_open:
        _log.error("archive_breaker_open")
    else:
        _log.info("archive_breaker_closed")
