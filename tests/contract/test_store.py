"""What every store promises; see `embark.store.base`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embark.errors import ArchiveUnavailable
from embark.store.base import MISSING, Store
from embark.store.lmdb import LmdbStore

G1, G2 = "0" * 16, "1" * 16


def digest(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_records_come_back_in_the_order_asked(store: Store) -> None:
    store.put_many("m", G1, {digest(1): b"one", digest(2): b"two"})
    asked = [digest(2), digest(3), digest(1), digest(2)]
    assert store.get_many("m", G1, asked, 1) == [b"two", MISSING, b"one", b"two"]
    assert store.get_many("m", G1, [], 1) == []


def test_a_later_write_replaces_and_repetition_changes_nothing(store: Store) -> None:
    for record in (b"old", b"new", b"new"):
        store.put_many("m", G1, {digest(1): record})
    assert store.get_many("m", G1, [digest(1)], 1) == [b"new"]
    assert store.count("m", G1) == 1


def test_models_and_generations_are_apart(store: Store) -> None:
    store.put_many("m", G1, {digest(1): b"m1"})
    store.put_many("m", G2, {digest(1): b"m2"})
    store.put_many("m.x", G1, {digest(1): b"mx"})
    assert store.get_many("m", G1, [digest(1)], 1) == [b"m1"]
    assert store.get_many("m", G2, [digest(1)], 1) == [b"m2"]
    assert store.get_many("m.x", G1, [digest(1)], 1) == [b"mx"]
    assert store.get_many("x", G1, [digest(1)], 1) == [MISSING]
    assert [store.count("m", G1), store.count("m", G2), store.count("none", G1)] == [1, 1, 0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.binary(max_size=200), max_size=20))
def test_any_bytes_are_kept(store: Store, records: dict[bytes, bytes]) -> None:
    store.put_many("m", G1, records)
    assert store.get_many("m", G1, list(records), 1) == list(records.values())


def test_many_threads_write_and_read(store: Store) -> None:
    def work(thread: int) -> None:
        for number in range(50):
            name = digest(thread * 1000 + number)
            store.put_many("m", G1, {name: name})
            assert store.get_many("m", G1, [name], 1) == [name]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert store.count("m", G1) == 400


def test_a_thousand_at_once(store: Store) -> None:
    records = {digest(number): bytes([number % 256]) * 784 for number in range(1000)}
    store.put_many("m", G1, records)
    assert store.get_many("m", G1, list(records), 1) == list(records.values())


def test_a_closed_store_says_so(store: Store) -> None:
    store.check()
    store.close()
    store.close()
    for call in (
        store.check,
        lambda: store.get_many("m", G1, [digest(1)], 1),
        lambda: store.put_many("m", G1, {digest(1): b""}),
    ):
        with pytest.raises(ArchiveUnavailable):
            call()


def test_a_full_embedded_archive_refuses_writes_and_still_reads(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, 2**20)
    store.put_many("m", G1, {digest(1): b"kept"})
    with pytest.raises(ArchiveUnavailable) as refused:
        store.put_many("m", G1, {digest(number): b"x" * 10_000 for number in range(2, 1000)})
    assert refused.value.code == "archive_full"
    assert store.get_many("m", G1, [digest(1), digest(2)], 1) == [b"kept", MISSING]
    store.close()
