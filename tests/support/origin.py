"""A web server on loopback that behaves as badly as a test asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Behave = Callable[[socket.socket, str], None]


class Origin:
    """Hands each connection, with the path it asks, to `behave`; counts connections."""

    def __init__(self, behave: Behave, host: str = "127.0.0.2") -> None:
        self._behave = behave
        self._listener = socket.create_server((host, 0))
        self.host, self.port = self._listener.getsockname()
        self.url = f"http://{self.host}:{self.port}"
        self.connections = 0
        self.closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            asked = connection.recv(65536).split(b" ")
            self._behave(connection, asked[1].decode("latin-1") if len(asked) > 1 else "")


@contextmanager
def origin(behave: Behave, host: str = "127.0.0.2") -> Iterator[Origin]:
    server = Origin(behave, host)
    try:
        yield server
    finally:
        server.close()


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> Behave:
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    if "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    message = "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def behave(connection: socket.socket, path: str) -> None:
        connection.sendall(message)

    return behave
