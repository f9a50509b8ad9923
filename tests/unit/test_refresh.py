"""Image URLs whose vectors have come of age: checked by ETag, and embedded again if changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from consumers.deliver import Deliverer
from consumers.flights import Flights
from consumers.image_urls import ImageUrls
from consumers.in_flight import InFlight
from consumers.inputs.fetch import Fetcher
from consumers.worker import _ends
from embark.archive import now_ms
from embark.codec import Embedding, encode_embedding
from embark.errors import PermanentFailure
from embark.inputs import image_input, image_url_input
from embark.keys import Key, digest
from embark.models import Model
from embark.queue.base import Delivery, Lane
from embark.settings import FetchSettings, InputSettings
from embark.sources import Validators
from tests.support.gateway import Service, service, vector_of
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


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
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
            lambda: any(lane.depth for lane in self.here.queue.status().values()), 5, "queued"
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
        wait_until(lambda: not self._in_flight.held(), 5, "all has ended")
        return len(taken)

    def record(self, key: Key) -> object:
        return self.here.archive.get_many(self.model, [key.digest], 5)[0]

    def close(self) -> None:
        self.urls.close()
        self._in_flight.close()


def content_key(image: bytes) -> Key:
    return Key("pictures", GENERATION, digest(image_input(image)))


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[Consumer]:
    with service(
        tmp_path,
        inputs__refresh_url_seconds=REFRESH_S,
        consumer__fetch__allow_networks=(f"{HOST}/32",),
        archive__usage__window_seconds=0,
        gateway__in_flight_seconds=0.05,
        # Records are made old by writing them as old, which an L1 would see only later.
        gateway__l1__max_bytes=0,
    ) as here:
        made = Consumer(here)
        yield made
        made.close()


def ask(consumer: Consumer, site: Site) -> dict[str, object]:
    (item,) = consumer.here.lookup([{"image_url": site.url}], model="pictures")
    return item


def grow_old(consumer: Consumer, site: Site) -> None:
    """Have the URL's vector be older than it may."""
    key = Key("pictures", GENERATION, digest(site.item))
    record = consumer.record(key)
    assert isinstance(record, Embedding)
    then = now_ms() - REFRESH_S * 1000 - 1
    old = encode_embedding(key, record.vector, "float32", then)
    consumer.here.archive.put_many(consumer.model, {key.digest: old})
    time.sleep(0.06)  # until the gateway would queue it again


def first(consumer: Consumer, site: Site) -> None:
    assert ask(consumer, site)["status"] == "oov"
    consumer.consume_one()
    assert ask(consumer, site)["status"] == "hit"
    assert (consumer.consume(), consumer.embedded) == (0, [b"first"])


@pytest.mark.parametrize("use_etag", [True, False])
def test_an_unchanged_image_is_not_fetched_again(
    consumer: Consumer, site: Site, use_etag: bool
) -> None:
    site.use_etag = use_etag
    first(consumer, site)
    grow_old(consumer, site)
    assert ask(consumer, site)["status"] == "hit"
    consumer.consume_one()
    assert consumer.embedded == [b"first"]
    assert site.asked == [(None, None), (site.etag if use_etag else None, site.modified)]
    item = ask(consumer, site)
    assert (item["status"], consumer.consume()) == ("hit", 0)
    assert item["age_ms"] < 60_000  # type: ignore[operator]


def test_a_changed_image_is_computed_again_and_the_old_vector_served_meanwhile(
    consumer: Consumer, site: Site
) -> None:
    first(consumer, site)
    grow_old(consumer, site)
    before = ask(consumer, site)["embedding"]
    site.image = b"another"
    consumer.consume_one()
    assert consumer.embedded == [b"first", b"another"]
    after = ask(consumer, site)["embedding"]
    assert after != before
    assert np.allclose(after, vector_of(content_key(b"another"), DIMENSION))  # type: ignore[arg-type]
    grow_old(consumer, site)
    ask(consumer, site)
    consumer.consume_one()
    assert site.asked[-1][0] == site.etag


@pytest.mark.parametrize("status", [404, 503, 403])
def test_a_url_that_fails_now_keeps_its_vector(consumer: Consumer, site: Site, status: int) -> None:
    first(consumer, site)
    grow_old(consumer, site)
    ask(consumer, site)
    site.status = status
    consumer.consume_one()
    assert ask(consumer, site)["status"] == "hit"
    assert (consumer.consume(), consumer.embedded) == (0, [b"first"])


@pytest.mark.parametrize(("status", "again"), [(200, False), (200, True), (404, True)])
def test_what_is_invalidated_while_its_url_is_checked_does_not_come_back(
    consumer: Consumer, site: Site, status: int, again: bool
) -> None:
    first(consumer, site)
    grow_old(consumer, site)
    ask(consumer, site)
    key = Key("pictures", GENERATION, digest(site.item))
    new = vector_of(content_key(b"new"), DIMENSION)

    def invalidate() -> None:
        consumer.here.archive.store.delete_many(
            "pictures", GENERATION, [key.digest, content_key(site.image).digest]
        )
        if again:
            consumer.here.put_vector(key, new)

    site.status, site.before_answer = status, invalidate
    consumer.consume_one()
    record = consumer.record(key)
    if again:
        assert isinstance(record, Embedding)
        assert np.array_equal(record.vector, new)
        assert consumer.embedded == [b"first"]
    else:
        assert consumer.embedded == [b"first", b"first"]
        assert site.asked[-1] == (None, None)


def test_an_old_url_is_queued_once_while_it_is_asked_often(consumer: Consumer, site: Site) -> None:
    first(consumer, site)
    grow_old(consumer, site)
    statuses = {ask(consumer, site)["status"] for _ in range(5)}
    assert statuses == {"hit"}
    assert consumer.here.queue.status()[Lane.BULK].depth <= 2


def test_without_conditions_an_answer_of_unchanged_is_refused(site: Site) -> None:
    settings = FetchSettings.model_validate({"allow_networks": [f"{HOST}/32"]})
    fetcher = Fetcher(settings, InputSettings())
    site.status = 304
    with pytest.raises(PermanentFailure):
        fetcher.fetch(site.url)
    assert fetcher.fetch(site.url, Validators('"x"')).body is None
