"""Invalidating inputs and generations, by the library and by the admin endpoint."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Blueprint, Flask

from embark.archive import MISSING, now_ms
from embark.codec import Embedding, encode_embedding
from embark.inputs import image_url_input, text_input
from embark.invalidation import Invalidation
from embark.keys import Key, digest
from embark.models import Model
from embark.sources import Source, Sources
from gateway import errors
from gateway.items import ItemParser
from gateway.views.admin import invalidate as invalidate_view
from tests.support.gateway import service
from tests.support.generations import NEW, OLD, TwoGenerations, two_generations
from tests.support.image_urls import HOST, Consumer, content_key, serving
from tests.support.models import DIMENSION, GENERATION
from tests.support.stack import wait_until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[TwoGenerations]:
    with two_generations(tmp_path) as opened:
        opened.ask("a", "b", "c")
        opened.ask("a", model=opened.new)
        opened.consume()
        opened.computed.clear()
        yield opened


def invalidate(here: TwoGenerations, *texts: str, remembered: bool = True) -> set[bytes]:
    items = [text_input(text) for text in texts]
    contents = {
        here.key(text).digest: None if remembered else item
        for text, item in zip(texts, items, strict=True)
    }
    catalogue = here.gateway.following.current
    return Invalidation(here.backends).inputs(catalogue, "words", contents)


def missing(here: TwoGenerations, model: Model, *texts: str) -> list[bool]:
    digests = [here.key(text).digest for text in texts]
    return [one is MISSING for one in here.archive.get_many(model, digests, 5)]


def test_an_input_is_forgotten_in_every_generation_and_computed_again(
    here: TwoGenerations,
) -> None:
    assert invalidate(here, "a", "b") == {here.key("a").digest, here.key("b").digest}
    assert missing(here, here.old, "a", "b", "c") == [True, True, False]
    assert missing(here, here.new, "a") == [True]
    here.consume()
    # "b" was never computed under the new generation, so it is not now.
    wanted = {here.key("a"), here.key("b"), here.key("a", here.new)}
    assert set(here.computed) == wanted
    assert missing(here, here.old, "a", "b") == [False, False]


def test_an_input_that_nobody_knows_is_queued_if_its_content_is_given(
    here: TwoGenerations,
) -> None:
    assert invalidate(here, "new") == set()
    assert invalidate(here, "new", remembered=False) == {here.key("new").digest}
    here.consume()
    assert here.computed == [here.key("new")]


def test_a_whole_generation_is_computed_again(here: TwoGenerations) -> None:
    told: list[tuple[int, int]] = []
    done = Invalidation(here.backends).generation(here.old, lambda *so_far: told.append(so_far))
    assert (done, told[-1]) == ((3, 3), (3, 3))
    assert missing(here, here.old, "a", "b", "c") == [True] * 3
    assert missing(here, here.new, "a") == [False]
    here.consume()
    assert set(here.computed) == {here.key(text) for text in "abc"}


def test_an_image_by_url_is_not_computed_of_a_record_that_is_yet_to_be_forgotten(
    tmp_path: Path,
) -> None:
    allowed: dict[str, Any] = {"consumer__fetch__allow_networks": (f"{HOST}/32",)}
    with serving() as site, service(tmp_path, **allowed) as here:
        consumer = Consumer(here)
        # Pages come in the order of digests: the URL's is in the first, its image's in the last.
        urls = (image_url_input(f"{site.url}?{number}") for number in itertools.count())
        item = next(one for one in urls if digest(one)[0] < 0x10)
        images = (b"image %d" % number for number in itertools.count())
        site.image = next(one for one in images if content_key(one).digest[0] >= 0xF0)
        by_url, by_content = Key("pictures", GENERATION, digest(item)), content_key(site.image)
        others = [
            Key("pictures", GENERATION, bytes([0x10 + number % 0xE0]) + number.to_bytes(15, "big"))
            for number in range(2500)
        ]
        wrong = np.ones(DIMENSION, np.float32)
        keys = (by_url, *others, by_content)
        records = {key.digest: encode_embedding(key, wrong, "float32", now_ms()) for key in keys}
        here.store.put_many("pictures", GENERATION, records)
        source = Source(item.kind, item.payload)
        Sources(here.backends.ledger).remember("pictures", {by_url.digest: source})

        def consume(*_: int) -> None:
            consumer.consume()

        # A consumer takes whatever is queued, page after page.
        done = Invalidation(here.backends).generation(here.models["pictures"], consume)
        consumer.consume()
        assert (done, consumer.embedded) == ((2502, 1), [site.image])
        for key in (by_url, by_content):
            record = consumer.record(key)
            assert isinstance(record, Embedding) and not np.array_equal(record.vector, wrong)
        assert consumer.record(others[0]) is MISSING
        consumer.close()


def test_what_is_computed_while_a_generation_is_forgotten_is_forgotten_too(
    here: TwoGenerations,
) -> None:
    told: list[tuple[int, int]] = []

    def report(*so_far: int) -> None:
        told.append((so_far[0], so_far[1]))
        if len(told) == 1:
            # As a lookup that comes meanwhile has it.
            here.ask("a")
            here.consume()

    Invalidation(here.backends).generation(here.old, report)
    assert missing(here, here.old, "a", "b", "c") == [True] * 3
    here.consume()
    assert missing(here, here.old, "a", "b", "c") == [False] * 3


def post(here: TwoGenerations, **body: object) -> tuple[int, dict[str, object]]:
    answer = here.http.post("/v1/admin/invalidate", json=body)
    assert answer.json is not None
    return answer.status_code, answer.json


def test_the_endpoint_invalidates_and_says_what_is_queued(here: TwoGenerations) -> None:
    key = str(here.key("c"))
    items = ["a", {"key": key}, {"key": f"words:{here.old.generation}:{'0' * 32}"}]
    status, answer = post(here, model="words", items=items)
    assert (status, answer["invalidated"]) == (202, 3)
    assert [item["queued"] for item in answer["items"]] == [True, True, False]  # type: ignore[attr-defined]
    assert here.lookup(["a"], model="words")[0]["status"] == "oov"
    here.consume()
    assert [item["status"] for item in here.lookup(["a", "c"], model="words")] == ["hit", "hit"]


def test_the_endpoint_invalidates_a_whole_generation(here: TwoGenerations) -> None:
    status, answer = post(here, model="words", generation=NEW)
    assert (status, answer) == (
        202,
        {"model": "words", "generation": NEW, "invalidated": 1, "queued": 1},
    )
    assert missing(here, here.new, "a") == [True]
    assert missing(here, here.old, "a", "b", "c") == [False] * 3
    here.consume()
    assert here.computed == [here.key("a", here.new)]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"generation": OLD}, 400, "model_missing"),
        ({"model": "words", "generation": OLD, "items": ["a"]}, 400, "invalid_items"),
        ({"model": "words", "generation": None}, 400, "invalid_generation"),
        ({"model": "words", "generation": OLD[:8]}, 404, "unknown_generation"),
        ({"model": "none", "generation": OLD}, 404, "unknown_model"),
    ],
)
def test_a_generation_that_is_not_named_rightly_is_left_alone(
    here: TwoGenerations, body: dict[str, object], status: int, code: str
) -> None:
    found, answer = post(here, **body)
    assert (found, answer["error"]["code"]) == (status, code)  # type: ignore[index]
    assert missing(here, here.old, "a", "b", "c") == [False] * 3


def test_an_invalidation_that_takes_too_long_ends_and_goes_on_when_asked_again(
    here: TwoGenerations,
) -> None:
    def ask(most_seconds: float) -> Any:
        app, blueprint = Flask("invalidate"), Blueprint("invalidate", __name__)
        app.config["MAX_CONTENT_LENGTH"] = 1000
        parser = ItemParser(here.gateway.following, here.settings.inputs, 10)
        invalidate_view.add(blueprint, parser, Invalidation(here.backends), most_seconds)
        app.register_blueprint(blueprint)
        errors.register(app)
        body = {"model": "words", "generation": OLD}
        return app.test_client().post("/invalidate", json=body)

    late = ask(-1)
    assert (late.status_code, late.json["error"]["code"]) == (503, "invalidation_too_slow")
    assert late.headers["Retry-After"]
    assert ask(30).status_code == 202
    assert missing(here, here.old, "a", "b", "c") == [True] * 3
    # What was forgotten without being queued is asked for by the next lookup.
    here.lookup(["a"], model="words")
    wait_until(lambda: here.consume() and here.computed == [here.key("a")], 60, "it is computed")
