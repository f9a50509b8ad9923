"""What every ledger promises; see `embark.store.ledger`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embark.errors import ArchiveUnavailable
from embark.store.ledger import Kind, Ledger
from embark.store.lmdb import LmdbStore
from embark.store.lmdb_ledger import LmdbLedger
from tests.contract.conftest import Opened
from tests.contract.test_store import digest
from tests.support.clock import Clock
from tests.support.stack import wait_until

LARGE = os.urandom(3 * 2**20)


def listed(ledger: Ledger, model: str, kind: Kind) -> list[bytes]:
    return [name for page in ledger.ids(model, kind) for name in page]


def test_values_come_back_in_the_order_asked(ledger: Ledger, model: str) -> None:
    ledger.put(model, Kind.SOURCE, {digest(1): b"one", digest(2): b""})
    asked = [digest(2), digest(3), digest(1), digest(2)]
    assert ledger.get(model, Kind.SOURCE, asked) == [b"", None, b"one", b""]
    assert ledger.get(model, Kind.SOURCE, []) == []
    ledger.put(model, Kind.SOURCE, {digest(1): b"new"})
    assert ledger.get(model, Kind.SOURCE, [digest(1)]) == [b"new"]


def test_models_and_kinds_are_apart(ledger: Ledger, model: str) -> None:
    ledger.put(model, Kind.SOURCE, {digest(1): b"source"})
    ledger.put(model, Kind.USAGE, {digest(1): b"usage"})
    ledger.put(f"{model}.x", Kind.SOURCE, {digest(1): b"x"})
    ledger.delete(model, Kind.USAGE, [digest(1), digest(2)])
    assert ledger.get(model, Kind.SOURCE, [digest(1)]) == [b"source"]
    assert ledger.get(model, Kind.USAGE, [digest(1)]) == [None]
    assert listed(ledger, model, Kind.SOURCE) == [digest(1)]
    assert listed(ledger, model, Kind.USAGE) == []


def test_large_values_are_whole(ledger: Ledger, model: str) -> None:
    ledger.put(model, Kind.SOURCE, {digest(1): LARGE, digest(2): b"small"})
    assert ledger.get(model, Kind.SOURCE, [digest(2), digest(1)]) == [b"small", LARGE]
    ledger.put(model, Kind.SOURCE, {digest(1): LARGE[::-1]})
    assert ledger.get(model, Kind.SOURCE, [digest(1)]) == [LARGE[::-1]]
    ledger.delete(model, Kind.SOURCE, [digest(1)])
    assert ledger.get(model, Kind.SOURCE, [digest(1)]) == [None]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.binary(max_size=200), max_size=20))
def test_any_bytes_are_kept(ledger: Ledger, model: str, values: dict[bytes, bytes]) -> None:
    ledger.put(model, Kind.SOURCE, values)
    assert ledger.get(model, Kind.SOURCE, list(values)) == list(values.values())


def test_every_id_is_listed_once(ledger: Ledger, model: str) -> None:
    names = {os.urandom(16) for _ in range(2500)}
    ledger.put(model, Kind.SOURCE, dict.fromkeys(names, b"x"))
    found = listed(ledger, model, Kind.SOURCE)
    assert len(found) == len(names)
    assert set(found) == names


def test_values_expire(opened: Opened, model: str) -> None:
    opened.ledger.put(model, Kind.USAGE, {digest(1): b"short"}, ttl_s=1)
    opened.ledger.put(model, Kind.USAGE, {digest(2): b"long"}, ttl_s=1000)
    opened.ledger.put(model, Kind.USAGE, {digest(3): b"for ever"})
    opened.passes(1.5)
    wait_until(
        lambda: opened.ledger.get(model, Kind.USAGE, [digest(1)]) == [None], 60, "it has expired"
    )
    assert sorted(listed(opened.ledger, model, Kind.USAGE)) == [digest(2), digest(3)]


def test_many_threads_write_and_read(ledger: Ledger, model: str) -> None:
    def work(thread: int) -> None:
        for number in range(20):
            name = digest(thread * 1000 + number)
            ledger.put(model, Kind.SOURCE, {name: name})
            assert ledger.get(model, Kind.SOURCE, [name]) == [name]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_a_closed_ledger_says_so(opened: Opened, model: str) -> None:
    opened.store.close()
    with pytest.raises(ArchiveUnavailable):
        opened.ledger.get(model, Kind.STATE, [digest(1)])
    with pytest.raises(ArchiveUnavailable):
        opened.ledger.put(model, Kind.STATE, {digest(1): b""})
    with pytest.raises(ArchiveUnavailable):
        listed(opened.ledger, model, Kind.STATE)


def test_what_expired_leaves_the_embedded_file(tmp_path: Path) -> None:
    store, clock = LmdbStore(tmp_path, 2**24), Clock()
    ledger = LmdbLedger(store, clock)
    for number in range(500):
        ledger.put("m", Kind.USAGE, {digest(number): b"x"}, ttl_s=10)
    clock.now += 11
    for _ in range(10):
        ledger.put("m", Kind.STATE, {digest(0): b"x"})
    with store.transaction(in_ledger=True) as txn:
        assert sum(1 for _ in txn.cursor()) == 1
    store.close()
