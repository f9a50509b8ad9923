"""OpenAI's embeddings API on real embedded stores."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embark.api_keys import Scope, new_key, write_keys
from embark.inputs import image_input, image_url_input, text_input
from embark.keys import Key, digest
from embark.models import Vector
from embark.queue.base import Lane
from tests.support.gateway import Service, json_of, service, vector_of
from tests.support.inference import queued_keys
from tests.support.models import DIMENSION, GENERATION

IMAGE = b"any bytes: the gateway never decodes"
DATA_URI = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
URL = "https://a.example/b.png"


def words_key(text: str) -> Key:
    return Key("words", GENERATION, digest(text_input(text)))


def stored(key: Key) -> Vector:
    """The vector of a key as `words` stores it."""
    return vector_of(key, DIMENSION).astype(np.float16).astype(np.float32)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with filled(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests that leave nothing behind."""
    with filled(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


@contextmanager
def filled(folder: Path) -> Iterator[Service]:
    with service(folder, patient=True, gateway__max_wait_ms=10_000) as opened:
        for number in range(4):
            key = words_key(f"hit {number}")
            opened.put_vector(key, vector_of(key, DIMENSION))
        opened.put_failure(words_key("failed"))
        for content in (image_input(IMAGE), image_url_input(URL)):
            key = Key("pictures", GENERATION, digest(content))
            opened.put_vector(key, vector_of(key, DIMENSION))
        yield opened


def ask(here: Service, given: Any, **fields: Any) -> Any:
    body = {"model": "words", "input": given, **fields}
    return here.http.post("/v1/embeddings", json=body)


def test_hits_are_answered_in_openai_s_form(shared: Service) -> None:
    answer = ask(shared, ["hit 1", "hit 0"], user="somebody", dimensions=DIMENSION).json
    vectors = [one.pop("embedding") for one in answer["data"]]
    assert answer == {
        "object": "list",
        "model": "words",
        "data": [{"object": "embedding", "index": 0}, {"object": "embedding", "index": 1}],
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    expected = [stored(words_key("hit 1")), stored(words_key("hit 0"))]
    np.testing.assert_array_equal(np.array(vectors, np.float32), expected)


def test_a_string_alone_and_nulls_are_taken(shared: Service) -> None:
    (one,) = ask(shared, "hit 2", encoding_format="base64", dimensions=None, user=None).json["data"]
    vector = np.frombuffer(base64.b64decode(one["embedding"]), "<f4")
    np.testing.assert_array_equal(vector, stored(words_key("hit 2")))


def test_fields_that_only_other_servers_know_change_nothing(shared: Service) -> None:
    known = ask(shared, ["hit 2"]).json
    sent = {"input_type": "query", "truncate": "END", "extra_headers": {}, "priority": 3}
    assert ask(shared, ["hit 2"], **sent).json == known


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compressed_body_is_read(shared: Service, encoding: str, compress: Any) -> None:
    body = json.dumps({"model": "words", "input": "hit 2"}).encode()
    answer = shared.http.post(
        "/v1/embeddings", data=compress(body), headers={"Content-Encoding": encoding}
    )
    assert answer.json == ask(shared, "hit 2").json


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"{}"), ("br", b"{}"), ("deflate", b"")])
def test_a_body_that_is_not_of_its_encoding_is_refused(
    shared: Service, encoding: str, body: bytes
) -> None:
    answer = shared.http.post("/v1/embeddings", data=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (400, "invalid_encoding")


@pytest.mark.parametrize("fields", [{}, {"modality": "image"}])
def test_images_come_as_data_uris_and_urls(shared: Service, fields: dict[str, str]) -> None:
    answer = ask(shared, [DATA_URI, URL], model="pictures", **fields).json
    assert answer["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    for one, content in zip(
        answer["data"], (image_input(IMAGE), image_url_input(URL)), strict=True
    ):
        expected = vector_of(Key("pictures", GENERATION, digest(content)), DIMENSION)
        np.testing.assert_array_equal(np.array(one["embedding"], np.float32), expected)


REFUSED: list[tuple[dict[str, Any], tuple[object, ...]]] = [
    ({"input": None}, (400, "invalid_input", "input", None)),
    ({"input": []}, (400, "empty_batch", "input", None)),
    ({"input": ""}, (400, "empty_text", "input", 0)),
    ({"input": ["hit 0", ""]}, (400, "empty_text", "input", 1)),
    ({"input": ["hit 0", None]}, (400, "invalid_input", "input", 1)),
    ({"input": {"a": 1}}, (400, "invalid_input", "input", 0)),
    ({"input": True}, (400, "invalid_input", "input", 0)),
    ({"input": [["hit 0"]]}, (400, "invalid_input", "input", 0)),
    ({"input": [1, 2, 3]}, (400, "token_ids", "input", None)),
    ({"input": [[1, 2], [3]]}, (400, "token_ids", "input", 0)),
    ({"input": "x" * 70_000}, (413, "text_too_large", "input", 0)),
    ({"input": ["\ud800"]}, (400, "invalid_text", "input", 0)),
    ({"input": ["a"] * 2049}, (413, "too_many_items", "input", 2048)),
    ({"model": None}, (400, "invalid_model", "model", None)),
    ({"model": 3}, (400, "invalid_model", "model", None)),
    ({"model": "none"}, (404, "model_not_found", "model", None)),
    ({"dimensions": DIMENSION - 1}, (400, "invalid_dimensions", "dimensions", None)),
    ({"dimensions": "x"}, (400, "invalid_dimensions", "dimensions", None)),
    ({"encoding_format": "int8"}, (400, "invalid_encoding_format", "encoding_format", None)),
    ({"modality": "audio"}, (400, "invalid_modality", "modality", None)),
    ({"user": 3}, (400, "invalid_user", "user", None)),
    ({"wait_ms": -1}, (400, "invalid_wait_ms", "wait_ms", None)),
    ({"on_miss": "maybe"}, (400, "invalid_on_miss", "on_miss", None)),
    ({"model": "pictures"}, (400, "invalid_url", "input", 0)),
    ({"model": "pictures", "input": "data:image/png,x"}, (400, "invalid_data_uri", "input", 0)),
    ({"model": "pictures", "input": "data:;base64,?"}, (400, "invalid_base64", "input", 0)),
    ({"model": "pictures", "input": "data:;base64,"}, (400, "empty_image", "input", 0)),
    ({"model": "pictures", "input": ["http://u:p@a/"]}, (400, "invalid_url", "input", 0)),
]


@pytest.mark.parametrize(("fields", "expected"), REFUSED)
def test_a_bad_request_is_refused_in_openai_s_form(
    shared: Service, fields: dict[str, Any], expected: tuple[object, ...]
) -> None:
    answer = ask(shared, **{"given": "hit 0", **fields})
    error = answer.json["error"]
    told = (answer.status_code, error["code"], error["param"], error.get("index"))
    assert told == expected
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert queued_keys(shared, 0) == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/embeddings", 405), ("GET", "/v1/models/none", 404), ("POST", "/v1/models", 405)],
)
def test_other_errors_have_openai_s_form_too(
    shared: Service, method: str, path: str, status: int
) -> None:
    answer = shared.http.open(path, method=method)
    assert answer.status_code == status
    assert {"message", "type", "param", "code"} <= json_of(answer)["error"].keys()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.binary(max_size=100))
def test_no_body_is_an_internal_error(here: Service, body: bytes) -> None:
    wrapped = b'{"wait_ms": 0, "model": "words", "input": '
    for data in (body, wrapped + body + b"}", wrapped + b'"' + body + b'"}'):
        answer = here.http.post("/v1/embeddings", data=data)
        assert answer.status_code < 500 or json_of(answer)["error"]["code"] == "not_ready"


def test_what_is_not_there_in_time_is_queued_and_503(here: Service) -> None:
    answer = ask(here, ["hit 0", "a", "hit 1", "b", "a"], wait_ms=20)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    error = answer.json["error"]
    assert (error["type"], error["code"], error["index"]) == ("server_error", "not_ready", 1)
    assert error["message"].startswith("input 1: ")
    assert error["message"].endswith("; 2 more are missing")
    assert set(queued_keys(here, 2)) == {words_key("a"), words_key("b")}


def test_by_default_a_request_waits_for_its_vectors(here: Service) -> None:
    key = words_key("a")

    def write_when_queued() -> None:
        while not here.queue.take(Lane.INTERACTIVE, 1, 10**9):
            pass
        here.put_vector(key, vector_of(key, DIMENSION))

    writer = threading.Thread(target=write_when_queued)
    writer.start()
    answer = ask(here, ["a"])
    writer.join()
    np.testing.assert_array_equal(
        np.array(answer.json["data"][0]["embedding"], np.float32), stored(key)
    )


def test_a_remembered_failure_is_422_and_names_its_input(shared: Service) -> None:
    answer = ask(shared, ["hit 0", "failed"])
    assert answer.status_code == 422
    assert answer.json["error"]["code"] == "not_found"
    assert answer.json["error"]["index"] == 1


def test_without_the_queue_a_miss_is_503_at_once(here: Service) -> None:
    here.queue.close()
    answer = ask(here, ["a"])
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "not_ready")
    assert "not known to be queued" in answer.json["error"]["message"]


def test_a_key_that_may_not_queue_is_told_so(tmp_path: Path) -> None:
    key, secret = new_key("reader", [Scope.READ])
    write_keys(tmp_path / "keys.json", [key])
    with service(tmp_path, gateway__keys_file=tmp_path / "keys.json") as here:
        sent = {"Authorization": f"Bearer {secret}"}
        body = {"model": "words", "input": "a"}
        answer = here.http.post("/v1/embeddings", json=body, headers=sent)
        assert (answer.status_code, json_of(answer)["error"]["code"]) == (503, "not_ready")
        assert "may not queue" in json_of(answer)["error"]["message"]
        refused = here.http.post("/v1/embeddings", json=body)
        assert (refused.status_code, json_of(refused)["error"]["type"]) == (
            401,
            "invalid_request_error",
        )
        assert queued_keys(here, 0) == []


@pytest.mark.parametrize(("on_miss", "queued"), [("oov", 1), ("skip", 0)])
def test_who_asks_for_placeholders_is_told_which_they_are(
    here: Service, on_miss: str, queued: int
) -> None:
    answer = ask(here, ["hit 0", "a", "failed"], on_miss=on_miss)
    assert answer.status_code == 200
    assert [one["status"] for one in answer.json["data"]] == ["hit", "oov", "failed"]
    assert answer.json["data"][1]["embedding"] == [0.0] * DIMENSION
    assert len(queued_keys(here, queued)) == queued


_TEXTS = [*(f"hit {number}" for number in range(4)), "failed", "miss 1", "miss 2"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.lists(st.sampled_from(_TEXTS), min_size=1, max_size=20), st.booleans())
def test_any_mixture_answers_each_input_as_if_it_were_alone(
    shared: Service, texts: list[str], as_base64: bool
) -> None:
    fields = {"on_miss": "skip", "encoding_format": "base64" if as_base64 else "float"}
    together = ask(shared, texts, **fields).json["data"]
    assert [one.pop("index") for one in together] == list(range(len(texts)))
    for text, found in zip(texts, together, strict=True):
        (alone,) = ask(shared, [text], **fields).json["data"]
        alone.pop("index")
        assert found == alone


def test_models_are_listed_and_described_for_openai_s_clients(shared: Service) -> None:
    listed = json_of(shared.http.get("/v1/models"))
    assert listed["object"] == "list"
    assert [one["id"] for one in listed["data"]] == ["pictures", "words"]
    one = json_of(shared.http.get("/v1/models/words"))
    assert {name: one[name] for name in listed["data"][1]} == listed["data"][1]
    assert (one["modality"], one["dimension"]) == ("text", DIMENSION)
