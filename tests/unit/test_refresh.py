"""Image URLs whose vectors have come of age: checked by ETag, and embedded again if changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from consumers.inputs.fetch import Fetcher
from embark.archive import now_ms
from embark.codec import Embedding, encode_embedding
from embark.errors import PermanentFailure
from embark.keys import Key, digest
from embark.queue.base import Lane
from embark.settings import FetchSettings, InputSettings
from embark.sources import Validators
from tests.support.gateway import service, vector_of
from tests.support.image_urls import HOST, REFRESH_S, Consumer, Site, content_key, serving
from tests.support.models import DIMENSION, GENERATION


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


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
