"""A TCP proxy on loopback that harms what passes, in the kinds that toxiproxy names."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Toxic:
    """What happens to connections.

    Attributes:
        latency_s, jitter_s: delay of every chunk, in both directions.
        reset_after_s: each connection is reset after about this time.
        black_hole: bytes are taken and never passed on; new connections too.
        refuse: new connections are reset at once.
        bytes_per_s: most that passes, in each direction; 0 for no limit.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    reset_after_s: float = 0.0
    black_hole: bool = False
    refuse: bool = False
    bytes_per_s: int = 0


class Proxy:
    """Passes connections from a port of its own on to another, through the current toxic."""

    def __init__(self, target: tuple[str, int], seed: int = 0) -> None:
        self._target = target
        self._rng = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.toxic = Toxic()
        self._closing = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self._reset(*pair)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.toxic.refuse:
            self._reset(client)
            return
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            self._reset(client)
            return
        server.settimeout(None)
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.append((client, server))
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        started = time.monotonic()
        resets_at = started + self._rng.uniform(0.5, 1.5) * 1e9
        harmed: Toxic | None = None
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                toxic = self.toxic
                if toxic is not harmed:
                    harmed = toxic
                    after = toxic.reset_after_s or 1e9
                    resets_at = time.monotonic() + after * self._rng.uniform(0.5, 1.5)
                while self.toxic.black_hole and not self._closing:
                    time.sleep(0.02)
                delay = toxic.latency_s + self._rng.uniform(-1, 1) * toxic.jitter_s
                if toxic.bytes_per_s:
                    delay += len(data) / toxic.bytes_per_s
                if delay > 0:
                    time.sleep(delay)
                if time.monotonic() > resets_at:
                    self._reset(source, sink)
                    return
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    @staticmethod
    def _reset(*sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RDWR)
            one.close()
