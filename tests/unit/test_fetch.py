"""Fetching from a real server on loopback, one address of which is allowed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from consumers.inputs.fetch import Fetcher
from embark.errors import InputFailure, PermanentFailure, TemporaryFailure
from embark.settings import FetchSettings, InputSettings
from tests.support.origin import Behave, answer, origin

ALLOWED = "127.0.0.2/32"


def fetcher(resolve: Callable[..., Any] = socket.getaddrinfo, **settings: Any) -> Fetcher:
    limits = {"allow_networks": [ALLOWED], "timeout_seconds": 5, **settings}
    return Fetcher(
        FetchSettings.model_validate(limits), InputSettings(max_image_bytes=5000), resolve=resolve
    )


def failure_of(behave: Behave, **settings: Any) -> InputFailure:
    with origin(behave) as server, pytest.raises(InputFailure) as failed:
        fetcher(**settings).fetch(f"{server.url}/x")
    assert server.host not in failed.value.message
    return failed.value


def test_the_bytes_are_returned_as_sent() -> None:
    body = bytes(range(256))
    with origin(answer(body)) as server:
        assert fetcher().fetch(f"{server.url}/a?b=c").body == body


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
    ],
)
def test_no_spelling_of_loopback_is_connected_to(url: str) -> None:
    with origin(answer(b"secret"), host="127.0.0.1") as server:
        with pytest.raises(PermanentFailure) as failed:
            fetcher().fetch(url.format(port=server.port))
        assert failed.value.code in ("forbidden_address", "host_not_found")
        assert server.connections == 0


def test_a_redirect_inside_is_refused_before_connecting() -> None:
    with origin(answer(b"secret"), host="127.0.0.1") as inside:
        redirect = answer(status="302 Found", Location=f"{inside.url}/secret")
        assert failure_of(redirect).code == "forbidden_address"
        assert inside.connections == 0


@pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
def test_a_host_with_one_internal_address_is_refused(addresses: list[str]) -> None:
    def resolve(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, 0, 0, "", (address, port)) for address in addresses]

    with origin(answer()) as server, pytest.raises(PermanentFailure) as failed:
        fetcher(resolve).fetch(f"http://example.com:{server.port}/")
    assert failed.value.code == "forbidden_address"
    assert server.connections == 0


def test_a_name_is_resolved_once_for_each_connection() -> None:
    answers = iter(["127.0.0.2", "127.0.0.1"])

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, 0, 0, "", (next(answers), port))]

    with origin(answer(b"image")) as server:
        assert fetcher(resolve).fetch(f"http://rebinding.example:{server.port}/").body == b"image"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("404 Not Found", "not_found", PermanentFailure),
        ("410 Gone", "not_found", PermanentFailure),
        ("403 Forbidden", "fetch_refused", PermanentFailure),
        ("204 No Content", "fetch_refused", PermanentFailure),
        ("429 Too Many", "throttled", TemporaryFailure),
        ("500 Error", "server_error", TemporaryFailure),
        ("503 Busy", "server_error", TemporaryFailure),
    ],
)
def test_statuses(status: str, code: str, kind: type[InputFailure]) -> None:
    failed = failure_of(answer(status=status))
    assert (failed.code, type(failed)) == (code, kind)


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("", "bad_redirect"),
        ("file:///etc/passwd", "bad_redirect"),
        ("/again", "too_many_redirects"),
    ],
)
def test_redirects_that_lead_nowhere(location: str, code: str) -> None:
    assert failure_of(answer(status="301 Moved", Location=location)).code == code


def test_a_relative_redirect_is_followed() -> None:
    def behave(connection: socket.socket, path: str) -> None:
        redirect = answer(status="307 Moved", Location="../image")
        (answer(b"image") if path == "/image" else redirect)(connection, path)

    with origin(behave) as server:
        assert fetcher().fetch(f"{server.url}/a/b").body == b"image"


def test_an_announced_size_is_believed_before_reading() -> None:
    assert failure_of(answer(b"x", Content_Length=str(10**30))).code == "image_too_large"


def chunks_without_end(connection: socket.socket, path: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")


def headers_without_end(connection: socket.socket, path: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: " + b"y" * 1000 + b"\r\n")


def test_a_body_without_end_is_cut() -> None:
    assert failure_of(chunks_without_end).code == "image_too_large"
    assert failure_of(headers_without_end).code == "connection_failed"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_dripping_server_is_cut_at_the_deadline(start: bytes) -> None:
    def drip(connection: socket.socket, path: str) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    started = time.monotonic()
    assert failure_of(drip, timeout_seconds=0.5).code == "fetch_timeout"
    assert time.monotonic() - started < 30


def test_a_compressed_answer_is_refused() -> None:
    assert failure_of(answer(b"x", Content_Encoding="gzip")).code == "bad_response"


def test_a_short_body_and_a_closed_connection_are_temporary() -> None:
    for behave in (answer(b"x", Content_Length="100"), lambda connection, path: None):
        failed = failure_of(behave)
        assert (failed.code, type(failed)) == ("connection_failed", TemporaryFailure)


def test_nobody_listening_is_temporary() -> None:
    with pytest.raises(TemporaryFailure) as failed:
        fetcher().fetch("http://127.0.0.2:1/")
    assert failed.value.code == "connection_failed"


def test_a_server_that_speaks_no_tls_fails_as_https() -> None:
    with origin(answer(b"x")) as server, pytest.raises(InputFailure) as failed:
        fetcher().fetch(f"https://127.0.0.2:{server.port}/")
    assert failed.value.code == "connection_failed"
