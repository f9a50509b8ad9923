"""The endpoints below /v1/admin: dead letters, coverage and remembered images."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Blueprint, Flask
from werkzeug.test import TestResponse

from embark.inputs import Input, InputKind, image_input, text_input
from embark.keys import Key, digest
from embark.queue.base import Lane
from embark.settings import SourceSettings
from embark.sources import Source, Sources
from embark.store.ledger import Kind
from embark.store.lmdb_ledger import LmdbLedger
from gateway import errors
from gateway.items import ItemParser
from gateway.views.admin import coverage
from tests.support.generations import NEW, OLD, TwoGenerations, two_generations

LETTERS = "/v1/admin/dead-letters"
COVERAGE = "/v1/admin/coverage"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[TwoGenerations]:
    with two_generations(tmp_path) as opened:
        yield opened


def get(here: TwoGenerations, path: str) -> TestResponse:
    return here.http.get(path)


def post(here: TwoGenerations, path: str, body: object) -> TestResponse:
    return here.http.post(path, json=body)


def error_of(answer: TestResponse) -> tuple[int, str]:
    assert answer.json is not None
    return answer.status_code, answer.json["error"]["code"]


def bury(here: TwoGenerations, *texts: str) -> None:
    for text in texts:
        here.ask(text)
        (delivery,) = here.queue.take(Lane.INTERACTIVE, 1, 10**6)
        assert here.queue.bury(delivery, "internal", f"gave up on {text}")


def test_dead_letters_are_listed_latest_first_and_within_a_limit(here: TwoGenerations) -> None:
    bury(here, "a", "b", "c")
    listed = get(here, LETTERS).json
    assert listed is not None and listed["more"] is False
    assert [one["message"][-1] for one in listed["dead_letters"]] == ["c", "b", "a"]
    first = listed["dead_letters"][0]
    assert (first["key"], first["lane"]) == (str(here.key("c")), "interactive")
    assert (first["attempt"], first["code"]) == (1, "internal")
    two = get(here, f"{LETTERS}?limit=2").json
    assert two is not None and two["more"] is True
    assert two["dead_letters"] == listed["dead_letters"][:2]


def test_chosen_dead_letters_are_replayed_or_purged_and_others_stay(here: TwoGenerations) -> None:
    bury(here, "a", "b", "c")
    listed = get(here, LETTERS).json
    assert listed is not None
    c, b, a = (one["name"] for one in listed["dead_letters"])
    assert post(here, f"{LETTERS}/replay", {"names": [a, a, "gone"]}).json == {"replayed": 1}
    assert post(here, f"{LETTERS}/purge", {"names": [b]}).json == {"purged": 1}
    assert post(here, f"{LETTERS}/purge", {"names": [a, b]}).json == {"purged": 0}
    left = get(here, LETTERS).json
    assert left is not None and [one["name"] for one in left["dead_letters"]] == [c]
    here.consume()
    assert here.computed == [here.key("a")]


@pytest.mark.parametrize(
    "body",
    [{}, {"names": []}, {"names": "all"}, {"names": [3]}, {"names": ["a"] * 1001}],
)
def test_names_that_are_no_list_of_names_are_refused(
    here: TwoGenerations, body: dict[str, object]
) -> None:
    for verb in ("replay", "purge"):
        assert error_of(post(here, f"{LETTERS}/{verb}", body)) == (400, "invalid_names")


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "9" * 5000, "x", "", "1.5", "\u0663"])
def test_a_limit_out_of_its_range_is_refused(here: TwoGenerations, limit: str) -> None:
    assert error_of(get(here, f"{LETTERS}?limit={limit}")) == (400, "invalid_limit")


def test_coverage_counts_what_a_generation_has_of_what_the_live_one_has(
    here: TwoGenerations,
) -> None:
    here.ask("a", "b", "c", "d")
    here.ask("a", model=here.new)
    here.consume()
    found = get(here, f"{COVERAGE}?model=words&generation={NEW}").json
    assert found == {
        "model": "words",
        "generation": NEW,
        "live": OLD,
        "inputs": 4,
        "covered": 1,
        "failed": 0,
        "uses": 0.0,
        "covered_uses": 0.0,
        "share": 0.25,
    }
    live = get(here, f"{COVERAGE}?model=words").json
    assert live is not None and (live["generation"], live["share"]) == (OLD, 1.0)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "model_missing"),
        ("?model=none", 404, "unknown_model"),
        ("?model=words&generation=0", 404, "unknown_generation"),
        ("?model=words&modle=x", 400, "unknown_field"),
    ],
)
def test_a_coverage_of_nothing_is_refused(
    here: TwoGenerations, query: str, status: int, code: str
) -> None:
    assert error_of(get(here, COVERAGE + query)) == (status, code)


class SlowLedger(LmdbLedger):
    """Holds its first reader back until it is told to go on."""

    def __init__(self, here: TwoGenerations) -> None:
        super().__init__(here.store)
        self.reading, self.go_on = threading.Event(), threading.Event()

    def ids(self, model: str, kind: Kind) -> Iterator[list[bytes]]:
        self.reading.set()
        assert self.go_on.wait(30)
        return super().ids(model, kind)


def coverage_app(here: TwoGenerations, ledger: LmdbLedger, most_seconds: float) -> Flask:
    app, blueprint = Flask("coverage"), Blueprint("coverage", __name__)
    parser = ItemParser(here.gateway.following, here.settings.inputs, 10)
    backends = type(here.backends)(here.store, ledger, here.queue)
    coverage.add(blueprint, parser, backends, most_seconds)
    app.register_blueprint(blueprint)
    errors.register(app)
    return app


def test_of_two_coverages_at_once_one_is_told_to_come_again(here: TwoGenerations) -> None:
    ledger = SlowLedger(here)
    app = coverage_app(here, ledger, 30)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(lambda: app.test_client().get("/coverage?model=words"))
        assert ledger.reading.wait(30)
        second = app.test_client().get("/coverage?model=words")
        ledger.go_on.set()
        assert first.result(30).status_code == 200
    assert error_of(second) == (503, "busy")
    assert second.headers["Retry-After"]
    assert app.test_client().get("/coverage?model=words").status_code == 200


def test_a_coverage_that_takes_too_long_ends_and_lets_the_next_one_begin(
    here: TwoGenerations,
) -> None:
    here.ask("a")
    here.consume()
    app = coverage_app(here, LmdbLedger(here.store), -1)
    for _ in range(2):
        answer = app.test_client().get("/coverage?model=words")
        assert error_of(answer) == (503, "coverage_too_slow")


IMAGES = {
    "image/jpeg": b"\xff\xd8\xff\xe0 and more",
    "image/png": b"\x89PNG\r\n\x1a\n and more",
    "image/gif": b"GIF89a and more",
    "image/webp": b"RIFF\x00\x00\x00\x00WEBP and more",
}


def remember(here: TwoGenerations, item: Input, *, images: bool = True) -> str:
    name = digest(item)
    sources = Sources(here.backends.ledger, SourceSettings(images=images))
    sources.remember("words", {name: Source(item.kind, item.payload)})
    return f"/v1/admin/images/{Key('words', OLD, name)}"


@pytest.mark.parametrize("kind", IMAGES)
def test_a_remembered_image_is_served_as_an_image_and_nothing_else(
    here: TwoGenerations, kind: str
) -> None:
    answer = get(here, remember(here, image_input(IMAGES[kind])))
    assert (answer.status_code, answer.content_type, answer.data) == (200, kind, IMAGES[kind])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "data",
    [b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<html>", b"RIFF", b"\x00"],
)
def test_what_is_no_image_of_a_known_type_is_not_served(here: TwoGenerations, data: bytes) -> None:
    assert error_of(get(here, remember(here, image_input(data)))) == (404, "not_an_image")


def test_what_is_not_remembered_as_an_image_is_not_found(here: TwoGenerations) -> None:
    png = image_input(IMAGES["image/png"])
    urls = Input(InputKind.IMAGE_URL, b"https://example.com/a.png")
    paths = [
        remember(here, png, images=False),
        remember(here, urls),
        remember(here, text_input("GIF89a is a text")),
        f"/v1/admin/images/words:{OLD}:{'0' * 32}",
    ]
    for path in paths:
        assert error_of(get(here, path)) == (404, "image_not_remembered")
    assert error_of(get(here, "/v1/admin/images/words")) == (400, "invalid_key")
