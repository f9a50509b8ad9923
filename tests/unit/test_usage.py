"""Counting uses, on the real embedded ledger."""

from __future__ import annotations

import random
from pathlib import Path

from embark.keys import Key
from embark.settings import UsageSettings
from embark.store.lmdb import LmdbStore
from embark.store.lmdb_ledger import LmdbLedger
from embark.usage import MAX_DISTINCT, Usage, Window, read_usage


def digest(number: int) -> bytes:
    return number.to_bytes(16, "big")


def key(number: int, model: str = "m") -> Key:
    return Key(model, "0" * 16, digest(number))


def test_uses_of_several_processes_and_windows_add_up(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, 2**24)
    ledger = LmdbLedger(store)
    for _ in range(3):
        usage = Usage(ledger, UsageSettings(window_seconds=60))
        usage.count([key(1), key(2), key(3, "other")])
        usage.count([key(1)])
        usage.close()
        usage.close()
    assert read_usage(ledger, "m") == {digest(1): 6, digest(2): 3}
    assert read_usage(ledger, "other") == {digest(3): 3}
    assert read_usage(ledger, "none") == {}
    store.close()


def test_nothing_is_counted_when_it_is_off_or_the_ledger_is_gone(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, 2**24)
    ledger = LmdbLedger(store)
    off = Usage(ledger, UsageSettings(window_seconds=0))
    off.count([key(1)])
    off.close()
    assert read_usage(ledger, "m") == {}
    gone = Usage(ledger, UsageSettings(window_seconds=60))
    gone.count([key(1)])
    store.close()
    gone.close()


def test_a_full_window_stays_small_and_its_counts_right(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, 2**24)
    ledger = LmdbLedger(store)
    usage = Usage(ledger, UsageSettings(window_seconds=60), random.Random(0))
    rare, often = 40_000, 2_000
    for start in range(0, rare, 1000):
        usage.count([key(100 + number) for number in range(start, start + 1000)])
        for _ in range(often * 1000 // rare):
            usage.count([key(1)])
    usage.close()
    found = read_usage(ledger, "m")
    assert len(found) <= MAX_DISTINCT
    assert 0.8 * often < found[digest(1)] < 1.2 * often
    assert 0.9 * rare < sum(found.values()) - found[digest(1)] < 1.1 * rare
    store.close()


def test_a_window_counts_exactly_until_it_is_full() -> None:
    window = Window(random.Random(0))
    window.count([digest(number) for number in range(MAX_DISTINCT)])
    assert (len(window.counts), window.rate) == (MAX_DISTINCT, 1.0)
    window.count([digest(MAX_DISTINCT)])
    assert (len(window.counts) < MAX_DISTINCT, window.rate) == (True, 0.5)
