"""Requests for images by URL: fetched when their host's turn comes, and embedded if need be.

An image that another URL, or the image itself, has brought already is not embedded again. A vector
that has come of age is checked against its URL: the image is fetched only if the server says that
it has changed, and a URL that fails now keeps its vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from consumers.deliver import Deliverer
from consumers.fetch_pool import FetchPool
from consumers.flights import Flights
from consumers.inputs.fetch import Fetched, Fetcher
from embark import tracing
from embark.archive import LATE, Answer, Archive
from embark.backends import Backends
from embark.codec import Embedding
from embark.errors import ArchiveUnavailable, InputFailure
from embark.inputs import image_input
from embark.keys import Key, digest
from embark.log import logger
from embark.metrics import REFRESHES
from embark.models import Model
from embark.queue.base import Delivery
from embark.queue.traced import contexts
from embark.settings import Settings
from embark.sources import NOTHING_SAID, Sources, Validators

Embed = Callable[[Model, Delivery, bytes, Validators], None]

_ARCHIVE_SECONDS = 5.0
_TROUBLE_SECONDS = 1.0

_log = logger(__name__)


class ImageUrls:
    """Fetches for one consumer process. Safe for many threads.

    Args:
        backends: where vectors are, and what servers said of images seen before.
        flights: who is about to embed what.
        deliverer: ends what need not be embedded.
        settings: bounds of fetching.
        embed: embeds a fetched image.
    """

    def __init__(
        self,
        backends: Backends,
        flights: Flights,
        deliverer: Deliverer,
        settings: Settings,
        *,
        embed: Embed,
    ) -> None:
        self._archive: Final = Archive(backends.store)
        self._sources: Final = Sources(backends.ledger)
        self._flights: Final = flights
        self._deliverer: Final = deliverer
        self._embed: Final = embed
        self._fetcher: Final = Fetcher(settings.consumer.fetch, settings.inputs)
        self._pool: Final = FetchPool(settings.consumer.fetch)

    def submit(
        self,
        model: Model,
        delivery: Delivery,
        aged: Embedding | None,
        guard: Callable[[Callable[[], None]], None],
    ) -> bool:
        """Have a URL fetched and embedded; False when too many wait for it already.

        Args:
            model: whose vector is wanted.
            delivery: asks for it.
            aged: the vector that is to be checked, if there is one.
            guard: runs the task, and ends the delivery if it fails.
        """

        def task() -> None:
            if aged is None:
                self._see(model, delivery, self._fetch(delivery))
            else:
                self._refresh(model, delivery, aged)

        return self._pool.submit(urlsplit(_url(delivery)).netloc, lambda: guard(task))

    def close(self) -> None:
        """Forget what waits, and return when what runs has ended; idempotent."""
        self._pool.close()

    def _refresh(self, model: Model, delivery: Delivery, aged: Embedding) -> None:
        outcome = "unchanged"
        try:
            (source,) = self._sources.get_many(model.name, [delivery.request.key.digest])
            seen = source.validators if source else NOTHING_SAID
            fetched = self._fetch(delivery, seen)
        except (InputFailure, ArchiveUnavailable) as failure:
            _log.info("refresh_failed", key=str(delivery.request.key), reason=failure.code)
            outcome, fetched = "failed", Fetched(None, NOTHING_SAID)
        REFRESHES.labels(outcome="fetched" if fetched.body is not None else outcome).inc()
        if fetched.body is not None:
            self._see(model, delivery, fetched)
            return
        # Invalidated or replaced while its URL was asked: it must not come back.
        now = self._record(model, delivery)
        if now is LATE:
            self._deliverer.deferred([delivery], _TROUBLE_SECONDS)
            return
        if not isinstance(now, Embedding):
            self._see(model, delivery, self._fetch(delivery))
            return
        if now.written_ms != aged.written_ms:
            self._deliverer.known([delivery])
            return
        # Written again: its age begins anew.
        self._deliverer.embedded(
            model,
            [delivery],
            aged.vector[np.newaxis],
            outcome="known",
            validators=fetched.validators,
        )

    def _record(self, model: Model, delivery: Delivery) -> Answer:
        name = delivery.request.key.digest
        try:
            return self._archive.get_many(model, [name], _ARCHIVE_SECONDS)[0]
        except ArchiveUnavailable:
            return LATE

    def _fetch(self, delivery: Delivery, seen: Validators = NOTHING_SAID) -> Fetched:
        with tracing.step("fetch", contexts([delivery]), kind="client"):
            return self._fetcher.fetch(_url(delivery), seen)

    def _see(self, model: Model, delivery: Delivery, fetched: Fetched) -> None:
        image = fetched.body or b""
        if self._is_first(model, delivery, image, fetched.validators):
            self._embed(model, delivery, image, fetched.validators)

    def _is_first(
        self, model: Model, delivery: Delivery, image: bytes, validators: Validators
    ) -> bool:
        """Whether a fetched image must be embedded: no other request has, or is about to."""
        content = Key(model.name, model.generation, digest(image_input(image)))
        if not self._flights.lead(delivery, content):
            return False  # it ends with the one it follows
        try:
            (found,) = self._archive.get_many(model, [content.digest], _ARCHIVE_SECONDS)
        except ArchiveUnavailable:
            return True  # one inference too many does no harm
        if not isinstance(found, Embedding):
            return True
        self._deliverer.embedded(
            model, [delivery], found.vector[np.newaxis], outcome="known", validators=validators
        )
        return False


def _url(delivery: Delivery) -> str:
    return delivery.request.item.payload.decode("ascii")
