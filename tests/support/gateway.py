"""A gateway on real embedded stores, without servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from werkzeug.test import TestResponse

from embark.archive import Archive, now_ms
from embark.backends import Backends
from embark.codec import Failure, encode_embedding, encode_failure
from embark.config import load
from embark.keys import Key
from embark.models import Vector
from embark.queue.sqlite import SqliteQueue
from embark.store.lmdb import LmdbStore
from embark.store.lmdb_ledger import LmdbLedger
from gateway.app import Gateway
from tests.support.models import catalogue


class Service:
    """What a test needs of a gateway: its HTTP client, archive and queue.

    Args:
        folder: for its data.
        patient: lookups wait until their misses are queued, longer than any setting allows:
            a disk that is busy with other tests is slow.
        settings: of it, dots as `__`.
    """

    def __init__(self, folder: Path, *, patient: bool = False, **settings: Any) -> None:
        overrides = {name.replace("__", "."): value for name, value in settings.items()}
        overrides["retina.model_repository"] = str(folder / "models")
        self.settings = load(environment={}, overrides=overrides).settings
        if patient:
            gateway = self.settings.gateway.model_copy(update={"miss_ack_ms": 30_000})
            self.settings = self.settings.model_copy(update={"gateway": gateway})
        self.models = catalogue(folder / "models")
        self.store = LmdbStore(folder / "archive", 2**26)
        self.queue = SqliteQueue(folder / "queue.sqlite", 15)
        self.archive = Archive(self.store)
        self.backends = Backends(self.store, LmdbLedger(self.store), self.queue)
        self.gateway = Gateway(self.settings, self.backends)
        self.http = self.gateway.app.test_client()

    def put_vector(self, key: Key, vector: Vector) -> None:
        model = self.models[key.model]
        record = encode_embedding(key, vector, model.facts.dtype, now_ms())
        self.archive.put_many(model, {key.digest: record})

    def put_failure(self, key: Key, code: str = "not_found", lasts_ms: int = 3_600_000) -> None:
        now = now_ms()
        record = encode_failure(key, Failure(code, "the reason", now, now + lasts_ms))
        self.archive.put_many(self.models[key.model], {key.digest: record})

    def lookup(self, items: list[Any], **fields: Any) -> list[dict[str, Any]]:
        answer = self.http.post("/v1/lookup", json={"items": items, **fields})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = json_of(answer)["items"]
        return found


def json_of(answer: TestResponse) -> Any:
    """What an answer says in JSON, whose type nobody can know; None: it is not JSON."""
    return answer.json


def vector_of(key: Key, dimension: int) -> Vector:
    """A vector that belongs to one key only."""
    seed = int.from_bytes(key.digest[:4], "big")
    return np.random.default_rng(seed).normal(size=dimension).astype(np.float32)


@contextmanager
def service(folder: Path, **settings: Any) -> Iterator[Service]:
    opened = Service(folder, **settings)
    try:
        yield opened
    finally:
        opened.gateway.close()
