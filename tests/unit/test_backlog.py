"""What a consumer holds of a lane; see `embark.queue.kafka.backlog`."""

from __future__ import annotations

import itertools

import pytest

from embark.inputs import Input, InputKind
from embark.keys import Key, digest
from embark.queue.base import Lane, Request
from embark.queue.kafka import message as wire
from embark.queue.kafka.backlog import Backlog, Entry

TOPIC, PLACE = "t", ("t", 0)


class Bench:
    """A backlog of one partition, with a clock and growing offsets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.backlog = Backlog(3, 1000, lambda: self.now)
        self.backlog.assign([PLACE])
        self._offsets = itertools.count()

    def read(self, size: int = 1, due_ms: int = 0, claimed: bool = False) -> Entry | None:
        item = Input(InputKind.TEXT, b"x" * size)
        request = Request(Key("m", "0" * 16, digest(item)), item, Lane.BULK)
        claim = wire.Claim(b"c" * 16, size) if claimed else None
        record = wire.encode(request, TOPIC, 0, claim)
        if due_ms:
            record = wire.retried(record, TOPIC, 2, due_ms)
        entry = self.backlog.read(record, 0, next(self._offsets))
        if entry is not None:
            entry.message = wire.decode(record)
        return entry

    def ready(self, size: int = 1) -> Entry:
        entry = self.read(size)
        assert entry is not None
        self.backlog.ready(entry)
        return entry


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_ready_is_taken_in_order_within_bounds(bench: Bench) -> None:
    entries = [bench.ready(400) for _ in range(4)]
    assert bench.backlog.fullness() == (True, False)
    assert bench.backlog.take(10, 900) == entries[:2]
    assert bench.backlog.take(10, 1) == [entries[2]]
    assert bench.backlog.take(10, 1000) == [entries[3]]
    assert bench.backlog.fullness() == (False, False)


def test_a_retry_waits_for_its_time_and_counts_apart(bench: Bench) -> None:
    for number in range(3):
        assert bench.read(due_ms=1_010_000 + number) is None
    assert bench.backlog.fullness() == (False, True)
    assert bench.backlog.due() == []
    bench.now = 1010.001
    assert len(bench.backlog.due()) == 2
    assert bench.backlog.fullness() == (False, False)


def test_what_is_held_comes_back_and_fills_the_backlog(bench: Bench) -> None:
    entries = [bench.ready() for _ in range(3)]
    for entry in bench.backlog.take(10, 1000):
        bench.backlog.hold(entry, bench.now + 5)
    assert bench.backlog.fullness() == (True, False)
    bench.now += 5
    assert bench.backlog.due() == entries
    assert bench.backlog.to_commit([PLACE]) == {PLACE: 0}


def test_an_offset_is_committed_when_all_before_it_is_finished(bench: Bench) -> None:
    first, second = bench.ready(), bench.ready()
    bench.backlog.take(10, 1000)
    bench.backlog.finish(second, claim_over=True)
    assert bench.backlog.to_commit([PLACE]) == {PLACE: 0}
    bench.backlog.finish(first, claim_over=True)
    assert bench.backlog.to_commit([PLACE]) == {PLACE: 2}


def test_a_claim_ends_when_its_offset_is_committed_and_not_when_a_retry_has_it(
    bench: Bench,
) -> None:
    claimed, moved = bench.read(10, claimed=True), bench.read(10, claimed=True)
    assert claimed is not None and moved is not None and claimed.message is not None
    bench.backlog.finish(claimed, claim_over=True)
    bench.backlog.finish(moved, claim_over=False)
    assert bench.backlog.committed(PLACE, 0) == []
    assert bench.backlog.committed(PLACE, 2) == [claimed.message.claim]
    assert bench.backlog.committed(PLACE, 2) == []


def test_claimed_inputs_are_loaded_within_bounds_but_never_none(bench: Bench) -> None:
    sizes = (900, 200, 5000)
    first, second, huge = (bench.read(size, claimed=True) for size in sizes)
    assert first is not None and second is not None and huge is not None
    assert [one.size for one in (first, second, huge)] == list(sizes)
    assert bench.backlog.may_load(first)
    assert not bench.backlog.may_load(second)
    bench.backlog.ready(first)
    assert bench.backlog.take(1, 1000) == [first]
    assert bench.backlog.may_load(second)
    bench.backlog.hold(second, bench.now)
    assert bench.backlog.may_load(huge)


def test_what_is_lost_is_forgotten_and_words_about_it_change_nothing(bench: Bench) -> None:
    taken, near = bench.ready(), bench.ready()
    assert bench.backlog.take(1, 1000) == [taken]
    bench.read(due_ms=1_010_000)
    bench.backlog.drop([PLACE])
    assert taken.assignment.lost
    assert bench.backlog.take(10, 1000) == []
    bench.backlog.ready(near)
    bench.backlog.hold(taken, bench.now)
    bench.backlog.finish(near, claim_over=True)
    bench.now += 100
    assert bench.backlog.due() == []
    assert bench.backlog.fullness() == (False, False)
    assert bench.backlog.to_commit([PLACE]) == {}
    bench.backlog.assign([PLACE])
    assert bench.backlog.to_commit([PLACE]) == {}
