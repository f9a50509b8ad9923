"""The WSGI application, put together from its parts."""

from __future__ import annotations

import time
from typing import Final

from flask import Flask, Response, g, request

from embark.archive import Archive
from embark.backends import Backends, open_backends, open_neighbours
from embark.following import Following
from embark.metrics import LOOKUP_REQUESTS
from embark.models import Model
from embark.settings import Settings
from embark.usage import Usage
from gateway import errors
from gateway.items import ItemParser
from gateway.lookup import Lookups
from gateway.misses import Misses
from gateway.neighbours import NearItems
from gateway.views import admin, health, lookup, metrics, models, neighbours, page, prefetch
from gateway.views.inference import infer, metadata, statistics
from gateway.views.openai import embeddings


class Gateway:
    """One process's application with everything it holds open; made after fork.

    Args:
        settings: all settings.
        backends: closed with it.

    Attributes:
        app: the Flask application.
        following: the models, as they are now.
        neighbours: finds the nearest vectors.

    Raises:
        ConfigurationError: no model is exported.
    """

    def __init__(self, settings: Settings, backends: Backends) -> None:
        self._backends: Final = backends
        store, queue, ledger = backends.store, backends.queue, backends.ledger
        retina = settings.retina
        self.following: Final = Following(retina.model_repository, ledger, retina.follow_seconds)
        self._misses: Final = Misses(queue, settings.gateway)
        self._usage: Final = Usage(ledger, settings.archive.usage)
        lookups = Lookups(
            Archive(store),
            self._misses,
            self._usage,
            settings.gateway,
            settings.inputs.refresh_url_seconds,
        )
        self.neighbours: Final = open_neighbours(store, settings, self._served)
        near = NearItems(lookups, Archive(store), self.neighbours, ledger, settings)
        parser = ItemParser(self.following, settings.inputs, settings.gateway.max_items)
        self.app: Final = Flask("embark", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = settings.gateway.max_body_bytes
        errors.register(self.app)
        _measure(self.app)
        for blueprint in (
            lookup.routes(parser, lookups, settings.gateway),
            prefetch.routes(parser, queue),
            neighbours.routes(parser, near, settings.gateway),
            models.routes(self.following),
            embeddings.routes(parser, lookups, settings.gateway),
            infer.routes(parser, lookups, settings.gateway),
            metadata.routes(parser),
            statistics.routes(parser),
            admin.routes(parser, backends, settings.gateway.admin_token),
            page.routes(),
            health.routes(store, queue),
            metrics.routes(queue),
        ):
            self.app.register_blueprint(blueprint)

    def _served(self) -> list[Model]:
        catalogue = self.following.current
        return [model for name in catalogue for model in catalogue.generations(name)]

    def close(self) -> None:
        """Queue what is buffered and release everything; idempotent."""
        self.neighbours.close()
        self.following.close()
        self._misses.close()
        self._usage.close()
        self._backends.close()


def open_gateway(settings: Settings) -> Gateway:
    """Open what the settings name.

    Raises:
        ConfigurationError: no model is exported, or a package is missing.
        Unavailable: the embedded archive or queue cannot be opened.
    """
    return Gateway(settings, open_backends(settings))


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
