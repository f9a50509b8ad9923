"""A real gateway, held to its own OpenAPI document by schemathesis."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from embark.api_keys import Scope, new_key, write_keys
from embark.archive import Archive, now_ms
from embark.backends import Backends, open_backends
from embark.codec import encode_embedding
from embark.models import Catalogue
from embark.queue.base import Lane
from tests.support.gateway import vector_of
from tests.support.models import DIMENSION
from tests.support.process import GatewayProcess, gateway_process

CONFIGURATION = Path(__file__).parents[1] / "support" / "schemathesis.toml"


class Computing:
    """Stands in for consumers and Retina: whatever is queued has a vector at once."""

    def __init__(self, backends: Backends, models: Catalogue) -> None:
        self._backends, self._models = backends, models
        self._archive = Archive(backends.store)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not any([self._compute(lane) for lane in Lane]):
                self._stopping.wait(0.02)

    def _compute(self, lane: Lane) -> int:
        taken = self._backends.queue.take(lane, 1000, 10**9)
        for delivery in taken:
            key = delivery.request.key
            model = self._models[key.model]
            record = encode_embedding(key, vector_of(key, DIMENSION), model.facts.dtype, now_ms())
            self._archive.put_many(model, {key.digest: record})
        self._backends.queue.ack(taken)
        return len(taken)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._backends.close()


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """An API key that may do everything."""
    key, secret = new_key("schemathesis", Scope)
    write_keys(tmp_path / "keys.json", [key])
    return secret


@pytest.fixture
def gateway(tmp_path: Path, secret: str) -> Iterator[GatewayProcess]:
    limits = {
        # Small, so that what is generated reaches them.
        "gateway__max_items": 5,
        "inputs__max_text_bytes": 200,
    }
    keys = str(tmp_path / "keys.json")
    with gateway_process(tmp_path, gateway__keys_file=keys, **limits) as running:
        computing = Computing(open_backends(running.settings), running.models)
        try:
            yield running
        finally:
            computing.close()


@pytest.mark.timeout(600)
def test_every_answer_is_as_the_document_says(
    gateway: GatewayProcess, secret: str, tmp_path: Path
) -> None:
    document: dict[str, Any] = httpx.get(f"{gateway.url}/openapi.json").json()
    # The models of this gateway, so that most generated requests reach one.
    document["components"]["schemas"]["Model"]["enum"] = list(gateway.models)
    written = tmp_path / "openapi.json"
    written.write_text(json.dumps(document), "utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIGURATION}", "run"]
    options = [f"--url={gateway.url}", "--checks=all", "--seed=1", "--no-color"]
    key = ["--header", f"Authorization: Bearer {secret}"]
    ran = subprocess.run(
        [*command, str(written), *options, *key],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=500,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:]
