"""`python -m gateway`: the service under gunicorn, several processes."""

from __future__ import annotations

import os
import sys
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger

from embark import config, log
from embark.api_keys import read_keys
from embark.errors import EmbArkError
from embark.listening import require_safe
from embark.metrics import PROCESSES_APART, SHARED_FOLDER, forget_process
from embark.models import load_catalogue
from embark.settings import GatewaySettings, Settings
from gateway.app import Gateway, open_gateway
from gateway.server.tls import Certificate
from gateway.server.worker import Worker

_DRAIN_SECONDS = 15

_log = log.logger(__name__)


class _Server(BaseApplication):
    """Gunicorn's master; each worker opens its own `Gateway` after fork.

    Attributes:
        settings: all settings.
        gateway: the worker's own.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.gateway: Gateway | None = None
        super().__init__()

    def load_config(self) -> None:
        gateway = self.settings.gateway
        host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
        options: dict[str, Any] = {
            "bind": f"{host}:{gateway.port}",
            "workers": gateway.processes,
            "worker_class": Worker,
            # Gunicorn would take SCRIPT_NAME from clients of this machine.
            "forwarder_headers": "",
            "certfile": gateway.tls.certificate and str(gateway.tls.certificate),
            "keyfile": gateway.tls.key and str(gateway.tls.key),
            "graceful_timeout": _DRAIN_SECONDS,
            "proc_name": "embark-gateway",
            "logger_class": _StructuredLogger,
            "loglevel": self.settings.log.level,
            "worker_exit": self._worker_exit,
            "child_exit": _child_exit,
        }
        if "control_socket_disable" in self.cfg.settings:  # gunicorn 25 and later
            options["control_socket_disable"] = True
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        self.gateway = open_gateway(self.settings)
        return self.gateway.app

    def _worker_exit(self, arbiter: object, worker: object) -> None:
        if self.gateway is not None:
            self.gateway.close()


class _StructuredLogger(Logger):
    """Hands gunicorn's own lines to the process's log."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def _child_exit(arbiter: object, worker: Any) -> None:
    forget_process(worker.pid)


def require_access(settings: GatewaySettings) -> None:
    """Raise ConfigurationError for keys or a certificate that cannot be used."""
    require_safe(settings)
    if settings.keys_file is not None:
        read_keys(settings.keys_file)
    if settings.tls.certificate is not None and settings.tls.key is not None:
        Certificate(settings.tls.certificate, settings.tls.key)


def main() -> int:
    """Run until SIGTERM."""
    try:
        settings = config.load().settings
        log.configure(level=settings.log.level, form=settings.log.format, process="gateway")
        load_catalogue(settings.retina.model_repository)
        require_access(settings.gateway)
    except EmbArkError as error:
        print(f"gateway: {error.message}", file=sys.stderr)
        return 2
    if settings.gateway.processes > 1 and SHARED_FOLDER not in os.environ:
        _log.warning("metrics_of_one_process", hint=f"set {SHARED_FOLDER} to an empty folder")
        PROCESSES_APART.set(settings.gateway.processes)
    _Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
