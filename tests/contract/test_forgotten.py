"""The log of invalidations, on every ledger."""

from __future__ import annotations

from embark.forgotten import KEPT_SECONDS, Forgotten, ForgottenReader, note_forgotten
from embark.store.ledger import Kind, Ledger
from tests.contract.conftest import Opened
from tests.contract.test_store import digest
from tests.support.clock import Clock

OLD, NEW = "00000000000000aa", "ffffffffffffff00"


def test_a_reader_sees_what_is_kept_and_then_what_is_new(
    ledger: Ledger, model: str, clock: Clock
) -> None:
    then_ms = int(clock.now * 1000)
    note_forgotten(ledger, model, OLD, [digest(1)], clock)
    one, other = (ForgottenReader(ledger, name, clock) for name in (model, f"{model}.x"))
    assert one.read() == [Forgotten(OLD, [digest(1)], then_ms)]
    clock.now += 2
    note_forgotten(ledger, model, NEW, [digest(2), digest(3)], clock)
    note_forgotten(ledger, model, OLD, [digest(4)], clock)
    assert one.read() == [
        Forgotten(OLD, [digest(4)], then_ms + 2000),
        Forgotten(NEW, [digest(2), digest(3)], then_ms + 2000),
    ]
    assert one.read() == other.read() == []


def test_much_at_once_is_whole_or_stands_for_all(ledger: Ledger, model: str, clock: Clock) -> None:
    reader = ForgottenReader(ledger, model, clock)
    digests = [digest(number) for number in range(5000)]
    note_forgotten(ledger, model, OLD, digests, clock)
    for number in range(300):
        note_forgotten(ledger, model, NEW, [digest(number)], clock)
    found = reader.read()
    of_old = [one for entry in found if entry.generation == OLD for one in entry.digests or ()]
    assert sorted(of_old) == sorted(digests)
    assert [len(one.digests or ()) for one in found if one.generation == NEW] == [1] * 300
    # 300 notes of 400: the first page of notes has more than is read whole.
    for start in range(300):
        note_forgotten(ledger, model, NEW, [digest(start * 400 + one) for one in range(400)], clock)
    assert reader.read()[-1] == Forgotten(NEW, None, int(clock.now * 1000))


def test_a_note_is_seen_for_its_hour_and_hours_do_not_share_an_ending(
    opened: Opened, model: str, clock: Clock
) -> None:
    ledger = opened.ledger
    clock.now = (clock.now // KEPT_SECONDS + 1) * KEPT_SECONDS - 1
    endings = set()
    for hour in range(3):
        note_forgotten(ledger, model, OLD, [digest(hour)], clock)
        endings |= {name[-2:] for page in ledger.ids(model, Kind.FORGOTTEN) for name in page}
        clock.now += KEPT_SECONDS - 1
        read = ForgottenReader(ledger, model, clock).read()
        assert digest(hour) in [one for entry in read for one in entry.digests or ()]
        clock.now += 1
    assert len(endings) == 3


def test_only_ids_with_the_ending_are_listed(ledger: Ledger, model: str) -> None:
    names = [bytes(13) + bytes((number, 4, 0)) for number in range(3)]
    ledger.put(model, Kind.USAGE, dict.fromkeys(names, b"x"))
    ledger.put(model, Kind.USAGE, {bytes(16): b"another's", bytes(14) + b"\0\1": b"another's"})
    assert sorted(ledger.ids_ending(model, Kind.USAGE, b"\4\0")) == names
    assert ledger.ids_ending(model, Kind.SOURCE, b"\4\0") == []
