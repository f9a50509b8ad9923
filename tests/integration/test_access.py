"""Keys, limits, deadlines and shedding, on a real gateway of two processes."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest

from embark.api_keys import Scope, new_key, read_keys, write_keys
from embark.backends import QUEUE_FILE
from embark.client import Client
from embark.errors import ServiceError
from embark.inputs import text_input
from embark.keys import Key, digest
from tests.support.gateway import vector_of
from tests.support.models import DIMENSION, GENERATION
from tests.support.process import GatewayProcess, gateway_process
from tests.support.stack import wait_until

TEXTS = [f"text {number}" for number in range(1000)]


class Keyed:
    """A gateway with keys, and the secrets of some."""

    def __init__(self, gateway: GatewayProcess, path: Path, secrets: dict[str, str]) -> None:
        self.gateway, self.path, self.secrets = gateway, path, secrets

    def client(self, who: str) -> Client:
        return Client(self.gateway.url, retries=0, api_key=self.secrets.get(who, who))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    made = {
        "reader": new_key("reader", [Scope.READ]),
        "single": new_key("single", [Scope.READ, Scope.ENQUEUE], concurrent=1),
        "seldom": new_key("seldom", [Scope.READ], requests_per_second=0.02),
    }
    path = folder / "keys.json"
    write_keys(path, [key for key, _ in made.values()])
    # No shedding here: on a busy machine it would come in between.
    settings = {
        "gateway__keys_file": path,
        "gateway__open_metrics": True,
    }
    with gateway_process(folder, *TEXTS, **settings) as gateway:
        yield Keyed(gateway, path, {name: secret for name, (_, secret) in made.items()})


def works(client: Client) -> bool:
    return bool(client.lookup(TEXTS[:2], "words").hits.all())


def everywhere(keyed: Keyed, who: str, *, valid: bool) -> bool:
    """Whether many connections, to all processes, agree on a key."""
    headers = {"Authorization": f"Bearer {keyed.secrets.get(who, who)}"}
    found = set()
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", keyed.gateway.port, timeout=20)
        connection.request("GET", "/v1/models", headers=headers)
        found.add(connection.getresponse().status)
        connection.close()
    assert found <= {200, 401}
    return found == {200 if valid else 401}


def test_keys_are_changed_without_a_restart(keyed: Keyed) -> None:
    workers = keyed.gateway.workers()
    assert everywhere(keyed, "reader", valid=True)
    before = read_keys(keyed.path)
    key, secret = new_key("late", [Scope.READ])
    assert everywhere(keyed, secret, valid=False)
    write_keys(keyed.path, [*before, key])
    wait_until(lambda: everywhere(keyed, secret, valid=True), 60, "the new key is known")
    assert everywhere(keyed, "reader", valid=True)
    keyed.path.write_text("{ half a file")
    wait_until(
        lambda: (
            everywhere(keyed, secret, valid=True)
            and keyed.gateway.counted("embark_keys_unreadable_total") >= 1
        ),
        30,
        "a broken file is noticed, and changes nothing",
    )
    write_keys(keyed.path, before)
    wait_until(lambda: everywhere(keyed, secret, valid=False), 60, "the key is gone")
    assert keyed.gateway.workers() == workers


def test_strangers_are_refused_before_their_body_is_taken_in(keyed: Keyed) -> None:
    with keyed.gateway.connect() as sock:
        head = f"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: {30 * 2**20}\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 401")
    assert keyed.gateway.counted("embark_refused_requests_total", reason="no_key") >= 1


def test_no_secret_is_logged(keyed: Keyed) -> None:
    with keyed.client("reader") as client:
        assert works(client)
        assert keyed.secrets["reader"] not in repr(client.__dict__)
    log = json.dumps(keyed.gateway.said())
    assert not [secret for secret in keyed.secrets.values() if secret in log]


def test_a_key_that_waits_holds_its_place_until_it_is_answered(keyed: Keyed) -> None:
    with keyed.client("single") as waiting, ThreadPoolExecutor(20) as pool:
        # Each of two processes allows one.
        asked = [pool.submit(_status, keyed, "single", [f"new {number}"]) for number in range(20)]
        counts = Counter(one.result() for one in asked)
        assert set(counts) == {200, 429}
        assert works(waiting)


def _status(keyed: Keyed, who: str, texts: list[str]) -> int:
    with keyed.client(who) as client:
        try:
            client.lookup(texts, "words", on_miss="wait", wait_ms=1500)
        except ServiceError as error:
            assert error.code == "too_many_concurrent_requests"
            return error.status
        return 200


def test_a_rate_is_answered_429_with_the_time_to_wait(keyed: Keyed) -> None:
    headers = {"Authorization": f"Bearer {keyed.secrets['seldom']}"}
    answers = [httpx.get(f"{keyed.gateway.url}/v1/models", headers=headers) for _ in range(10)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 8
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)


def test_a_deadline_that_is_over_when_a_thread_is_free_is_answered_504(tmp_path: Path) -> None:
    settings = {"gateway__processes": 1, "gateway__threads": 1}
    with gateway_process(tmp_path, *TEXTS, **settings) as gateway, ThreadPoolExecutor(1) as pool:
        asked = {"model": "words", "items": TEXTS[:2]}
        headers = {"X-Request-Timeout-Ms": "50"}
        with closing(sqlite3.connect(gateway.settings.data / QUEUE_FILE)) as beside:
            # The only thread waits for the queue.
            beside.execute("BEGIN IMMEDIATE")
            held = pool.submit(httpx.post, f"{gateway.url}/v1/prefetch", json=asked, timeout=30)
            wait_until(lambda: not gateway.is_alive(0.5), 60, "the only thread has it")
            late = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
            late.request("POST", "/v1/lookup", json.dumps(asked), headers)
            time.sleep(0.2)
            beside.rollback()
        assert held.result().status_code == 202
        with closing(late), late.getresponse() as answer:
            assert answer.status == 504
            assert json.load(answer)["error"]["code"] == "deadline_exceeded"


def test_under_overload_some_are_turned_away_and_the_rest_is_right(tmp_path: Path) -> None:
    """Thirty-two clients ask without pause for what takes far longer than the objective allows."""
    body = json.dumps({"model": "words", "items": TEXTS, "encoding": "base64"}).encode()
    settings = {"gateway__processes": 1, "gateway__objective_ms": 60}
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def storm(gateway: GatewayProcess) -> None:
        with httpx.Client(base_url=gateway.url, timeout=60) as http:
            while not stop.is_set():
                answer = http.post("/v1/lookup", content=body)
                statuses[answer.status_code] += 1
                if answer.status_code == 503:
                    assert answer.json()["error"]["code"] == "overloaded"
                    assert int(answer.headers["Retry-After"]) >= 1
                else:
                    items = answer.json()["items"]
                    assert [item["status"] for item in items] == ["hit"] * len(TEXTS)

    with gateway_process(tmp_path, *TEXTS, **settings) as gateway, ThreadPoolExecutor(32) as pool:
        storming = [pool.submit(storm, gateway) for _ in range(32)]
        try:
            wait_until(lambda: statuses[503] > 50 and statuses[200] > 20, 60, "some of both")
            # Probes and metrics are answered all along.
            assert gateway.answers()
            assert gateway.counted("embark_refused_requests_total", reason="shed") > 50
        finally:
            stop.set()
        for one in storming:
            one.result()
        assert set(statuses) == {200, 503}
        with Client(gateway.url, retries=5) as client:
            found = client.lookup(TEXTS[:3], "words")
        for text, row in zip(TEXTS[:3], found.embeddings, strict=True):
            key = Key("words", GENERATION, digest(text_input(text)))
            np.testing.assert_array_equal(row, vector_of(key, DIMENSION).astype(np.float16))
