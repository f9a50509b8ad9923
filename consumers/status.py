"""The consumer's own HTTP port: metrics and health, for orchestrators that run it by itself."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import orjson
from prometheus_client import CONTENT_TYPE_LATEST

from embark.backends import Backends
from embark.errors import ConfigurationError, Unavailable
from embark.metrics import exposition
from embark.settings import ConsumerSettings

LIVE, READY, METRICS = "/v2/health/live", "/v2/health/ready", "/metrics"


class StatusServer:
    """Answers GET of `LIVE`, `READY` (503 while the archive is away) and `METRICS`.

    Args:
        settings: `status_host` and `status_port`; nothing listens if the port is 0.
        backends: whose state is told.

    Raises:
        ConfigurationError: the port cannot be listened on.
    """

    def __init__(self, settings: ConsumerSettings, backends: Backends) -> None:
        self._server: ThreadingHTTPServer | None = None
        if not settings.status_port:
            return
        address = (settings.status_host, settings.status_port)
        try:
            self._server = ThreadingHTTPServer(address, _handler(backends))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {address[0]}:{address[1]} ({error.strerror}); change"
                " consumer.status_port"
            ) from None
        self._server.daemon_threads = True
        self._thread: Final = threading.Thread(
            target=self._server.serve_forever, name="status", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


def _handler(backends: Backends) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path == METRICS:
                self._answer(200, CONTENT_TYPE_LATEST, exposition())
            elif self.path == LIVE:
                self._json(200, {"live": True})
            elif self.path == READY:
                self._ready()
            else:
                self._json(404, {"error": {"code": "not_found", "message": "no such path"}})

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _ready(self) -> None:
            try:
                backends.store.check()
            except Unavailable as error:
                self._json(503, {"ready": False, "archive": error.message})
            else:
                self._json(200, {"ready": True})

        def _json(self, status: int, body: object) -> None:
            self._answer(status, "application/json", orjson.dumps(body))

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
