"""The floor: a bare Flask route that answers another's requests with as many constant bytes.

The same processes and threads as the gateway's, on the gateway's own server or on gunicorn's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.gateway.peers.base import HttpSubject
from benchmarks.gateway.place import Place, answers, gunicorn, own_server
from benchmarks.gateway.workload import Batch
from embark.ports import free_port
from embark.settings import GatewaySettings

_Server = Callable[[Path, str, int, GatewaySettings], list[str]]

_APP = "benchmarks.gateway.programs.floor_app:app"


class Floor(HttpSubject):
    """The floor below one subject.

    Args:
        name: in tables.
        port: of `start_floor`.
        above: whose requests and sizes of answers it takes over.
    """

    def __init__(self, name: str, port: int, above: HttpSubject) -> None:
        super().__init__(name, port, above.modalities)
        self._above = above
        self._sizes: dict[tuple[str, int], int] = {}

    def path(self, batch: Batch) -> str:
        size = (batch.model.name, len(batch.payloads))
        if size not in self._sizes:
            self._sizes[size] = len(self._above.ask(batch))
        return f"/constant/{self._sizes[size]}"

    def body(self, batch: Batch) -> bytes:
        return self._above.body(batch)

    def headers(self) -> Mapping[str, str]:
        return self._above.headers()

    def vectors(self, answer: bytes, batch: Batch) -> int:
        return len(batch.payloads)


def start_floor(place: Place, settings: GatewaySettings) -> int:
    """Start the bare service on the gateway's own server, and return its port.

    Raises:
        Stopped: it does not start.
    """
    return _start(place, "floor", own_server, settings)


def start_gunicorn_floor(place: Place, settings: GatewaySettings) -> int:
    """Start the bare service under gunicorn's threads, and return its port.

    Raises:
        Stopped: it does not start.
    """
    return _start(place, "floor-gunicorn", gunicorn, settings)


def _start(place: Place, name: str, server: _Server, settings: GatewaySettings) -> int:
    port = free_port()
    argv = server(Path(sys.executable), _APP, port, settings)
    place.serve(name, argv, answers(f"http://127.0.0.1:{port}/ready"))
    return port
