"""Any WSGI application under the gateway's own server, as the gateway runs: bare Flask, for one.

`python -m benchmarks.gateway.programs.own_server MODULE:APP PORT PROCESSES THREADS`
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any

from gunicorn.app.base import BaseApplication

from embark.settings import Settings
from gateway.access.gate import Gate
from gateway.server.worker import Worker


@dataclass(frozen=True)
class _Open:
    """What the server asks of a gateway: who may ask."""

    gate: Gate


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, name: str, port: int, processes: int, threads: int) -> None:
        self._name = name
        gateway = {"port": port, "processes": processes, "threads": threads}
        # Clients that ask without a pause are an overload, which would be refused.
        self.settings = Settings.model_validate({"gateway": {**gateway, "objective_ms": 60_000}})
        self.gateway: _Open | None = None
        super().__init__()

    def load_config(self) -> None:
        gateway = self.settings.gateway
        options: dict[str, Any] = {
            "bind": f"127.0.0.1:{gateway.port}",
            "workers": gateway.processes,
            "worker_class": Worker,
            "loglevel": "warning",
        }
        if "control_socket_disable" in self.cfg.settings:
            options["control_socket_disable"] = True
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        self.gateway = _Open(Gate(self.settings.gateway))
        module, _, app = self._name.partition(":")
        return getattr(importlib.import_module(module), app)


if __name__ == "__main__":
    _Server(sys.argv[1], *(int(one) for one in sys.argv[2:])).run()
