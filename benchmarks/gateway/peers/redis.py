"""Redis: vectors as they are in the archive, found by MGET behind Flask on the gateway's server."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping

from benchmarks.gateway.peers.base import HttpSubject
from benchmarks.gateway.place import (
    Place,
    Stopped,
    answers,
    environment_of,
    own_server,
)
from benchmarks.gateway.workload import Batch
from embark.inputs import Modality
from embark.ports import free_port
from embark.settings import GatewaySettings

_PROGRAM = "redis-server"
_APP = "benchmarks.gateway.programs.redis_app:app"
_SECONDS = 10


class RedisBehindFlask(HttpSubject):
    """16-byte digests in, vectors out, as EmbArk's binary form."""

    def path(self, batch: Batch) -> str:
        return f"/vectors/{batch.model.name}/{batch.vector_bytes}"

    def body(self, batch: Batch) -> bytes:
        return b"".join(batch.digests)

    def headers(self) -> Mapping[str, str]:
        return {"Content-Type": "application/octet-stream"}

    def vectors(self, answer: bytes, batch: Batch) -> int:
        size = batch.vector_bytes
        rows = [answer[start : start + size] for start in range(0, len(answer), size)]
        return sum(any(row) for row in rows)


def start_redis(
    place: Place, settings: GatewaySettings, vectors: Mapping[bytes, bytes]
) -> RedisBehindFlask:
    """Start Redis with vectors by `model:digest`, and Flask in front of it.

    Raises:
        Stopped: there is no Redis, or it does not start.
    """
    if shutil.which(_PROGRAM) is None:
        raise Stopped(f"there is no {_PROGRAM} on PATH (Debian: apt-get install {_PROGRAM})")
    environment = environment_of("redis")
    redis_port, port = free_port(), free_port()
    folder = place.folder / "redis"
    folder.mkdir()
    flags = {"port": redis_port, "bind": "127.0.0.1", "save": "", "dir": folder}
    argv = [_PROGRAM, *(part for name, one in flags.items() for part in (f"--{name}", str(one)))]
    place.serve("redis", argv, lambda: _pings(redis_port))
    _write(redis_port, vectors)
    app = own_server(environment / "bin" / "python", _APP, port, settings)
    ready = answers(f"http://127.0.0.1:{port}/ready")
    place.serve("redis behind flask", app, ready, {"REDIS_PORT": str(redis_port)})
    return RedisBehindFlask("Redis behind Flask", port, frozenset(Modality))


def _pings(port: int) -> bool:
    try:
        return _talk(port, b"PING\r\n", 1).startswith(b"+PONG")
    except OSError:
        return False


def _write(port: int, vectors: Mapping[bytes, bytes]) -> None:
    commands = [
        b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)
        for key, value in vectors.items()
    ]
    for start in range(0, len(commands), 1000):
        some = commands[start : start + 1000]
        answer = _talk(port, b"".join(some), len(some))
        if answer.count(b"+OK") != len(some):
            raise Stopped(f"Redis answers {answer[:100]!r}")


def _talk(port: int, request: bytes, lines: int) -> bytes:
    """Send commands whose answers are a line each; returns the answers."""
    with socket.create_connection(("127.0.0.1", port), _SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        while answer.count(b"\r\n") < lines:
            some = connection.recv(65536)
            if not some:
                break
            answer += some
        return answer
