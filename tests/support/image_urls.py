"""A web server with one image, and a consumer's path for URLs whose Retina makes vectors up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from consumers.deliver import Deliverer
from consumers.flights import Flights
from consumers.image_urls import ImageUrls
from consumers.in_flight import InFlight
from consumers.worker import _ends
from embark.archive import now_ms
from embark.codec import Embedding
from embark.inputs import image_input, image_url_input
from embark.keys import Key, digest
from embark.models import Model
from embark.queue.base import Delivery, Lane
from embark.sources import Validators
from tests.support.gateway import Service, vector_of
from tests.support.models import DIMENSION, GENERATION
from tests.support.stack import wait_until

REFRESH_S = 1000
HOST = "127.0.0.2"


class Site:
    """A web server with one image, and the ways it can be asked for.

    Attributes:
        image: what it serves; its ETag follows from it.
        status: of its answers, unless the image is unchanged.
        asked: the conditions of each request.
        before_answer: called before each answer.
    """

    def __init__(self) -> None:
        self.image = b"first"
        self.status = 200
        self.use_etag = True
        self.asked: list[tuple[str | None, str | None]] = []
        self.before_answer: Callable[[], None] = lambda: None
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                etag, since = self.headers["If-None-Match"], self.headers["If-Modified-Since"]
                site.asked.append((etag, since))
                site.before_answer()
                unchanged = site.status == 200 and (
                    etag == site.etag if site.use_etag else since == site.modified
                )
                self.send_response(304 if unchanged else site.status)
                if site.use_etag:
                    self.send_header("ETag", site.etag)
                self.send_header("Last-Modified", site.modified)
                self.send_header("Content-Length", "0" if unchanged else str(len(site.image)))
                self.end_headers()
                if not unchanged:
                    self.wfile.write(site.image)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self.server.server_port}/image"
        self.item = image_url_input(self.url)

    @property
    def etag(self) -> str:
        return f'"{self.image.hex()}"'

    @property
    def modified(self) -> str:
        return f"Wed, 25 Nov 2026 00:00:{len(self.image):02} GMT"


@contextmanager
def serving() -> Iterator[Site]:
    """Run a site."""
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


class Consumer:
    """The consumer's path for URLs, whose Retina makes vectors up."""

    def __init__(self, here: Service) -> None:
        self.here = here
        self.model = here.models["pictures"]
        self._in_flight = InFlight(here.queue, here.settings.consumer, 15)
        flights = Flights()
        self._deliverer = Deliverer(here.backends, self._in_flight, flights, here.settings)
        self._flights = flights
        self.urls = ImageUrls(
            here.backends, flights, self._deliverer, here.settings, embed=self._embed
        )
        self.embedded: list[bytes] = []
        self.failed: list[str] = []

    def _embed(
        self, model: Model, delivery: Delivery, image: bytes, validators: Validators
    ) -> None:
        self.embedded.append(image)
        vector = vector_of(content_key(image), DIMENSION)
        self._deliverer.embedded(model, [delivery], vector[None], validators=validators)

    def consume_one(self) -> None:
        """Consume what a lookup has just asked for; the gateway queues it a moment later."""
        wait_until(
            lambda: any(lane.depth for lane in self.here.queue.status().values()), 60, "queued"
        )
        assert self.consume() == 1

    def consume(self) -> int:
        taken = [one for lane in Lane for one in self.here.queue.take(lane, 10, 10**9)]
        self._in_flight.add(taken)
        oldest = now_ms() - REFRESH_S * 1000
        for delivery in taken:
            record = self.record(delivery.request.key)
            if _ends(record, delivery, oldest):  # type: ignore[arg-type]
                self._deliverer.known([delivery])
                continue
            self._flights.lead(delivery, delivery.request.key)
            aged = record if isinstance(record, Embedding) else None
            assert self.urls.submit(self.model, delivery, aged, lambda task: task())
        wait_until(lambda: not self._in_flight.held(), 60, "all has ended")
        return len(taken)

    def record(self, key: Key) -> object:
        return self.here.archive.get_many(self.model, [key.digest], 5)[0]

    def close(self) -> None:
        self.urls.close()
        self._in_flight.close()


def content_key(image: bytes) -> Key:
    return Key("pictures", GENERATION, digest(image_input(image)))
