"""The client against a real HTTP server in a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import request
from werkzeug.serving import make_server

from embark import Client, ImageUrl
from embark.binary import Status
from embark.cli import main
from embark.client import Sendable
from embark.errors import BadRequest, ConfigurationError, ServiceError
from embark.inputs import text_input
from embark.keys import Key, digest
from tests.support.gateway import Service, service, vector_of
from tests.support.models import DIMENSION, GENERATION


def key_of(text: str) -> Key:
    return Key("words", GENERATION, digest(text_input(text)))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path, patient=True) as opened:
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


def test_batches_keep_the_order(here: Service, url: str) -> None:
    texts = [f"text {number}" for number in range(25)]
    for text in texts[::2]:
        here.put_vector(key_of(text), vector_of(key_of(text), DIMENSION))
    with Client(url, batch_items=7) as client:
        found = client.lookup(texts, "words")
    assert found.embeddings.shape == (25, DIMENSION)
    assert found.embeddings.dtype == np.float32
    assert found.hits.tolist() == [number % 2 == 0 for number in range(25)]
    for text, row in zip(texts[::2], found.embeddings[::2], strict=True):
        expected = vector_of(key_of(text), DIMENSION).astype(np.float16)
        np.testing.assert_array_equal(row, expected)


def test_several_models_are_looked_up_in_one_request(here: Service, url: str) -> None:
    asked: list[int] = []

    @here.gateway.app.before_request
    def count() -> None:
        asked.append(len(request.get_json()["items"]))

    words = [key_of(f"text {number}") for number in range(3)]
    for key in words[:2]:
        here.put_vector(key, vector_of(key, DIMENSION))
    inputs: dict[str, list[Sendable]] = {"words": [*words], "pictures": [b"one", b""]}
    for batch, requests in ((500, [5]), (2, [2, 2, 1])):
        asked.clear()
        with Client(url, batch_items=batch) as client:
            found = client.lookup_all(inputs)
            assert asked == requests
            alone = client.lookup(words, "words")
        assert list(found) == ["words", "pictures"]
        assert [one.status for one in found["words"].items] == ["hit", "hit", "oov"]
        assert [one.status for one in found["pictures"].items] == ["oov", "invalid"]
        np.testing.assert_array_equal(found["words"].embeddings, alone.embeddings)
        assert np.isnan(found["pictures"].embeddings[1]).all()


def test_an_unknown_model_among_several_raises(url: str) -> None:
    with Client(url) as client, pytest.raises(ServiceError, match="'none'") as error:
        client.lookup_all({"words": ["a"], "none": ["b"]})
    assert (error.value.status, error.value.code, error.value.index) == (404, "unknown_model", 1)


def test_every_kind_of_input_and_an_invalid_one(url: str, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(b"bytes")
    inputs: list[Sendable] = [b"bytes", file, ImageUrl("http://example.com/a.png"), b""]
    with Client(url) as client:
        found = client.lookup(inputs, "pictures")
        assert [item.status for item in found.items] == ["oov", "oov", "oov", "invalid"]
        assert found.items[0].key == found.items[1].key
        assert np.isnan(found.embeddings[3]).all()
        assert found.items[3].reason is not None
        assert client.lookup([key_of("a")], "words").items[0].status == "oov"
        assert client.lookup([], "words").embeddings.shape == (0, DIMENSION)
        assert client.lookup([b""], "pictures").embeddings.shape == (1, DIMENSION)
        assert client.prefetch(["a", "b"], "words") == [str(key_of("a")), str(key_of("b"))]
        assert client.health()["ready"]


def test_one_input_is_not_taken_for_many(url: str, tmp_path: Path) -> None:
    refused = pytest.raises(BadRequest, match="put it into a list")
    with Client(url) as client:
        for one in ("a text", b"image", tmp_path, ImageUrl("http://a/b"), key_of("a")):
            with refused:
                client.lookup(one, "words")  # type: ignore[arg-type]
            with refused:
                client.lookup_vectors(one, "words")  # type: ignore[arg-type]
            with refused:
                client.prefetch(one, "words")  # type: ignore[arg-type]
            with refused:
                client.neighbours(one, "words")  # type: ignore[arg-type]


def test_a_text_that_is_no_unicode_is_invalid_alone(url: str) -> None:
    with Client(url) as client:
        found = client.lookup(["\ud800", "ok"], "words")
        assert [item.status for item in found.items] == ["invalid", "oov"]
        rows = client.lookup_vectors(["\ud800", "ok"], "words")
        assert rows.statuses.tolist() == [Status.INVALID, Status.QUEUED]
        assert client.prefetch(["\ud800", "ok"], "words") == [None, str(key_of("ok"))]


@pytest.mark.parametrize(
    "digests",
    [
        np.zeros((4, 16), np.int32),
        np.zeros((4, 8), np.uint8),
        np.zeros(16, np.uint8),
        ["words:0000000000000000:00"],
    ],
)
def test_digests_of_another_form_are_refused(url: str, digests: Any) -> None:
    with Client(url) as client, pytest.raises(BadRequest, match=r"uint8 of shape \(n, 16\)"):
        client.lookup_keys("words", digests)


def test_a_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="http://"):
        Client("localhost:8080")


def test_a_refused_request_raises(url: str) -> None:
    with Client(url) as client, pytest.raises(ServiceError) as error:
        client.lookup(["a"], "none")
    assert (error.value.status, error.value.code) == (404, "unknown_model")


def test_an_unreachable_service_is_named() -> None:
    unreachable = pytest.raises(ServiceError, match=r"127\.0\.0\.1:1")
    with Client("http://127.0.0.1:1", retries=1) as client, unreachable as error:
        client.models()
    assert error.value.status == 0


@pytest.mark.parametrize(
    ("failures", "status", "expected"), [(2, 503, 3), (2, 429, 3), (9, 400, 1)]
)
def test_only_what_may_pass_is_sent_again(failures: int, status: int, expected: int) -> None:
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            failing = len(seen) <= failures
            body: dict[str, object] = {"models": []}
            if failing:
                body = {"error": {"code": "busy", "message": "later"}}
            self.send_response(status if failing else 200)
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with Client(f"http://127.0.0.1:{server.server_port}", retries=3) as client:
            if status == 400:
                with pytest.raises(ServiceError, match="later"):
                    client.models()
            else:
                assert client.models() == []
        server.shutdown()
        thread.join()
    assert len(seen) == expected


def test_commands_print_json(
    here: Service, url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    here.put_vector(key_of("a"), vector_of(key_of("a"), DIMENSION))
    lines = tmp_path / "lines.txt"
    lines.write_text("b\nc\n")
    assert main(["lookup", "a", "--file", str(lines), "--url", url, "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["status"] for one in printed] == ["hit", "oov", "oov"]
    assert len(printed[0]["embedding"]) == DIMENSION
    assert main(["prefetch", "d", "--url", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"accepted": 1, "invalid": 0}
    texts = ["e", "[red]\ud800"]
    assert main(["prefetch", *texts, "--model", "words", "--url", url, "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"accepted": 1, "invalid": 1}
    assert "invalid: [red]?" in captured.err
    assert main(["models", "list", "--url", url, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["models"]) == 2


def test_commands_print_tables_and_errors(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lookup", "[red]a[/]", "--url", url]) == 0
    printed = capsys.readouterr().out
    assert "oov" in printed
    assert "[red]a[/]" in printed
    assert main(["lookup", "\ud800", "--url", url]) == 1
    assert "?" in capsys.readouterr().out
    assert main(["lookup", "--url", url]) == 2
    assert main(["lookup", "a", "--model", "none", "--url", url]) == 2
    assert "no model is named" in capsys.readouterr().err
    assert main(["models", "list", "--url", "http://127.0.0.1:1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unreachable"


def test_doctor_names_each_setting_and_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMBARK_RETINA__MODEL_REPOSITORY", str(tmp_path))
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    sources = {one["name"]: one["source"] for one in told["settings"]}
    assert sources["retina.model_repository"] == "EMBARK_RETINA__MODEL_REPOSITORY"
    states = {one["name"]: one["state"] for one in told["checks"]}
    assert states["models"] == "error"
