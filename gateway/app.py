"""The WSGI application, put together from its parts."""

from __future__ import annotations

import time
from typing import Final

from flask import Flask, Response, g, request

from embark.archive import Archive
from embark.backends import Backends, open_backends
from embark.metrics import LOOKUP_REQUESTS
from embark.models import Catalogue, load_catalogue
from embark.settings import Settings
from gateway import errors
from gateway.items import ItemParser
from gateway.lookup import Lookups
from gateway.misses import Misses
from gateway.views import health, lookup, metrics, models, prefetch


class Gateway:
    """One process's application with everything it holds open; made after fork.

    Attributes:
        app: the Flask application.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue, backends: Backends) -> None:
        self._backends: Final = backends
        store, queue = backends.store, backends.queue
        self._misses: Final = Misses(queue, settings.gateway)
        lookups = Lookups(Archive(store), self._misses, settings.gateway)
        parser = ItemParser(catalogue, settings.inputs, settings.gateway.max_items)
        self.app: Final = Flask("embark", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = settings.gateway.max_body_bytes
        errors.register(self.app)
        _measure(self.app)
        for blueprint in (
            lookup.routes(parser, lookups, settings.gateway),
            prefetch.routes(parser, queue),
            models.routes(catalogue),
            health.routes(store, queue),
            metrics.routes(queue),
        ):
            self.app.register_blueprint(blueprint)

    def close(self) -> None:
        """Queue what is buffered and release everything; idempotent."""
        self._misses.close()
        self._backends.close()


def open_gateway(settings: Settings) -> Gateway:
    """Open what the settings name.

    Raises:
        ConfigurationError: no model is exported, or a package is missing.
        Unavailable: the embedded archive or queue cannot be opened.
    """
    catalogue = load_catalogue(settings.retina.model_repository)
    return Gateway(settings, catalogue, open_backends(settings))


def _measure(app: Flask) -> None:
    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def observe(response: Response) -> Response:
        endpoint = request.url_rule.rule if request.url_rule else "unknown"
        labels = {"endpoint": endpoint, "status": str(response.status_code)}
        LOOKUP_REQUESTS.labels(**labels).observe(time.perf_counter() - g.started)
        return response
