"""A client of HTTP that costs little: whole requests sent as they were made, answers counted.

Over one connection that is kept. With `at_once` above 1, over so many, each with one request in
flight; a request is then a list of requests, which counts as one when all are answered.
"""

from __future__ import annotations

import socket
from typing import Any

from benchmarks.gateway.programs.timing import Send, serve

_TIMEOUT_SECONDS = 120
_HEAD_BYTES = 64 * 1024


class Connection:
    """One connection that is kept.

    Attributes:
        closes: whether the last answer said that the server closes it.
    """

    closes = False

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket = socket.create_connection(self._address, _TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(_HEAD_BYTES)

    def send(self, request: bytes) -> None:
        """Send a request, head and body."""
        self._socket.sendall(request)

    def receive(self) -> memoryview:
        """Return the body of the answer; it is valid until the next.

        Raises:
            ConnectionError: it is no success, or not whole.
        """
        have = 0
        while (end := self._buffer.find(b"\r\n\r\n", 0, have)) < 0:
            if have == _HEAD_BYTES:
                raise ConnectionError("the answer's head is too long")
            have += self._read(have, _HEAD_BYTES)
        head = bytes(self._buffer[:end])
        self.closes = b"\r\nconnection: close" in head.lower()
        length = _length(head)
        whole = end + 4 + length
        if whole > len(self._buffer):
            self._buffer.extend(bytes(whole - len(self._buffer)))
        while have < whole:
            have += self._read(have, whole)
        body = memoryview(self._buffer)[end + 4 : whole]
        if head[9:12] != b"200":
            raise ConnectionError(f"{head[:60]!r}: {bytes(body[:300])!r}")
        return body

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _read(self, start: int, end: int) -> int:
        with memoryview(self._buffer) as view:
            count = self._socket.recv_into(view[start:end])
        if count == 0:
            raise ConnectionError(f"{self._address} closed the connection")
        return count


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ConnectionError(f"the answer does not say how long it is: {head[:300]!r}")


class _One:
    def __init__(self, host: str, port: int) -> None:
        self._connection = Connection(host, port)

    def __call__(self, request: bytes) -> None:
        self._connection.send(request)
        self._connection.receive()

    def close(self) -> None:
        self._connection.close()


class _Several:
    def __init__(self, host: str, port: int, at_once: int) -> None:
        self._connections = [Connection(host, port) for _ in range(at_once)]

    def __call__(self, requests: list[bytes]) -> None:
        for start in range(0, len(requests), len(self._connections)):
            some = requests[start : start + len(self._connections)]
            for connection, request in zip(self._connections, some, strict=False):
                connection.send(request)
            for connection, _ in zip(self._connections, some, strict=False):
                connection.receive()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def _connect(command: dict[str, Any], requests: list[Any]) -> tuple[Send, list[Any]]:
    host, port = command["host"], command["port"]
    if command["at_once"] > 1:
        return _Several(host, port, command["at_once"]), requests
    return _One(host, port), requests


if __name__ == "__main__":
    serve(_connect)
