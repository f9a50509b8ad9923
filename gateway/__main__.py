"""`python -m gateway`: the service under gunicorn, several processes with threads."""

from __future__ import annotations

import sys
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger

from embark import config, log
from embark.errors import EmbArkError
from embark.metrics import forget_process
from embark.models import load_catalogue
from embark.settings import Settings
from gateway.app import Gateway, open_gateway

_DRAIN_SECONDS = 15
_KEEP_ALIVE_SECONDS = 75


class _Server(BaseApplication):
    """Gunicorn's master; each worker opens its own `Gateway` after fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gateway: Gateway | None = None
        super().__init__()

    def load_config(self) -> None:
        gateway = self._settings.gateway
        host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
        options: dict[str, Any] = {
            "bind": f"{host}:{gateway.port}",
            "workers": gateway.processes,
            "threads": gateway.threads,
            "worker_class": "gthread",
            "keepalive": _KEEP_ALIVE_SECONDS,
            "graceful_timeout": _DRAIN_SECONDS,
            "proc_name": "embark-gateway",
            "logger_class": _StructuredLogger,
            "loglevel": self._settings.log.level,
            "worker_exit": self._worker_exit,
            "child_exit": _child_exit,
        }
        if "control_socket_disable" in self.cfg.settings:  # gunicorn 25 and later
            options["control_socket_disable"] = True
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        self._gateway = open_gateway(self._settings)
        return self._gateway.app

    def _worker_exit(self, arbiter: object, worker: object) -> None:
        if self._gateway is not None:
            self._gateway.close()


class _StructuredLogger(Logger):
    """Hands gunicorn's own lines to the process's log."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def _child_exit(arbiter: object, worker: Any) -> None:
    forget_process(worker.pid)


def main() -> int:
    """Run until SIGTERM."""
    try:
        settings = config.load().settings
        log.configure(level=settings.log.level, form=settings.log.format, process="gateway")
        load_catalogue(settings.retina.model_repository)
    except EmbArkError as error:
        print(f"gateway: {error.message}", file=sys.stderr)
        return 2
    _Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
