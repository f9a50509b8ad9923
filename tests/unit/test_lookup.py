"""Lookups of an archive that is late at first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embark.archive import Archive, now_ms
from embark.codec import Embedding, encode_embedding
from embark.inputs import image_url_input, text_input
from embark.keys import Key, digest
from embark.models import load_catalogue
from embark.queue.base import Lane
from embark.queue.sqlite import SqliteQueue
from embark.settings import GatewaySettings, UsageSettings
from embark.store.base import LATE, Found
from embark.store.lmdb import LmdbStore
from embark.store.lmdb_ledger import LmdbLedger
from embark.usage import Usage
from gateway.items import Item
from gateway.l1 import L1
from gateway.lookup import Lookups
from gateway.misses import Misses
from gateway.turns import told_of_patience
from tests.support.clock import Clock
from tests.support.gateway import vector_of
from tests.support.models import DIMENSION, GENERATION, catalogue


class LateStore(LmdbStore):
    """The real store, whose first answers come too late."""

    def __init__(self, folder: Path, late: int) -> None:
        super().__init__(folder, 2**26)
        self.late = late
        self.limits_s: list[float] = []

    def get_many(
        self, model: str, generation: str, digests: Sequence[bytes], timeout_s: float
    ) -> list[Found]:
        self.limits_s.append(timeout_s)
        self.late -= 1
        if self.late >= 0:
            return [LATE] * len(digests)
        return super().get_many(model, generation, digests, timeout_s)


class Bench:
    def __init__(self, folder: Path, late: int) -> None:
        self.folder = folder
        self.model = catalogue(folder / "models")["words"]
        self.store = LateStore(folder / "archive", late)
        self.queue = SqliteQueue(folder / "queue.sqlite", 15)
        self.misses = Misses(self.queue, GatewaySettings(miss_ack_ms=100))
        self.archive = Archive(self.store)
        self.usage = Usage(LmdbLedger(self.store), UsageSettings(window_seconds=0))
        self.lookups = Lookups(
            self.archive, self.misses, self.usage, GatewaySettings(), refresh_s=0, l1=L1(2**20)
        )

    def item(self, text: str) -> Item:
        content = text_input(text)
        return Item(0, self.model, Key("words", GENERATION, digest(content)), content)

    def write(self, item: Item) -> None:
        vector = vector_of(item.key, DIMENSION)
        record = encode_embedding(item.key, vector, "float16", now_ms())
        self.archive.put_many(self.model, {item.key.digest: record})

    def status(self, text: str, on_miss: str, wait_ms: int = 0) -> str:
        return self.lookups.run([self.item(text)], on_miss, wait_ms)[0].status

    @property
    def depth(self) -> int:
        return self.queue.status()[Lane.INTERACTIVE].depth


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, late=2)
    yield made
    made.misses.close()
    made.queue.close()
    made.store.close()


def test_what_is_late_is_oov_and_not_queued(bench: Bench) -> None:
    assert bench.status("a", "oov") == "oov"
    assert bench.depth == 0


def test_what_memory_would_read_again_is_answered_while_the_archive_is_late(bench: Bench) -> None:
    clock = Clock()
    l1 = L1(2**20, images_change=True, clock=clock)
    model = load_catalogue(bench.folder / "models")["pictures"]
    lookups = Lookups(
        bench.archive, bench.misses, bench.usage, GatewaySettings(), refresh_s=3600, l1=l1
    )
    content = image_url_input("http://example.com/image.png")
    item = Item(0, model, Key("pictures", GENERATION, digest(content)), content)
    vector = vector_of(item.key, DIMENSION)
    record = encode_embedding(item.key, vector, "float32", now_ms())
    bench.archive.put_many(model, {item.key.digest: record})
    bench.store.late = 0
    assert lookups.run([item], "oov")[0].status == "hit"
    clock.now += 60
    bench.store.late = 1
    (found,) = lookups.run([item], "oov")
    assert isinstance(found.record, Embedding)
    assert np.array_equal(found.record.vector, vector)
    assert bench.store.late == 0  # the archive was asked


@pytest.mark.parametrize(("within_s", "limit_s"), [(None, 0.05), (60.0, 0.05), (0.02, 0.02)])
def test_the_archive_is_waited_for_no_longer_than_there_is_time(
    bench: Bench, within_s: float | None, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.lookup.time", SimpleNamespace(monotonic=lambda: 1000.0))
    bench.lookups.run([bench.item("a")], "oov", within_s=within_s)
    assert bench.store.limits_s[0] == pytest.approx(limit_s)


def test_nor_is_it_when_it_is_read_again(bench: Bench) -> None:
    bench.write(bench.item("a"))
    (found,) = bench.lookups.run([bench.item("a")], "wait", 5000, within_s=0.03)
    assert found.status == "hit"
    assert len(bench.store.limits_s) == 3
    assert max(bench.store.limits_s) <= 0.03


def test_only_a_lookup_that_has_to_wait_says_that_it_does(bench: Bench) -> None:
    bench.store.late = 0
    bench.write(bench.item("a"))
    told: list[str] = []
    with told_of_patience(lambda: told.append("waits")):
        assert bench.status("a", "wait", 5000) == "hit"
        assert bench.status("b", "oov") == "oov"
        assert not told
        assert bench.status("c", "wait", 1) == "oov"
        assert told


def test_who_waits_waits_for_what_is_late(bench: Bench) -> None:
    bench.write(bench.item("a"))
    assert bench.status("a", "wait", 5000) == "hit"
    assert bench.depth == 0


def test_what_was_late_and_is_missing_is_queued_and_waited_for(bench: Bench) -> None:
    def compute() -> None:
        deadline = time.monotonic() + 5
        while bench.depth == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        bench.write(bench.item("a"))

    computer = threading.Thread(target=compute)
    computer.start()
    assert bench.status("a", "wait", 5000) == "hit"
    computer.join()
    assert bench.depth == 1
