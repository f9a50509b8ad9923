"""/v1/neighbours, the client's call and `embark duplicates` on real embedded stores."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from embark import Client
from embark.cli import main
from embark.errors import ServiceError
from embark.inputs import InputKind, text_input
from embark.keys import Key, digest
from embark.neighbours.embedded import EmbeddedNeighbours
from embark.sources import Source, Sources
from tests.support.gateway import Service, json_of, service
from tests.support.models import DIMENSION, GENERATION, facts, write_model
from tests.support.stack import wait_until
from tests.support.vectors import clustered

TEXTS = [f"text {number}" for number in range(12)]
VECTORS = clustered(len(TEXTS), DIMENSION, seed=1)
OTHER = "fedcba9876543210"


def key_of(text: str, generation: str = GENERATION) -> Key:
    return Key("words", generation, digest(text_input(text)))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path, gateway__neighbours__max_items=3, patient=True) as opened:
        for text, vector in zip(TEXTS, VECTORS, strict=True):
            opened.put_vector(key_of(text), vector)
        known = {key_of(text).digest: text.encode() for text in TEXTS[:6]}
        Sources(opened.backends.ledger).remember(
            "words", {name: Source(InputKind.TEXT, text) for name, text in known.items()}
        )
        yield opened


@pytest.fixture
def url(here: Service) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, here.gateway.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def post(here: Service, **fields: Any) -> TestResponse:
    return here.http.post("/v1/neighbours", json={"model": "words", "items": ["a"], **fields})


def ask(here: Service, items: list[Any], **fields: Any) -> list[dict[str, Any]]:
    answer = here.http.post("/v1/neighbours", json={"model": "words", "items": items, **fields})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = json_of(answer)["items"]
    return found


@pytest.mark.parametrize("exact", [False, True])
def test_the_nearest_come_first_with_their_texts_and_without_the_item(
    here: Service, exact: bool
) -> None:
    stored = VECTORS.astype("float16").astype("float64")
    cosines = stored @ stored[0] / ((stored**2).sum(1) * (stored[0] ** 2).sum()) ** 0.5
    (item,) = ask(here, [TEXTS[0]], k=4, exact=exact)
    assert (item["status"], item["key"]) == ("hit", str(key_of(TEXTS[0])))
    order = sorted(range(1, len(TEXTS)), key=lambda number: -cosines[number])[:4]
    assert [near["key"] for near in item["neighbours"]] == [
        str(key_of(TEXTS[number])) for number in order
    ]
    for near, number in zip(item["neighbours"], order, strict=True):
        assert near["cosine"] == pytest.approx(cosines[number], abs=2e-6)
        assert near.get("text") == (TEXTS[number] if number < 6 else None)


def test_get_and_post_agree_by_text_and_by_key(here: Service) -> None:
    (posted,) = ask(here, [TEXTS[1]], k=3)
    for query in (
        {"model": "words", "text": TEXTS[1], "k": "3"},
        {"key": str(key_of(TEXTS[1])), "k": "3", "exact": "true", "minimum": "-1"},
    ):
        answer = here.http.get("/v1/neighbours", query_string=query)
        assert answer.status_code == 200, answer.text
        assert json_of(answer)["items"] == [posted]


def test_what_is_not_a_hit_says_so_and_is_queued(here: Service) -> None:
    here.put_failure(key_of("broken"))
    missed, failed, invalid = ask(here, ["new", "broken", {"text": 1}])
    assert (missed["status"], missed["queued"]) == ("oov", True)
    assert (failed["status"], failed["reason"]["code"]) == ("failed", "not_found")
    assert (invalid["status"], invalid["error"]["code"]) == ("invalid", "invalid_item")
    assert not any("neighbours" in item for item in (missed, failed, invalid))


def test_a_minimum_leaves_out_what_is_far(here: Service) -> None:
    (item,) = ask(here, [TEXTS[0]], k=11)
    cosines = [near["cosine"] for near in item["neighbours"]]
    assert len(cosines) == 11
    (nearer,) = ask(here, [TEXTS[0]], k=11, minimum=cosines[4])
    assert [near["cosine"] for near in nearer["neighbours"]] == cosines[:5]


def test_what_is_written_and_forgotten_is_seen_by_the_next_request(here: Service) -> None:
    here.put_vector(key_of("late"), VECTORS[0])
    (item,) = ask(here, [TEXTS[0]], k=1)
    assert item["neighbours"] == [{"key": str(key_of("late")), "cosine": 1.0}]
    here.store.delete_many("words", GENERATION, [key_of("late").digest])
    (item,) = ask(here, [TEXTS[0]], k=1)
    assert item["neighbours"][0]["key"] != str(key_of("late"))


def test_another_generation_has_neighbours_of_its_own(here: Service, tmp_path: Path) -> None:
    write_model(tmp_path / "models", facts("words", generation=OTHER, version=2))
    here.gateway.following.refresh()
    model = here.gateway.following.current.served("words", OTHER)
    assert model is not None
    (missed,) = ask(here, [TEXTS[0]], generation=OTHER)
    assert (missed["status"], missed["generation"]) == ("oov", OTHER)
    unknown = here.http.post("/v1/neighbours", json={"items": [{"key": str(key_of("a"))}],
                                                     "generation": "0" * 16})  # fmt: skip
    assert (unknown.status_code, json_of(unknown)["error"]["code"]) == (404, "unknown_generation")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"k": 0}, "invalid_k"),
        ({"k": 201}, "invalid_k"),
        ({"k": True}, "invalid_k"),
        ({"minimum": 1.5}, "invalid_minimum"),
        ({"minimum": "1"}, "invalid_minimum"),
        ({"exact": 1}, "invalid_exact"),
        ({"generation": 5}, "invalid_generation"),
        ({"on_miss": "never"}, "invalid_on_miss"),
        ({"wait_ms": -1}, "invalid_wait_ms"),
        ({"items": ["a"] * 4}, "too_many_items"),
        ({"encoding": "float"}, "unknown_field"),
        ({"model": "none"}, "unknown_model"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    here: Service, fields: dict[str, Any], code: str
) -> None:
    answer = here.http.post("/v1/neighbours", json={"model": "words", "items": ["a"], **fields})
    assert 400 <= answer.status_code < 500
    assert json_of(answer)["error"]["code"] == code


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"model": "words"}, "invalid_item"),
        ({"model": "words", "text": "a", "key": "b"}, "invalid_item"),
        ({"model": "words", "text": "a", "k": "ten"}, "invalid_k"),
        ({"model": "words", "text": "a", "minimum": "nan"}, "invalid_minimum"),
        ({"model": "words", "text": "a", "exact": "maybe"}, "invalid_exact"),
        ({"model": "words", "text": "a", "near": "1"}, "unknown_field"),
    ],
)
def test_a_wrong_query_says_what_is_wrong(here: Service, query: dict[str, str], code: str) -> None:
    answer = here.http.get("/v1/neighbours", query_string=query)
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (400, code)


def test_a_query_that_repeats_a_parameter_is_refused(here: Service) -> None:
    answer = here.http.get("/v1/neighbours?model=words&text=a&text=b")
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (400, "invalid_text")
    assert "text 2 times" in json_of(answer)["error"]["message"]


def test_a_query_that_is_not_utf_8_is_refused(here: Service) -> None:
    answer = here.http.get("/v1/neighbours?model=words&text=caf%e9")
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (400, "invalid_text")
    assert here.http.get("/v1/neighbours?model=words&text=caf%C3%A9").status_code == 200


def test_more_searches_than_allowed_are_turned_away_and_lookups_go_on(tmp_path: Path) -> None:
    limits = {"max_searches": 1, "max_exact": 0}
    changes = {f"gateway__neighbours__{name}": value for name, value in limits.items()}
    with service(tmp_path, **changes) as here:
        here.put_vector(key_of("a"), VECTORS[0])
        index = here.gateway.neighbours
        assert isinstance(index, EmbeddedNeighbours)
        answers: list[TestResponse] = []
        asking = [threading.Thread(target=lambda: answers.append(post(here))) for _ in range(2)]
        with index._space(here.models["words"])._lock:  # so that the search takes its time
            for thread in asking:
                thread.start()
            wait_until(lambda: answers, 60, "one of two searches is turned away")
            (busy,) = answers
            assert (busy.status_code, json_of(busy)["error"]["code"]) == (503, "neighbours_busy")
            assert busy.headers["Retry-After"]
            assert here.lookup(["a"], model="words")[0]["status"] == "hit"
        for thread in asking:
            thread.join()
        assert [answer.status_code for answer in answers] == [503, 200]
        off = post(here, exact=True)
        assert (off.status_code, json_of(off)["error"]["code"]) == (503, "neighbours_busy")


def test_a_search_is_not_waited_for_beyond_the_deadline(
    here: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = here.store.digests

    def endless(model: str, generation: str) -> Iterator[list[bytes]]:
        while True:
            time.sleep(0.01)
            yield from digests(model, generation)

    monkeypatch.setattr(here.store, "digests", endless)
    assert here.lookup([TEXTS[0]], model="words")[0]["status"] == "hit"
    answer = here.http.post(
        "/v1/neighbours",
        json={"model": "words", "items": [TEXTS[0]], "exact": True},
        headers={"X-Request-Timeout-Ms": "1000"},
    )
    assert (answer.status_code, json_of(answer)["error"]["code"]) == (504, "deadline_exceeded")


def test_a_model_that_is_left_out_has_none(tmp_path: Path) -> None:
    with service(tmp_path, archive__neighbours__models=["pictures"]) as here:
        answer = here.http.get("/v1/neighbours", query_string={"model": "words", "text": "a"})
        assert (answer.status_code, json_of(answer)["error"]["code"]) == (404, "neighbours_off")


def test_an_archive_that_is_closed_is_503(here: Service) -> None:
    near = here.gateway.neighbours
    here.store.close()
    with pytest.raises(Exception, match="closed"):
        near.nearest(here.models["words"], VECTORS[:1], 3, 5)
    answer = here.http.post("/v1/neighbours", json={"model": "words", "items": [TEXTS[0]]})
    assert (answer.status_code, json_of(answer)["items"][0]["status"]) == (200, "oov")


def test_the_client_asks_in_batches(here: Service, url: str) -> None:
    with Client(url, batch_items=2) as client:
        found = client.neighbours([*TEXTS[:4], "new"], "words", k=2, minimum=-0.5)
        assert [one.status for one in found] == ["hit"] * 4 + ["oov"]
        assert all(len(one.neighbours) <= 2 for one in found)
        near = found[0].neighbours[0]
        assert (near.key, near.text in TEXTS or near.text is None) == (near.key, True)
        with pytest.raises(ServiceError, match="served are"):
            client.neighbours([TEXTS[0]], "words", generation=OTHER)


def test_the_command_prints_a_table_or_json(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["duplicates", TEXTS[0], "--url", url, "-k", "3"]) == 0
    shown = capsys.readouterr().out
    assert TEXTS[0] in shown and "3 near" in shown and "cosine" in shown
    asked = ["duplicates", "--key", str(key_of(TEXTS[0])), "--exact", "--json", "--url", url]
    assert main([*asked, "--minimum", "-1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert len(orjson.loads(line)["neighbours"]) == 10
    assert main(["duplicates", "new", "--url", url]) == 1
    assert "oov, queued" in capsys.readouterr().out


def test_the_index_is_rebuilt_by_a_command(
    here: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here.store.folder.parent
    here.gateway.close()
    monkeypatch.setenv("EMBARK_DATA", str(folder))
    monkeypatch.setenv("EMBARK_RETINA__MODEL_REPOSITORY", str(folder / "models"))
    assert main(["duplicates", "--rebuild", "--model", "words", "--json"]) == 0
    made = {"model": "words", "generation": GENERATION, "vectors": len(TEXTS)}
    assert orjson.loads(capsys.readouterr().out) == {"rebuilt": [made]}
    assert main(["duplicates", "--rebuild"]) == 0
    assert f"words, generation {GENERATION}: 12 vectors" in capsys.readouterr().out
    assert main(["duplicates", "--rebuild", "--generation", OTHER]) == 2
