"""How the answers of one lookup's queries are gathered; see `embark.store.cassandra.store`."""

from __future__ import annotations

import time

from embark.store.cassandra.driver import missing_extensions
from embark.store.cassandra.ring import partition_key
from embark.store.cassandra.store import _Gather

ROWS = [(b"digest", b"record")]
PAST = time.monotonic() - 1


def test_a_query_that_two_replicas_answer_counts_once() -> None:
    gather = _Gather(2)
    gather._answered(ROWS, 0)
    gather._answered(ROWS, 0)
    assert not gather._ended.is_set()
    gather._answered([], 1)
    assert gather._ended.is_set()
    assert gather.rows == [ROWS, []]


def test_an_error_after_an_answer_changes_nothing() -> None:
    gather = _Gather(2)
    gather._answered(ROWS, 0)
    gather.failed(OSError("the other replica"), 0)
    assert not gather._ended.is_set()
    gather.wait(PAST)
    assert gather.rows == [ROWS, None]


def test_the_partition_key_is_that_of_the_composite_format() -> None:
    key = partition_key("m", "0" * 16, b"\x01\x02")
    assert key == b"\x00\x01m\x00" + b"\x00\x10" + b"0" * 16 + b"\x00" + b"\x00\x02\x01\x02\x00"


def test_the_drivers_wheel_has_its_extensions() -> None:
    assert missing_extensions() is None
