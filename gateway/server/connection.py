"""One client's connection: what has come of its request, and what is still to go of its answer.

It belongs to the loop, but for the time that a thread has its request: then to that thread.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from enum import Enum, auto
from typing import Any, Final

from gateway.access.gate import Grant
from gateway.server.framing import Body
from gateway.server.lines import Line

LEAST_BYTES_PER_SECOND: Final = 32 * 1024
_RECEIVE_BYTES = 256 * 1024
_SEND_PARTS = 16


class State(Enum):
    """What a connection is doing."""

    GREETING = auto()  # the handshake of TLS
    IDLE = auto()  # between requests
    HEAD = auto()  # the head is coming
    BODY = auto()  # the body is coming
    WORKING = auto()  # a thread has the request
    ANSWERING = auto()  # the answer is going
    CLOSING = auto()  # the last answer has gone; what the client still sends is thrown away


class Wants(Enum):
    """What the next step needs of the socket."""

    READ = auto()
    WRITE = auto()


class Gone(Exception):
    """The client has closed the connection, or it broke."""


class Connection:
    """A connection; not safe for threads, see above.

    Args:
        sock: accepted.
        address: the client's.
        server: that it was accepted at.
        secure: the socket is TLS.
        now: monotonic seconds.

    Attributes:
        state: what it is doing.
        deadline: when it is given up, unless something comes or goes.
        buffer: what has come and is not taken.
        searched: how much of it holds no end of a head.
        swallow: bytes of a refused request's body that are still to come, and are thrown away.
        request: gunicorn's, once the head has come.
        body: takes the body.
        whole: the body, once it has come.
        grant: of the request.
        line: where the request stands, once its head has come.
        unshed: whether the request is taken whatever there is to do; it then stands in no line.
        arrived: when the request was complete.
        begun: when the current request, or answer, began; for its deadline.
        moved: bytes of it that have come, or gone.
        keep: whether the connection stays open after the answer.
        held: its bytes, as they were last counted.
    """

    __slots__ = (
        "_out",
        "address",
        "arrived",
        "begun",
        "body",
        "buffer",
        "deadline",
        "grant",
        "held",
        "keep",
        "line",
        "moved",
        "request",
        "searched",
        "server",
        "sock",
        "state",
        "swallow",
        "unshed",
        "wants",
        "whole",
    )

    def __init__(
        self, sock: socket.socket, address: Any, server: Any, *, secure: bool, now: float
    ) -> None:
        self.sock: Final = sock
        self.address: Final = address
        self.server: Final = server
        self.state = State.GREETING if secure else State.IDLE
        self.wants = Wants.READ
        self.deadline = now
        self.buffer = bytearray()
        self.searched = 0
        self.swallow = 0
        self.request: Any = None
        self.body: Body | None = None
        self.whole = b""
        self.grant: Grant | None = None
        self.line: Line
        self.unshed = False
        self.arrived = self.begun = now
        self.moved = 0
        self.keep = True
        self.held = 0
        self._out: deque[memoryview] = deque()

    def greet(self) -> bool:
        """Go on with the handshake; return whether it is done.

        Raises:
            Gone: the client speaks no TLS that is accepted.
        """
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.wants = Wants.READ
            return False
        except ssl.SSLWantWriteError:
            self.wants = Wants.WRITE
            return False
        except (OSError, ValueError) as error:
            raise Gone from error
        self.wants = Wants.READ
        return True

    def receive(self) -> int:
        """Take what has come into the buffer; return how much that is.

        Raises:
            Gone: nothing comes any more.
        """
        came = 0
        while True:
            try:
                data = self.sock.recv(_RECEIVE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                raise Gone from error
            if not data:
                raise Gone
            self.buffer += data
            came += len(data)
            if came >= _RECEIVE_BYTES or not self._has_decrypted():
                break
        if self.swallow:
            thrown = min(self.swallow, len(self.buffer))
            del self.buffer[:thrown]
            self.swallow -= thrown
        self.moved += came
        return came

    def put(self, *parts: bytes) -> None:
        """Append to what is to go."""
        self._out.extend(memoryview(part) for part in parts if part)

    def send(self) -> bool:
        """Send what the client takes now; return whether all has gone.

        Raises:
            Gone: nothing goes any more.
        """
        while self._out:
            try:
                sent = self._send()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            except OSError as error:
                raise Gone from error
            self.moved += sent
            while sent:
                first = self._out[0]
                if sent < len(first):
                    self._out[0] = first[sent:]
                    break
                sent -= len(first)
                self._out.popleft()
        return True

    def has_more(self) -> bool:
        """Whether bytes have come that the socket will not announce."""
        return bool(self.buffer) or self._has_decrypted()

    def size(self) -> int:
        """Bytes that it holds now."""
        chunks = getattr(self.body, "size", 0)
        return len(self.buffer) + chunks + len(self.whole) + sum(map(len, self._out))

    def late(self, seconds: float) -> float:
        """Return when a client is too slow that has moved as much as this one since it began."""
        return self.begun + seconds + self.moved / LEAST_BYTES_PER_SECOND

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _send(self) -> int:
        if isinstance(self.sock, ssl.SSLSocket):
            return self.sock.send(self._out[0])
        if len(self._out) == 1:
            return self.sock.send(self._out[0])
        return self.sock.sendmsg([self._out[i] for i in range(min(len(self._out), _SEND_PARTS))])

    def _has_decrypted(self) -> bool:
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0
