"""How the driver is set up for Cassandra, and what its errors mean.

Not for connecting or staying connected: that is `embark.store.cassandra.session`.
"""

from __future__ import annotations

import importlib.util
import ssl
from typing import Final

import cassandra.cluster
from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    ProtocolVersion,
    UnresolvableContactPoints,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException, ProtocolError
from cassandra.policies import (
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ErrorMessage
from cassandra.query import tuple_factory

from embark.settings import CassandraSettings, TlsSettings

ONE: Final = "one"
"""Execution profile of lookups: any replica's answer, and the next one asked when it is slow.

Vectors never change, so one replica's answer is as good as all.
"""

QUORUM: Final = EXEC_PROFILE_DEFAULT
"""Execution profile of writes, and of reads that must see them."""

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
_HEARTBEAT_SECONDS = 5
_WRITE_SPECULATIVE_SECONDS = 0.25
# Of nodes that take a write for the others, one may hang: with two, most replicas do not answer.
# Each attempt is work for all replicas, which may be slow because they have too much.
_WRITE_SPECULATIVE_ATTEMPTS = 1


def new_cluster(settings: CassandraSettings) -> Cluster:
    """Return a cluster with our policies, not yet connected."""
    # Replicas in ring order, so that a query goes to the node its keys were grouped for.
    balancing = TokenAwarePolicy(
        DCAwareRoundRobinPolicy(settings.local_datacenter), shuffle_replicas=False
    )
    one = ExecutionProfile(
        load_balancing_policy=balancing,
        consistency_level=ConsistencyLevel.LOCAL_ONE,
        speculative_execution_policy=ConstantSpeculativeExecutionPolicy(
            settings.speculative_ms / 1000, settings.speculative_attempts
        ),
        row_factory=tuple_factory,
    )
    quorum = ExecutionProfile(
        load_balancing_policy=balancing,
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        speculative_execution_policy=ConstantSpeculativeExecutionPolicy(
            _WRITE_SPECULATIVE_SECONDS, _WRITE_SPECULATIVE_ATTEMPTS
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
        # In full: a certificate that is not trusted is a PermissionError with it in its text.
        why = "; ".join(sorted({_line(cause) for cause in causes})) or "none up"
        return f"no node answers in data center {settings.local_datacenter} ({why})"
    if isinstance(error, UnresolvableContactPoints):
        return "none of archive.cassandra.contact_points has an address"
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
    try:
        context = ssl.create_default_context(cafile=tls.authority)
        context.check_hostname = tls.check_hostname
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        # It does not name the file.
        files = ", ".join(str(one) for one in (tls.authority, tls.certificate, tls.key) if one)
        raise OSError(f"archive.cassandra.tls, {files}: {error.strerror or error}") from error
    return context
