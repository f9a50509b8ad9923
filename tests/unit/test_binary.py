"""Lookups in binary: keys in, or vectors out, or both."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from embark.api_keys import Scope
from embark.binary import KEYS_TYPE, VECTORS_TYPE, Status
from embark.client import Client, ImageUrl, Rows
from embark.client.answers import read_rows
from embark.errors import ServiceError
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.queue.base import Lane
from gateway.access.gate import Grant
from gateway.access.hooks import GRANT
from tests.support.gateway import Service, json_of, service, vector_of
from tests.support.models import DIMENSION, GENERATION
from tests.support.stack import wait_until

KNOWN = [f"text {number}" for number in range(50)]


BAD = {
    "invalid_keys": (400, b"x" * 17, "model=words"),
    "empty_batch": (400, b"", "model=words"),
    "too_many_items": (413, b"x" * 16 * 2049, "model=words"),
    "model_missing": (400, b"x" * 16, ""),
    "unknown_model": (404, b"x" * 16, "model=none"),
    "unknown_generation": (404, b"x" * 16, "model=words&generation=ffffffffffffffff"),
    "unknown_field": (400, b"x" * 16, "model=words&colour=red"),
    "invalid_on_miss": (400, b"x" * 16, "model=words&on_miss=never"),
    "invalid_wait_ms": (400, b"x" * 16, "model=words&wait_ms=-1"),
    "invalid_dtype": (400, b"x" * 16, "model=words&dtype=int8"),
}


def key(text: str) -> Key:
    return Key("words", GENERATION, digest(text_input(text)))


def stored(text: str) -> Any:
    return vector_of(key(text), DIMENSION).astype(np.float16)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as opened:
        for text in KNOWN:
            opened.put_vector(key(text), vector_of(key(text), DIMENSION))
        yield opened


@pytest.fixture
def client(here: Service) -> Iterator[Client]:
    server = make_server("127.0.0.1", 0, here.gateway.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with Client(f"http://127.0.0.1:{server.server_port}", retries=0, batch_items=20) as opened:
        yield opened
    server.shutdown()
    thread.join()
    server.server_close()


def post(here: Service, body: bytes, query: str = "model=words") -> TestResponse:
    return here.http.post(f"/v1/lookup?{query}", data=body, content_type=KEYS_TYPE)


def let_in(
    here: Service, body: bytes, query: str = "model=words", grant: Grant | None = None
) -> TestResponse:
    """As `post`, through a server that has asked the gate, as the gateway's own does."""
    beside = {GRANT: grant or Grant(frozenset(Scope))}
    url = f"/v1/lookup?{query}"
    return here.http.post(url, data=body, content_type=KEYS_TYPE, environ_overrides=beside)


def rows(answer: TestResponse) -> Rows:
    assert answer.status_code == 200, answer.text
    assert answer.content_type == VECTORS_TYPE
    return read_rows(answer.data, httpx.Headers(list(answer.headers)))


def digests(texts: Sequence[str]) -> bytes:
    return b"".join(key(text).digest for text in texts)


def test_vectors_come_in_the_order_asked_from_the_archive_and_from_memory(here: Service) -> None:
    texts = ["text 3", "text 1", "new", "text 3"]
    for _ in range(2):
        answer = post(here, digests(texts))
        vectors, statuses = rows(answer)
        assert statuses.tolist() == [Status.HIT, Status.HIT, Status.OOV, Status.HIT]
        assert vectors.dtype == np.float16
        for text, vector in zip(texts, vectors, strict=True):
            expected = np.zeros(DIMENSION) if text == "new" else stored(text)
            assert np.array_equal(vector, expected)
        assert answer.headers["Embark-Vectors"] == (
            f"items=4, dimension=8, dtype=fp16, generation=words:{GENERATION}, hit=3, oov=1"
        )


def test_what_memory_has_whole_is_answered_alike_with_and_without_flask(here: Service) -> None:
    for texts in (KNOWN, ["text 1"], ["text 2", "text 2"], ["text 1", "new"]):
        body = digests(texts)
        through_flask, before = post(here, body), let_in(here, body)
        assert before.data == through_flask.data
        for name in ("Content-Type", "Content-Length", "Embark-Vectors"):
            assert before.headers[name] == through_flask.headers[name]
    generation = f"model=words&generation={GENERATION}&on_miss=skip"
    assert let_in(here, digests(KNOWN), generation).data == post(here, digests(KNOWN)).data


def test_only_who_may_read_is_answered_from_memory(here: Service) -> None:
    rows(let_in(here, digests(KNOWN)))
    refused = let_in(here, digests(KNOWN), grant=Grant(frozenset()))
    assert refused.status_code == 401
    late = let_in(here, digests(KNOWN), grant=Grant(frozenset(Scope), deadline=0.0))
    assert late.status_code >= 500
    # Its time is not over, and its key may do nothing but read.
    reader = Grant(frozenset((Scope.READ,)), deadline=time.monotonic() + 60)
    assert rows(let_in(here, digests(KNOWN), grant=reader)).hits.all()


@pytest.mark.parametrize("code", [*BAD, "unknown_field twice"])
def test_what_cannot_be_answered_is_refused_however_it_comes(here: Service, code: str) -> None:
    rows(let_in(here, digests(KNOWN)))
    twice = (200, digests(KNOWN), "model=words&model=none")
    status, body, query = BAD.get(code, twice)
    answer = let_in(here, body, query)
    assert answer.status_code == status
    assert answer.data == post(here, body, query).data


def test_float32_is_what_is_stored_made_wide(here: Service) -> None:
    narrow, wide = (
        rows(post(here, digests(KNOWN), f"model=words&dtype={dtype}")) for dtype in ("fp16", "fp32")
    )
    assert wide.vectors.dtype == np.float32
    assert np.array_equal(wide.vectors, narrow.vectors.astype(np.float32))


def test_a_key_alone_is_queued_only_if_it_is_in_flight(here: Service) -> None:
    assert rows(post(here, digests(["a"]))).statuses.tolist() == [Status.OOV]
    here.lookup(["a"], model="words")
    expected = [Status.QUEUED, Status.OOV]
    wait_until(
        lambda: rows(post(here, digests(["a", "b"]))).statuses.tolist() == expected, 60, "queued"
    )
    assert here.queue.status()[Lane.INTERACTIVE].depth == 1


def test_a_failure_is_told_and_is_not_kept_in_memory(here: Service) -> None:
    here.put_failure(key("bad"))
    assert rows(post(here, digests(["bad"]))).statuses.tolist() == [Status.FAILED]
    here.put_vector(key("bad"), vector_of(key("bad"), DIMENSION))
    assert rows(post(here, digests(["bad"]))).statuses.tolist() == [Status.HIT]


@pytest.mark.parametrize("code", BAD)
def test_what_cannot_be_answered_is_refused(here: Service, code: str) -> None:
    status, body, query = BAD[code]
    answer = post(here, body, query)
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (status, code)


def test_a_number_that_float16_cannot_hold_is_not_sent_as_infinity(here: Service) -> None:
    large = Key("pictures", GENERATION, bytes(16))
    here.put_vector(large, np.full(DIMENSION, 1e5, np.float32))
    assert rows(post(here, bytes(16), "model=pictures")).vectors.tolist() == [[1e5] * DIMENSION]
    answer = post(here, bytes(16), "model=pictures&dtype=fp16")
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (400, "invalid_dtype")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (VECTORS_TYPE, VECTORS_TYPE),
        (VECTORS_TYPE.upper(), VECTORS_TYPE),
        (f"{VECTORS_TYPE}, application/json;q=0.5", VECTORS_TYPE),
        (f"{VECTORS_TYPE};q=0, application/json", "application/json"),
        (f"application/json, {VECTORS_TYPE};q=0.1", "application/json"),
        ("*/*", "application/json"),
    ],
)
def test_who_accepts_both_forms_is_answered_in_the_one_preferred(
    here: Service, accept: str, content_type: str
) -> None:
    body = {"items": ["text 1"], "model": "words"}
    answer = here.http.post("/v1/lookup", json=body, headers={"Accept": accept})
    assert (answer.status_code, answer.content_type) == (200, content_type)


def test_items_in_json_are_answered_in_binary(here: Service) -> None:
    items = ["text 1", {"text": 3}, "new", {"image_url": "http://a/b", "model": "pictures"}]
    body = {"items": items, "model": "words"}

    def ask() -> Rows:
        return rows(here.http.post("/v1/lookup", json=body, headers={"Accept": VECTORS_TYPE}))

    vectors, statuses = ask()
    assert vectors.dtype == np.float32  # pictures are stored so
    assert statuses[:2].tolist() == [Status.HIT, Status.INVALID]
    wait_until(lambda: ask().statuses[2:].tolist() == [Status.QUEUED] * 2, 60, "queued")
    assert np.array_equal(vectors[0], stored("text 1").astype(np.float32))
    assert here.queue.status()[Lane.INTERACTIVE].depth == 2


def test_the_client_speaks_binary(client: Client) -> None:
    texts = [*KNOWN, "new"]
    packed = np.frombuffer(digests(texts), np.uint8).reshape(-1, 16)
    for found in (client.lookup_keys("words", packed), client.lookup_vectors(texts, "words")):
        assert found.hits.tolist() == [True] * 50 + [False]
        assert np.array_equal(found.vectors[:50], [stored(text) for text in KNOWN])
        assert found.vectors.dtype == np.float16
    wide = client.lookup_keys("words", packed[:1], dtype="fp32", generation=GENERATION)
    assert wide.vectors.dtype == np.float32
    # The last request has no valid input, so its answer has no width.
    mixed = client.lookup_vectors([*KNOWN[:20], ImageUrl("ftp://a/")], "words")
    assert mixed.statuses.tolist() == [Status.HIT] * 20 + [Status.INVALID]
    assert mixed.vectors.shape == (21, DIMENSION)
    with pytest.raises(ServiceError, match="no model is named"):
        client.lookup_keys("none", packed)


def test_hits_in_memory_need_no_archive(here: Service) -> None:
    rows(post(here, digests(KNOWN)))
    here.store.close()
    vectors, statuses = rows(post(here, digests(["text 1", "new"])))
    assert statuses.tolist() == [Status.HIT, Status.OOV]
    assert np.array_equal(vectors[0], stored("text 1"))
    hit, oov = here.lookup(["text 1", "new"], model="words")
    assert (hit["status"], oov["status"]) == ("hit", "oov")
    assert np.array_equal(np.array(hit["embedding"], np.float16), stored("text 1"))
