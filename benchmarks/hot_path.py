"""Where the time of a lookup goes that memory answers: stage by stage, and beside a bare route.

`python -m benchmarks.hot_path`: a gateway on an embedded archive, asked in this process through
WSGI, without a server; and one without a memory, which reads all from the archive. Each stage is
called by itself, and all take turns in every round. What is printed is the CPU time of the calling
thread, in microseconds: the median over rounds, and the least; other work on the machine counts
little. The ratio is to a Flask route that returns as many constant bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response
from rich.console import Console
from rich.table import Table

from benchmarks.drawn import GENERATION, drawn_facts
from embark.api_keys import Scope
from embark.archive import now_ms
from embark.backends import open_backends
from embark.binary import KEYS_TYPE, VECTORS_TYPE
from embark.codec import encode_embedding
from embark.config import load
from embark.inputs import text_input
from embark.keys import DIGEST_BYTES, Key, digest
from embark.metrics import LOOKUP_BATCH, LOOKUP_HITS, LOOKUP_ITEMS, LOOKUP_REQUESTS
from embark.models import FACTS_FILE
from embark.settings import UsageSettings
from embark.usage import Usage
from gateway.access.gate import Grant
from gateway.access.hooks import GRANT
from gateway.app import Gateway
from gateway.l1 import L1, packed

DIMENSION = 384
CALLS = 20

console = Console(highlight=False)

Stage = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gateway = _gateway(Path(folder) / "hot", options.keys)
        cold = _gateway(Path(folder) / "cold", options.keys, l1_bytes=0)
        try:
            found = _measure(_stages(gateway, cold, options.keys), options.rounds)
        finally:
            gateway.close()
            cold.close()
    _show(found, options.keys)
    if options.json:
        options.json.write_text(json.dumps({"keys": options.keys, "us": found}, indent=1), "utf-8")


def _texts(count: int) -> list[str]:
    return [f"a text of an item that is for sale, number {number}" for number in range(count)]


def _digests(count: int) -> list[bytes]:
    return [digest(text_input(text)) for text in _texts(count)]


def _gateway(folder: Path, count: int, *, l1_bytes: int = 2**28) -> Gateway:
    facts = drawn_facts("words", DIMENSION)
    version = folder / "models" / "words" / "1"
    version.mkdir(parents=True)
    (version / FACTS_FILE).write_text(facts.model_dump_json(), "utf-8")
    overrides = {
        "data": str(folder),
        "retina.model_repository": str(folder / "models"),
        "gateway.l1.max_bytes": l1_bytes,
    }
    settings = load(environment={}, overrides=overrides).settings
    backends = open_backends(settings)
    rng = np.random.default_rng(0)
    records = {
        one: encode_embedding(
            Key("words", GENERATION, one), rng.normal(size=DIMENSION), "float16", now_ms()
        )
        for one in _digests(count)
    }
    backends.store.put_many("words", GENERATION, records)
    return Gateway(settings, backends)


def _stages(gateway: Gateway, cold: Gateway, count: int) -> dict[str, Stage]:
    model = gateway.following.current["words"]
    listed = _digests(count)
    body, digests = b"".join(listed), packed(listed)
    l1 = L1(2**28)
    vectors = np.random.default_rng(0).normal(size=(count, DIMENSION)).astype(np.float16)
    l1.put_many(model, digests, vectors, np.zeros(count, np.int64))
    usage = Usage(gateway._backends.ledger, UsageSettings())
    statuses = np.zeros(count, np.uint8)
    answer = b"".join((vectors.data, statuses.data))
    in_json = json.dumps({"model": "words", "items": _texts(count)}).encode()
    with_base64 = json.dumps(
        {"model": "words", "items": _texts(count), "encoding": "base64"}
    ).encode()
    bare = _bare(answer)
    stages: dict[str, Stage] = {
        "bare route, as many bytes": _calls(bare, body, KEYS_TYPE),
        "keys in binary": _calls(gateway.app, body, KEYS_TYPE, query="model=words"),
        "keys in binary, through Flask": _calls(
            gateway.app, body, KEYS_TYPE, query="model=words&wait_ms=0"
        ),
        "keys in binary, from the archive": _calls(cold.app, body, KEYS_TYPE, query="model=words"),
        "texts in JSON, answer in binary": _calls(
            gateway.app, in_json, "application/json", accept=VECTORS_TYPE
        ),
        "texts in JSON, answer in base64": _calls(gateway.app, with_base64, "application/json"),
        "texts in JSON, answer in numbers": _calls(gateway.app, in_json, "application/json"),
        "  L1: find and copy": lambda: l1.get_many(model, digests),
        "  usage: count": lambda: usage.count_inputs(
            "words", lambda: digests.view(f"V{DIGEST_BYTES}").ravel().tolist()
        ),
        "  answer: join": lambda: b"".join((vectors.data, statuses.data)),
        "  metrics": lambda: _metrics(count),
        "  texts: digest": lambda: _digests(count),
    }
    for stage in stages.values():
        stage(), stage()
    return stages


def _metrics(count: int) -> None:
    LOOKUP_BATCH.observe(count)
    LOOKUP_ITEMS.labels(model="words", status="hit").inc(count)
    LOOKUP_HITS.labels(model="words", tier="l1").inc(count)
    LOOKUP_REQUESTS.labels(endpoint="/v1/lookup", status="200").observe(0.001)


def _bare(answer: bytes) -> Flask:
    app = Flask("bare", static_folder=None)

    @app.post("/v1/lookup")
    def lookup() -> Response:
        return Response(answer, content_type="application/octet-stream")

    return app


def _calls(app: Flask, body: bytes, kind: str, *, query: str = "", accept: str = "*/*") -> Stage:
    """Return what asks an application as a WSGI server does."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/v1/lookup",
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8080",
        "HTTP_ACCEPT": accept,
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        GRANT: Grant(frozenset(Scope)),  # the gateway's server has let it in
    }

    def call() -> None:
        told: list[str] = []
        own = {**environ, "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO()}
        parts: Iterable[bytes] = app(own, lambda status, headers: told.append(status))  # type: ignore[arg-type]
        assert b"".join(parts) and told[0].startswith("200"), told
        close = getattr(parts, "close", None)
        if close is not None:
            close()

    return call


def _measure(stages: dict[str, Stage], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median and the least of each stage, in microseconds of CPU time."""
    took: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            began = time.thread_time_ns()
            for _ in range(CALLS):
                stage()
            took[name].append((time.thread_time_ns() - began) / 1000 / CALLS)
    return {name: (statistics.median(some), min(some)) for name, some in took.items()}


def _show(found: dict[str, tuple[float, float]], keys: int) -> None:
    floor = next(iter(found.values()))
    table = Table("stage", "median µs", "least µs", "to the bare route")
    for name, (median, least) in found.items():
        ratio = "" if name.startswith(" ") else f"{median / floor[0]:.2f}"
        table.add_row(name, f"{median:.0f}", f"{least:.0f}", ratio)
    console.print(f"{keys} keys of {DIMENSION} float16 numbers, all in memory")
    console.print(table)


if __name__ == "__main__":
    main()
