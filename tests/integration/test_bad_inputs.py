"""Generated bad requests to every endpoint: each gets an answer, and none a 5xx.

`BAD_INPUTS` says how many; 20,000 by default, 100,000 in `make test-faults`.
"""

from __future__ import annotations

import base64
import json
import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from embark.inputs import text_input
from embark.keys import Key, digest
from tests.support.badness import Sent, mutated
from tests.support.gateway import Service, service, vector_of
from tests.support.models import DIMENSION, GENERATION
from tests.support.process import GatewayProcess, gateway_process

COUNT = int(os.environ.get("BAD_INPUTS", "20000"))
ON_SOCKETS = COUNT // 10
TEXTS = ["a", "b", "c"]
JSON = {"Content-Type": "application/json"}
PIXEL = base64.b64encode(b"GIF89a" + bytes(30)).decode()
# What a valid request may be told here: nothing waits, no neighbours are kept ready, and a time
# limit of 0 is one.
EXCUSES = {"not_ready", "neighbours_in_the_making", "deadline_exceeded"}
# The same in Triton's form, which has no code.
EXCUSES_IN_V2 = (
    (503, "not computed yet"),
    (503, "not in the archive"),
    (504, "X-Request-Timeout-Ms"),
    (504, "cannot be answered in the time"),
)


def key_of(text: str) -> Key:
    return Key("words", GENERATION, digest(text_input(text)))


def told(body: object) -> bytes:
    return json.dumps(body).encode()


def in_v2(**more: object) -> dict[str, Any]:
    tensor = {"name": "TEXT", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}
    return {"inputs": [tensor], **more}


def in_binary() -> tuple[bytes, str]:
    content = b"".join(len(text).to_bytes(4, "little") + text.encode() for text in TEXTS)
    tensor = {
        "name": "TEXT",
        "datatype": "BYTES",
        "shape": [3, 1],
        "parameters": {"binary_data_size": len(content)},
    }
    output = {"name": "EMBEDDING", "parameters": {"binary_data": True}}
    head = told({"inputs": [tensor], "outputs": [output]})
    return head + content, str(len(head))


def right() -> list[Sent]:
    """A right request for each endpoint that takes something."""
    items = ["a", {"text": "b"}, {"image": PIXEL, "model": "pictures"}, {"key": str(key_of("c"))}]
    lookup = {"model": "words", "items": items, "on_miss": "oov", "encoding": "base64"}
    binary, length = in_binary()
    lengthy = {"Inference-Header-Content-Length": length}
    digests = b"".join(key_of(text).digest for text in TEXTS)
    keys = {"Content-Type": "application/vnd.embark.keys"}
    wanted = {"outputs": [{"name": "STATUS"}, {"name": "EMBEDDING"}], "id": "1"}
    return [
        Sent("POST", "/v1/lookup", told(lookup), JSON),
        Sent("POST", "/v1/lookup", told({**lookup, "partial": True, "wait_ms": 1}), JSON),
        Sent("POST", "/v1/lookup?model=words", digests, keys),
        Sent("POST", "/v1/prefetch", told({"model": "words", "items": ["a", "b"]}), JSON),
        Sent("POST", "/v1/neighbours", told({"model": "words", "items": ["a"], "k": 3}), JSON),
        Sent("GET", "/v1/neighbours?model=words&text=a&k=2&minimum=0.1"),
        Sent("POST", "/v1/embeddings", told({"model": "words", "input": ["a", "b"]}), JSON),
        Sent("POST", "/v1/embeddings", told({"model": "words", "input": "a", "user": "u"}), JSON),
        Sent("POST", "/v2/models/words/infer", told(in_v2()), JSON),
        Sent("POST", "/v2/models/words/versions/1/infer", told(in_v2(**wanted)), JSON),
        Sent("POST", "/v2/models/words/infer", binary, lengthy),
        Sent("GET", "/v2/models/words"),
        Sent("GET", "/v2/models/words/versions/1/config"),
        Sent("GET", "/v2/models/words/stats"),
        Sent("POST", "/v2/repository/index", b"{}", JSON),
        Sent("GET", "/v1/models/words"),
        Sent("GET", "/page/main.js"),
        Sent("GET", "/"),
        Sent("GET", "/openapi.json"),
        Sent("GET", "/v2/health/ready"),
        Sent("POST", "/v1/admin/invalidate", told({"model": "words", "items": ["z"]}), JSON),
        Sent("GET", "/v1/admin/dead-letters?limit=5"),
        Sent("POST", "/v1/admin/dead-letters/replay", told({"names": ["x"]}), JSON),
        Sent("POST", "/v1/admin/dead-letters/purge", told({"names": ["x"]}), JSON),
        Sent("GET", "/v1/admin/coverage?model=words"),
        Sent("GET", f"/v1/admin/images/{key_of('a')}"),
    ]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path, gateway__max_wait_ms=1, gateway__miss_ack_ms=0) as opened:
        for text in TEXTS:
            opened.put_vector(key_of(text), vector_of(key_of(text), DIMENSION))
        yield opened


def is_excused(status: int, body: bytes) -> bool:
    """Whether a 503 or 504 is what a right request may get here."""
    if not body:
        return status == 504  # to a HEAD
    with suppress(ValueError, TypeError, KeyError):
        error = json.loads(body)["error"]
        if isinstance(error, dict):
            return status in (503, 504) and error["code"] in EXCUSES
        return any(status == known and text in error for known, text in EXCUSES_IN_V2)
    return False


def test_what_the_bad_ones_are_made_of_is_right(here: Service) -> None:
    for sent in right():
        answer = here.http.open(sent.path, method=sent.method, data=sent.body, headers=sent.headers)
        assert answer.status_code in (200, 202, 404) or is_excused(answer.status_code, answer.data)


@pytest.mark.timeout(1800)
def test_no_bad_request_is_an_error_of_ours(here: Service) -> None:
    seeds, requests = random.Random(7), right()
    statuses: Counter[int] = Counter()
    for _ in range(COUNT):
        sent = mutated(seeds, requests)
        # With the host, or a path of two slashes would name one.
        url = f"http://localhost{sent.path}"
        answer = here.http.open(url, method=sent.method, data=sent.body, headers=sent.headers)
        assert answer.status_code < 500 or is_excused(answer.status_code, answer.data), (
            sent,
            answer.text,
        )
        statuses[answer.status_code] += 1
    # Most are refused; were they answered, they would not be bad.
    assert sum(count for status, count in statuses.items() if status >= 400) > COUNT // 2, statuses


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    settings = {"gateway__max_wait_ms": 1}
    with gateway_process(tmp_path_factory.mktemp("bad"), *TEXTS, **settings) as running:
        yield running


def on_the_wire(seeds: random.Random, sent: Sent) -> bytes:
    lines = [f"{sent.method} {sent.path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in sent.headers.items() if name != "Expect"]
    lines += [f"Content-Length: {len(sent.body)}", "Connection: close", "", ""]
    head = bytearray("\r\n".join(lines).encode("utf-8", "surrogatepass"))
    for _ in range(seeds.choice((0, 0, 0, 1, 3))):
        at = seeds.randrange(len(head))
        head[at : at + seeds.choice((0, 1))] = seeds.choice(
            (b"", b"\r\n", b"\n", b"\x00", b" ", b":", b"\xff", b"Transfer-Encoding: chunked\r\n")
        )
    return bytes(head) + sent.body


@pytest.mark.timeout(1800)
def test_no_bad_bytes_are_an_error_of_ours_and_none_hang(gateway: GatewayProcess) -> None:
    seeds, requests = random.Random(8), right()
    for _ in range(ON_SOCKETS):
        sent = on_the_wire(seeds, mutated(seeds, requests))
        came = bytearray()
        # A connection that neither answers nor ends is a TimeoutError here.
        with gateway.connect() as sock, suppress(ConnectionError):
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(65536):
                came += data
        status, _, rest = bytes(came).partition(b" ")
        assert not came or status.startswith(b"HTTP/1."), came[:100]
        assert not rest.startswith(b"5") or is_excused(
            int(rest[:3]), bytes(came.partition(b"\r\n\r\n")[2])
        ), (sent[:2000], came[:500])
    assert not [line for line in gateway.said() if line["event"] == "unexpected_error"]
