"""What every store promises; see `embark.store.base`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embark.errors import ArchiveUnavailable
from embark.store.base import MISSING, Store, scan
from embark.store.lmdb import LmdbStore

G1, G2 = "0" * 16, "1" * 16


def digest(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_records_come_back_in_the_order_asked(store: Store, model: str) -> None:
    store.put_many(model, G1, {digest(1): b"one", digest(2): b"two"})
    asked = [digest(2), digest(3), digest(1), digest(2)]
    assert store.get_many(model, G1, asked, 5) == [b"two", MISSING, b"one", b"two"]
    assert store.get_many(model, G1, [], 5) == []


def test_a_later_write_replaces_and_repetition_changes_nothing(store: Store, model: str) -> None:
    for record in (b"old", b"new", b"new"):
        store.put_many(model, G1, {digest(1): record})
    assert store.get_many(model, G1, [digest(1)], 5) == [b"new"]


def test_models_and_generations_are_apart(store: Store, model: str) -> None:
    store.put_many(model, G1, {digest(1): b"m1"})
    store.put_many(model, G2, {digest(1): b"m2"})
    store.put_many(f"{model}.x", G1, {digest(1): b"mx"})
    assert store.get_many(model, G1, [digest(1)], 5) == [b"m1"]
    assert store.get_many(model, G2, [digest(1)], 5) == [b"m2"]
    assert store.get_many(f"{model}.x", G1, [digest(1)], 5) == [b"mx"]
    assert store.get_many(f"{model}y", G1, [digest(1)], 5) == [MISSING]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.binary(max_size=200), max_size=20))
def test_any_bytes_are_kept(store: Store, model: str, records: dict[bytes, bytes]) -> None:
    store.put_many(model, G1, records)
    assert store.get_many(model, G1, list(records), 5) == list(records.values())


def test_many_threads_write_and_read(store: Store, model: str) -> None:
    def work(thread: int) -> None:
        for number in range(50):
            name = digest(thread * 1000 + number)
            store.put_many(model, G1, {name: name})
            assert store.get_many(model, G1, [name], 5) == [name]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_a_thousand_at_once(store: Store, model: str) -> None:
    records = {digest(number): bytes([number % 256]) * 784 for number in range(1000)}
    store.put_many(model, G1, records)
    assert store.get_many(model, G1, list(records), 5) == list(records.values())


def test_what_is_forgotten_is_missing(store: Store, model: str) -> None:
    store.put_many(model, G1, {digest(number): b"x" for number in range(5)})
    store.put_many(model, G2, {digest(1): b"other"})
    for _ in range(2):
        store.delete_many(model, G1, [digest(1), digest(3), digest(9)])
    asked = [digest(number) for number in range(5)]
    assert store.get_many(model, G1, asked, 5) == [b"x", MISSING, b"x", MISSING, b"x"]
    assert store.get_many(model, G2, [digest(1)], 5) == [b"other"]
    store.put_many(model, G1, {digest(1): b"again"})
    assert store.get_many(model, G1, [digest(1)], 5) == [b"again"]


def test_a_scan_finds_every_record_once(store: Store, model: str) -> None:
    records = {digest(number): b"%d" % number for number in range(2500)}
    store.put_many(model, G1, records)
    store.put_many(model, G2, {digest(5000): b"of another generation"})
    store.put_many(f"{model}.x", G1, {digest(5001): b"of another model"})
    found = [pair for page in scan(store, model, G1, 10) for pair in page]
    assert len(found) == len(records)
    assert dict(found) == records
    assert list(scan(store, f"{model}y", G1, 10)) == []


def test_a_scan_survives_what_is_written_and_forgotten_meanwhile(store: Store, model: str) -> None:
    store.put_many(model, G1, {digest(2 * number): b"x" for number in range(1500)})
    seen: list[bytes] = []
    for number, page in enumerate(store.digests(model, G1)):
        seen += page
        store.delete_many(model, G1, [page[0]])
        store.put_many(model, G1, {digest(2 * number + 1): b"y"})
    assert {digest(2 * number) for number in range(1500)} <= set(seen)


def test_a_closed_store_says_so(store: Store, model: str) -> None:
    store.check()
    store.close()
    store.close()
    for call in (
        store.check,
        lambda: store.get_many(model, G1, [digest(1)], 5),
        lambda: store.put_many(model, G1, {digest(1): b""}),
    ):
        with pytest.raises(ArchiveUnavailable):
            call()


def test_a_full_embedded_archive_refuses_writes_and_still_reads(tmp_path: Path, model: str) -> None:
    store = LmdbStore(tmp_path, 2**20)
    store.put_many(model, G1, {digest(1): b"kept"})
    with pytest.raises(ArchiveUnavailable) as refused:
        store.put_many(model, G1, {digest(number): b"x" * 10_000 for number in range(2, 1000)})
    assert refused.value.code == "archive_full"
    assert store.get_many(model, G1, [digest(1), digest(2)], 5) == [b"kept", MISSING]
    store.close()
