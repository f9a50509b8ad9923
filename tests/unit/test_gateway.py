"""The HTTP interface on real embedded stores."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from embark.inputs import image_input, text_input
from embark.keys import Key, digest
from embark.queue.base import Lane
from tests.support.gateway import Service, json_of, service, vector_of
from tests.support.models import DIMENSION, GENERATION
from tests.support.stack import wait_until

CHUNKED = {"wsgi.input_terminated": True}
IMAGE = b"any bytes: the gateway never decodes"
IMAGE_BASE64 = base64.b64encode(IMAGE).decode()


def words_key(text: str) -> Key:
    return Key("words", GENERATION, digest(text_input(text)))


def pictures_key(data: bytes) -> Key:
    return Key("pictures", GENERATION, digest(image_input(data)))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path, patient=True) as opened:
        yield opened


def queued_keys(here: Service, lane: Lane = Lane.INTERACTIVE) -> list[Key]:
    return [one.request.key for one in here.queue.take(lane, 1000, 10**9)]


def test_a_miss_is_oov_and_queued_and_a_record_is_a_hit(here: Service) -> None:
    (missed,) = here.lookup(["a"], model="words")
    key = words_key("a")
    assert missed == {
        "index": 0,
        "status": "oov",
        "model": "words",
        "key": str(key),
        "generation": GENERATION,
        "queued": True,
        "embedding": [0.0] * DIMENSION,
    }
    assert queued_keys(here) == [key]
    here.put_vector(key, vector_of(key, DIMENSION))
    for item in ("a", {"text": "a"}, {"key": str(key)}, {"text": "a", "model": "words"}):
        (hit,) = here.lookup([item], model="words")
        assert hit["status"] == "hit"
        stored = vector_of(key, DIMENSION).astype(np.float16)
        np.testing.assert_array_equal(np.array(hit["embedding"], np.float32), stored)


def test_base64_and_float_say_the_same(here: Service) -> None:
    key = pictures_key(IMAGE)
    here.put_vector(key, vector_of(key, DIMENSION))
    items = [{"image": IMAGE_BASE64}]
    (as_float,) = here.lookup(items, model="pictures")
    (as_base64,) = here.lookup(items, model="pictures", encoding="base64")
    decoded = np.frombuffer(base64.b64decode(as_base64["embedding"]), "<f4")
    np.testing.assert_array_equal(np.array(as_float["embedding"], np.float32), decoded)
    np.testing.assert_array_equal(decoded, vector_of(key, DIMENSION))


def test_a_key_of_another_generation_names_the_input_under_the_live_one(here: Service) -> None:
    key = words_key("a")
    here.put_vector(key, vector_of(key, DIMENSION))
    old = Key("words", "f" * 16, key.digest)
    (found,) = here.lookup([{"key": str(old)}])
    assert (found["status"], found["key"]) == ("hit", str(key))


def test_a_failure_comes_with_its_reason_and_is_not_queued(here: Service) -> None:
    here.put_failure(words_key("a"))
    (failed,) = here.lookup(["a"], model="words")
    assert failed["status"] == "failed"
    assert failed["reason"] == {"code": "not_found", "message": "the reason"}
    assert queued_keys(here) == []


BAD_ITEMS: dict[str, list[Any]] = {
    "invalid_item": [None, 3, [], {}, {"text": 3}, {"text": "a", "image": "b"}],
    "unknown_field": [{"text": "a", "txt": "b"}],
    "unknown_model": [{"text": "a", "model": "none"}],
    "invalid_model": [{"text": "a", "model": 3}],
    "wrong_modality": [{"image": IMAGE_BASE64}, {"image_url": "http://a/"}],
    "invalid_base64": [{"image": "###", "model": "pictures"}],
    "empty_image": [{"image": "", "model": "pictures"}],
    "invalid_url": [{"image_url": "ftp://a/", "model": "pictures"}],
    "image_url_too_large": [{"image_url": "http://a/" + "x" * 3000, "model": "pictures"}],
    "text_too_large": ["x" * 70_000],
    "invalid_key": [{"key": "words:x:y"}],
    "wrong_model": [{"key": f"pictures:{GENERATION}:{'0' * 32}"}],
}


@pytest.mark.parametrize(
    ("code", "item"), [(code, item) for code, items in BAD_ITEMS.items() for item in items]
)
def test_a_bad_item_is_named_and_the_others_are_served(
    here: Service, code: str, item: object
) -> None:
    good, bad, also_good = here.lookup(["a", item, "b"], model="words")
    assert (good["status"], also_good["status"]) == ("oov", "oov")
    assert (bad["index"], bad["status"], bad["error"]["code"]) == (1, "invalid", code)
    alone = here.http.post("/v1/lookup", json={"items": [item], "model": "words"})
    assert 400 <= alone.status_code < 500
    assert json_of(alone)["error"] == {**bad["error"], "index": 0}


def test_a_byte_that_is_not_utf8_fails_its_own_item_only(here: Service) -> None:
    body = b'{"model": "words", "items": ["good", "b\xffd", "\\ud800"]}'
    items = json_of(here.http.post("/v1/lookup", data=body))["items"]
    assert [item["status"] for item in items] == ["oov", "invalid", "invalid"]
    assert items[1]["error"]["code"] == "invalid_text"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"items": ["a"], "wait_ms": NaN}', 400, "invalid_json"),
        (b'{"items": ["a"], "wait_ms": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        (b"{}", 400, "invalid_items"),
        (b'{"items": []}', 400, "empty_batch"),
        (b'{"items": ["a"]}', 400, "model_missing"),
        (b'{"items": ["a"], "model": "none"}', 404, "unknown_model"),
        (b'{"items": ["a"], "modle": "words"}', 400, "unknown_field"),
        (b'{"items": ["a"], "model": "words", "on_miss": "maybe"}', 400, "invalid_on_miss"),
        (b'{"items": ["a"], "model": "words", "on_miss": []}', 400, "invalid_on_miss"),
        (b'{"items": ["a"], "model": "words", "wait_ms": 1e9}', 400, "invalid_wait_ms"),
        (b'{"items": ["a"], "model": "words", "wait_ms": true}', 400, "invalid_wait_ms"),
    ],
)
def test_a_bad_request_is_refused_with_a_code(
    here: Service, body: bytes, status: int, code: str
) -> None:
    answer = here.http.post("/v1/lookup", data=body)
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (status, code)


def test_as_many_items_as_openai_takes_are_served_and_one_more_is_refused(here: Service) -> None:
    texts = [f"text {number}" for number in range(2049)]
    assert len(here.lookup(texts[:2048], model="words")) == 2048
    answer = here.http.post("/v1/lookup", json={"items": texts, "model": "words"})
    assert answer.status_code == 413
    assert json_of(answer)["error"]["code"] == "too_many_items"
    assert json_of(answer)["error"]["index"] == 2048


def test_too_large_a_body_is_refused(tmp_path: Path) -> None:
    with service(tmp_path, gateway__max_body_bytes=2000) as small:
        body = b" " * 3000
        for sent in ({"data": body}, {"input_stream": BytesIO(body), "environ_overrides": CHUNKED}):
            answer = small.http.post("/v1/lookup", **sent)
            assert (answer.status_code, json_of(answer)["error"]["code"]) == (413, "body_too_large")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=200))
def test_no_body_is_an_internal_error(here: Service, body: bytes) -> None:
    for data in (body, b'{"model": "words", "items": [' + body + b"]}"):
        assert here.http.post("/v1/lookup", data=data).status_code < 500


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/v1/lookup", 405)])
def test_other_errors_are_json_too(here: Service, path: str, status: int) -> None:
    answer = here.http.get(path)
    assert answer.status_code == status
    assert json_of(answer)["error"]["code"]


# Items whose answers do not depend on time: hits, failures, misses, invalid ones, keys.
_ITEMS: list[Any] = [
    *({"model": "words", "text": f"hit {number}"} for number in range(4)),
    *({"model": "words", "text": f"failed {number}"} for number in range(3)),
    *({"model": "words", "text": f"miss {number}"} for number in range(4)),
    {"model": "pictures", "image": IMAGE_BASE64},
    {"model": "pictures", "image": base64.b64encode(b"never seen").decode()},
    {"key": str(words_key("hit 1"))},
    {"model": "words"},
    {"model": "none", "text": "a"},
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.lists(st.sampled_from(_ITEMS), min_size=1, max_size=30))
def test_any_mixture_answers_each_item_as_if_it_were_alone(
    mixed: Service, items: list[Any]
) -> None:
    together = mixed.lookup(items, on_miss="skip", partial=True)
    assert [answer.pop("index") for answer in together] == list(range(len(items)))
    for item, answer in zip(items, together, strict=True):
        (alone,) = mixed.lookup([item], on_miss="skip", partial=True)
        alone.pop("index")
        for one in (answer, alone):
            one.pop("age_ms", None)
        assert answer == alone


@pytest.fixture
def mixed(here: Service) -> Service:
    for number in range(4):
        key = words_key(f"hit {number}")
        here.put_vector(key, vector_of(key, DIMENSION))
        here.put_failure(words_key(f"failed {number}"), f"code_{number}")
    here.put_vector(pictures_key(IMAGE), vector_of(pictures_key(IMAGE), DIMENSION))
    return here


def test_repeated_misses_are_queued_once(here: Service) -> None:
    here.lookup(["a", "b", "a", {"text": "a"}], model="words")
    here.lookup(["a"], model="words")
    assert sorted(map(str, queued_keys(here))) == sorted([str(words_key("a")), str(words_key("b"))])


def test_a_number_that_is_too_long_is_told_in_our_words(here: Service) -> None:
    body = b'{"model": "words", "items": ["a"], "wait_ms": ' + b"9" * 5000 + b"}"
    answer = here.http.post("/v1/lookup", data=body)
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (400, "invalid_json")
    assert "a number has 5000 digits; at most 1000" in json_of(answer)["error"]["message"]


def test_skip_queues_nothing(here: Service) -> None:
    (found,) = here.lookup(["a"], model="words", on_miss="skip")
    assert (found["status"], found["queued"]) == ("oov", False)
    assert queued_keys(here) == []


def test_wait_returns_the_vector_once_it_is_there(here: Service) -> None:
    key = words_key("a")

    def write_when_queued() -> None:
        while not here.queue.take(Lane.INTERACTIVE, 1, 10**9):
            pass
        here.put_vector(key, vector_of(key, DIMENSION))

    writer = threading.Thread(target=write_when_queued)
    writer.start()
    (found,) = here.lookup(["a"], model="words", on_miss="wait", wait_ms=10_000)
    writer.join()
    assert found["status"] == "hit"


def test_wait_ends_as_oov(here: Service) -> None:
    def is_queued() -> bool:
        (found,) = here.lookup(["a"], model="words", on_miss="wait", wait_ms=50)
        assert found["status"] == "oov"
        return bool(found["queued"])

    wait_until(is_queued, 60, "it is queued")


def test_without_the_archive_lookups_answer_oov(here: Service) -> None:
    here.store.close()
    (found,) = here.lookup(["a"], model="words")
    assert (found["status"], found["queued"]) == ("oov", False)
    ready = here.http.get("/v2/health/ready")
    assert ready.status_code == 503
    assert json_of(ready)["dependencies"]["archive"]["state"] == "down"
    assert here.http.get("/v2/health/live").status_code == 200


def test_without_the_queue_lookups_answer_and_prefetch_says_503(here: Service) -> None:
    here.put_vector(words_key("a"), vector_of(words_key("a"), DIMENSION))
    here.queue.close()
    hit, missed = here.lookup(["a", "b"], model="words")
    assert (hit["status"], missed["status"], missed["queued"]) == ("hit", "oov", False)
    refused = here.http.post("/v1/prefetch", json={"items": ["b"], "model": "words"})
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert here.http.get("/v2/health/ready").status_code == 200


def test_prefetch_is_in_the_queue_when_it_answers(here: Service) -> None:
    items = ["a", "b", "a", {"key": str(words_key("c"))}, 3]
    answer = here.http.post("/v1/prefetch", json={"items": items, "model": "words"})
    assert (answer.status_code, json_of(answer)["accepted"]) == (202, 3)
    codes = [item.get("error", {}).get("code") for item in json_of(answer)["items"]]
    assert codes == [None, None, None, "content_missing", "invalid_item"]
    assert queued_keys(here, Lane.BULK) == [words_key("a"), words_key("b")]


def test_models_are_described(here: Service) -> None:
    models = json_of(here.http.get("/v1/models"))["models"]
    assert [(one["name"], one["modality"], one["dimension"]) for one in models] == [
        ("pictures", "image", DIMENSION),
        ("words", "text", DIMENSION),
    ]


def test_metrics_can_be_parsed(here: Service) -> None:
    here.lookup(["a"], model="words")
    families = {one.name for one in text_string_to_metric_families(here.http.get("/metrics").text)}
    assert {"embark_lookup_items", "embark_misses", "embark_queue_depth"} <= families
