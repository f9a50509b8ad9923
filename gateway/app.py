"""The WSGI application, put together from its parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from flask import Flask, Response, g, request
from prometheus_client import Histogram

from embark import tracing
from embark.archive import Archive
from embark.backends import Backends, open_backends, open_neighbours
from embark.following import Following
from embark.metrics import LOOKUP_REQUESTS
from embark.models import Model
from embark.settings import Settings
from embark.store.ledger import Ledger
from embark.usage import Usage
from gateway import errors
from gateway.access import hooks
from gateway.access.gate import Gate
from gateway.batches import Batches
from gateway.from_memory import FromMemory
from gateway.items import ItemParser
from gateway.l1 import L1
from gateway.l1.upkeep import Upkeep
from gateway.lookup import Lookups
from gateway.misses import Misses
from gateway.neighbours import NearItems
from gateway.traced import follow
from gateway.views import (
    admin,
    health,
    lookup,
    metrics,
    models,
    neighbours,
    openapi,
    page,
    prefetch,
)
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
        gate: decides who may ask.
        neighbours: finds the nearest vectors.

    Raises:
        ConfigurationError: no model is exported, or the keys' file cannot be used.
    """

    def __init__(self, settings: Settings, backends: Backends) -> None:
        self.gate: Final = Gate(settings.gateway)
        self._backends: Final = backends
        store, queue, ledger = backends.store, backends.queue, backends.ledger
        retina = settings.retina
        self.following: Final = Following(retina.model_repository, ledger, retina.follow_seconds)
        self._misses: Final = Misses(queue, settings.gateway)
        self._usage: Final = Usage(ledger, settings.archive.usage)
        archive, refresh_s = Archive(store), settings.inputs.refresh_url_seconds
        l1 = L1(settings.gateway.l1.max_bytes, images_change=refresh_s > 0)
        lookups = Lookups(
            archive, self._misses, self._usage, settings.gateway, refresh_s=refresh_s, l1=l1
        )
        batches = Batches(lookups, l1, self._usage, refresh_s)
        self._upkeep: Final = _upkeep(l1, archive, ledger, self.following, settings)
        self.neighbours: Final = open_neighbours(store, settings, self._served)
        near = NearItems(lookups, Archive(store), self.neighbours, ledger, settings)
        parser = ItemParser(self.following, settings.inputs, settings.gateway.max_items)
        self.app: Final = _App("embark", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = settings.gateway.max_body_bytes
        errors.register(self.app)
        if tracing.enabled():
            follow(self.app)
        _measure(self.app)
        hooks.install(self.app, self.gate, open_metrics=settings.gateway.open_metrics)
        for blueprint in (
            lookup.routes(parser, lookups, batches, settings.gateway),
            prefetch.routes(parser, queue, max(1, settings.gateway.threads // 4)),
            neighbours.routes(parser, near, settings.gateway),
            models.routes(self.following),
            embeddings.routes(parser, lookups, settings.gateway),
            infer.routes(parser, lookups, settings.gateway),
            metadata.routes(parser),
            statistics.routes(parser),
            admin.routes(parser, backends),
            openapi.routes(settings),
            page.routes(),
            health.routes(store, queue),
            metrics.routes(queue),
        ):
            self.app.register_blueprint(blueprint)
        most = settings.gateway.max_items
        self.app.wsgi_app = FromMemory(self.app.wsgi_app, self.following, batches, most)  # type: ignore[method-assign]

    def _served(self) -> list[Model]:
        catalogue = self.following.current
        return [model for name in catalogue for model in catalogue.generations(name)]

    def close(self) -> None:
        """Queue what is buffered and release everything; idempotent."""
        self.neighbours.close()
        if self._upkeep is not None:
            self._upkeep.close()
        self.following.close()
        self._misses.close()
        self._usage.close()
        self._backends.close()
        tracing.close()


def open_gateway(settings: Settings) -> Gateway:
    """Open what the settings name.

    Raises:
        ConfigurationError: no model is exported, or a package is missing.
        Unavailable: the embedded archive or queue cannot be opened.
    """
    tracing.start(settings.tracing, "gateway")
    return Gateway(settings, open_backends(settings))


class _App(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `func`: no view is a coroutine, and asking each time takes long."""
        return func


def _upkeep(
    l1: L1, archive: Archive, ledger: Ledger, following: Following, settings: Settings
) -> Upkeep | None:
    if not l1.max_bytes:
        return None
    every_s, prewarm_s = settings.retina.follow_seconds, settings.gateway.l1.prewarm_seconds
    return Upkeep(l1, archive, ledger, following, every_s=every_s, prewarm_s=prewarm_s)


def _measure(app: Flask) -> None:
    # Finding a metric by its labels takes longer than observing it.
    known: dict[tuple[str, int], Histogram] = {}

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def observe(response: Response) -> Response:
        rule, status = request.url_rule, response.status_code
        name = (rule.rule if rule else "unknown", status)
        metric = known.get(name)
        if metric is None:
            labels = {"endpoint": name[0], "status": str(status)}
            metric = known[name] = LOOKUP_REQUESTS.labels(**labels)
        metric.observe(time.perf_counter() - g.started)
        return response
