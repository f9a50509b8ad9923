"""One process's loop and threads on real sockets, around an application of the test's own."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from gunicorn.config import Config

from embark.metrics import HTTP_IN_FLIGHT
from embark.settings import GatewaySettings
from gateway.access.gate import Gate
from gateway.server import worker as server
from gateway.server.connection import Connection, Wants
from gateway.server.intake import Intake, Outcome
from gateway.server.lines import Lines
from gateway.turns import waits_on_purpose
from tests.support.stack import wait_until

LIMIT_SECONDS = 10.0

Seen = Callable[[server._Loop, str], None]


def request_for(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def hold(event: threading.Event) -> None:
    assert event.wait(LIMIT_SECONDS)


def in_flight() -> float:
    return HTTP_IN_FLIGHT._value.get()


class Running:
    """A loop in a thread.

    Args:
        kind: of loop.
        seen: told of each request while it is answered.
        settings: the gateway's.
    """

    def __init__(self, kind: type[server._Loop], seen: Seen, settings: GatewaySettings) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self._pipe = os.pipe()
        self.worker = SimpleNamespace(
            cfg=Config(),
            app=SimpleNamespace(gateway=SimpleNamespace(gate=Gate(settings))),
            wsgi=self._answer,
            alive=True,
            sockets=[listener],
            PIPE=self._pipe,
            ppid=os.getppid(),
            notify=lambda: None,
        )
        self._seen = seen
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.loop = kind(self.worker, settings)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        finally:
            self.loop.close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self._seen(self.loop, environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def stop(self) -> None:
        self.worker.alive = False
        self._thread.join(LIMIT_SECONDS)
        for number in self._pipe:
            os.close(number)
        assert not self._thread.is_alive()


@contextmanager
def running(
    kind: type[server._Loop] = server._Loop,
    seen: Seen = lambda loop, path: None,
    **settings: Any,
) -> Iterator[Running]:
    one = Running(kind, seen, GatewaySettings(**{"threads": 1, **settings}))
    try:
        yield one
    finally:
        one.stop()


class Crowded(server._Loop):
    """A loop that drops the first connection just before its thread would watch it again."""

    dropped = False

    def _watch(self, connection: Connection, wants: Wants) -> None:
        if threading.current_thread().name.startswith("request-") and not self.dropped:
            self.dropped = True
            self._drop(connection)
        super()._watch(connection, wants)


def test_a_connection_that_makes_room_as_it_becomes_idle_ends_no_thread() -> None:
    with running(Crowded) as one:
        for _ in range(3):
            # With the only thread gone, nobody would answer.
            with httpx.Client(base_url=one.url, timeout=LIMIT_SECONDS) as http:
                assert http.get("/v1/lookup").text == "ok"
        assert one.loop.dropped  # type: ignore[attr-defined]


def test_what_a_thread_has_is_in_flight_whether_it_is_load_or_not() -> None:
    may_end = threading.Event()
    with (
        running(seen=lambda loop, path: hold(may_end), threads=2) as one,
        ThreadPoolExecutor() as pool,
    ):
        asked = [
            pool.submit(httpx.get, one.url + path, timeout=LIMIT_SECONDS)
            for path in ("/v1/lookup", "/v2/health/live")
        ]
        try:
            wait_until(lambda: in_flight() == 2, LIMIT_SECONDS, "two are in flight")
        finally:
            may_end.set()
        assert [answer.result().text for answer in asked] == ["ok", "ok"]
        wait_until(lambda: in_flight() == 0, LIMIT_SECONDS, "none is")


def test_requests_that_are_always_taken_are_no_load() -> None:
    unanswered: dict[str, int] = {}

    def note(loop: server._Loop, path: str) -> None:
        unanswered[path] = loop._lines._short.load.unanswered

    with running(seen=note) as one, httpx.Client(base_url=one.url, timeout=LIMIT_SECONDS) as http:
        for path in ("/v1/lookup", "/v2/health/live", "/metrics", "/v1/admin/x"):
            assert http.get(path).text == "ok"
    assert unanswered == {"/v1/lookup": 1, "/v2/health/live": 0, "/metrics": 0, "/v1/admin/x": 0}


def test_only_a_request_that_says_it_waits_is_no_load_meanwhile() -> None:
    unanswered: dict[str, int] = {}

    def note(loop: server._Loop, path: str) -> None:
        if path == "/patient":
            waits_on_purpose()
            waits_on_purpose()
        unanswered[path] = loop._lines._short.load.unanswered

    with running(seen=note) as one, httpx.Client(base_url=one.url, timeout=LIMIT_SECONDS) as http:
        for path in ("/patient", "/other", "/patient"):
            assert http.get(path).text == "ok"
        assert unanswered == {"/patient": 0, "/other": 1}
        assert one.loop._lines._short.load.unanswered == 0


PAGE = ["/", "/page/main.js", "/v1/models", "/openapi.json"]
ALWAYS = ["/v2/health/ready", "/metrics", "/v1/admin/coverage"]


@pytest.mark.parametrize(
    ("crowded", "refused", "taken"),
    [
        ("/v1/lookup", ["/v1/lookup", "/v2/models/words"], [*PAGE, *ALWAYS]),
        ("/page/main.js", PAGE, ["/v1/lookup", *ALWAYS]),
    ],
)
def test_too_many_of_one_kind_turn_only_each_other_away(
    crowded: str, refused: list[str], taken: list[str]
) -> None:
    settings = GatewaySettings()
    intake = Intake(Config(), Gate(settings), Lines(0.1), settings)
    ours, theirs = socket.socketpair()

    def ask(path: str) -> tuple[Outcome, Connection]:
        connection = Connection(ours, ("127.0.0.1", 1), None, secure=False, now=0)
        connection.buffer += request_for(path)
        return intake.advance(connection), connection

    with ours, theirs:
        outcome, first = ask(crowded)
        assert outcome is Outcome.WHOLE
        for _ in range(100):
            first.line.load.enter()
            first.line.load.begin()
            first.line.load.end(0.1, paused=False)
        for _ in range(10):
            first.line.load.enter()
        assert [ask(path)[0] for path in refused] == [Outcome.REFUSED] * len(refused)
        assert [ask(path)[0] for path in taken] == [Outcome.WHOLE] * len(taken)
