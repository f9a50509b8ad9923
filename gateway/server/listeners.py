"""The sockets that clients come to, and what is made of those who come."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Final

from embark.log import Seldom, logger
from embark.settings import GatewaySettings
from gateway.server.connection import Connection
from gateway.server.tls import Certificate

# Left alone, the system would hold megabytes for whoever does not read.
_SEND_BUFFER_BYTES = 256 * 1024
_FOLLOW_SECONDS = 1.0

_log = logger(__name__)


class Refused(Exception):
    """The system allows no further connection."""


class Listeners:
    """The listening sockets of one process; for the loop only.

    Args:
        sockets: opened by gunicorn's master.
        settings: TLS, and how long a client has.

    Raises:
        ConfigurationError: the certificate cannot be used.
    """

    def __init__(self, sockets: Sequence[socket.socket], settings: GatewaySettings) -> None:
        tls = settings.tls
        self._sockets: Final = {int(one.fileno()): one for one in sockets}
        self._receive_s: Final = settings.receive_seconds
        self._certificate: Final = (
            Certificate(tls.certificate, tls.key) if tls.certificate and tls.key else None
        )
        self._followed = time.monotonic()
        self._seldom = Seldom()
        for one in sockets:
            one.setblocking(False)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._sockets))

    def __contains__(self, number: int) -> bool:
        return number in self._sockets

    def accept(self, number: int) -> Connection | None:
        """Return who has come, None if it is gone already or another process was faster.

        Raises:
            Refused: the system has no more for us.
        """
        listener = self._sockets[number]
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionError):
            return None
        except OSError as error:
            if self._seldom.due():
                _log.warning("connection_not_accepted", reason=str(error))
            raise Refused from error
        try:
            return self._prepare(accepted, address, listener.getsockname())
        except OSError:
            accepted.close()
            return None

    def follow(self, now: float) -> None:
        """Look after the certificate, once in a while."""
        if self._certificate is not None and now - self._followed >= _FOLLOW_SECONDS:
            self._followed = now
            self._certificate.follow()

    def close(self, number: int) -> None:
        """Close one."""
        self._sockets.pop(number).close()

    def _prepare(self, accepted: socket.socket, address: object, server: object) -> Connection:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        secure = self._certificate is not None
        if self._certificate is not None:
            accepted = self._certificate.context.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            )
        now = time.monotonic()
        connection = Connection(accepted, address, server, secure=secure, now=now)
        connection.deadline = now + self._receive_s
        return connection


def raise_file_limit() -> None:
    """Allow this process as many connections as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
