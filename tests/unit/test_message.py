"""The record on the wire; see `embark.queue.kafka.message`."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embark.errors import PermanentFailure
from embark.inputs import Input, InputKind
from embark.keys import Key, digest
from embark.queue.base import Lane, Request
from embark.queue.kafka import message as wire

TOPIC, NOW = "embark.bulk", 1_700_000_000_123


def request(payload: bytes = b"a text", lane: Lane = Lane.BULK) -> Request:
    item = Input(InputKind.TEXT, payload)
    return Request(Key("minilm", "0123456789abcdef", digest(item)), item, lane)


def with_header(record: wire.Record, name: str, value: bytes) -> wire.Record:
    kept = [(known, old) for known, old in record.headers if known != name]
    return dataclasses.replace(record, headers=[*kept, (name, value)])


def test_the_layout_is_the_documented_one() -> None:
    record = wire.encode(request(), TOPIC, NOW, None)
    name = str(request().key)
    assert (record.topic, record.key, record.value) == (TOPIC, name.encode(), b"a text")
    assert dict(record.headers) == {
        "embark-schema": b"1",
        "kind": b"text",
        "lane": b"bulk",
        "attempt": b"1",
        "queued_ms": b"1700000000123",
    }


@given(st.binary(), st.sampled_from(Lane), st.sampled_from(InputKind), st.integers(0, 2**45))
def test_what_is_encoded_is_decoded(payload: bytes, lane: Lane, kind: InputKind, now: int) -> None:
    item = Input(kind, payload)
    sent = Request(Key("m", "0" * 16, digest(item)), item, lane)
    message = wire.decode(wire.encode(sent, TOPIC, now, None))
    assert message.request(payload) == sent
    assert (message.attempt, message.queued_ms, message.due_ms) == (1, now, 0)


def test_a_claimed_input_is_not_in_the_record() -> None:
    claim = wire.Claim(b"\x01" * 16, 6)
    record = wire.encode(request(), TOPIC, NOW, claim)
    assert record.value == b""
    message = wire.decode(record)
    assert (message.payload, message.claim) == (None, claim)
    assert message.request(b"a text") == request()


def test_an_input_that_is_not_the_keys_is_refused() -> None:
    message = wire.decode(wire.encode(request(), TOPIC, NOW, None))
    with pytest.raises(PermanentFailure) as refused:
        message.request(b"another text")
    assert refused.value.code == "unreadable"


def test_unknown_headers_travel_through_retry_death_and_revival() -> None:
    first = with_header(wire.encode(request(), TOPIC, NOW, None), "x-trace", b"\xff")
    retried = wire.retried(first, "embark.bulk.retry.short", 2, NOW + 500)
    assert wire.decode(retried).attempt == 2
    assert wire.due_at(retried) == (NOW + 500) / 1000
    marks = {"reason": "r", "detail": "d", "died_ms": NOW}
    dead = wire.buried(retried, "embark.dead", "t/0/1", marks)
    assert dead.key == (first.key or b"") + b"#t/0/1"
    assert wire.original_key(dead) == first.key
    assert {"reason", "detail", "due_ms", "x-trace"} <= dict(dead.headers).keys()
    again = wire.revived(dead, TOPIC, NOW + 1000)
    assert dict(again.headers) == dict(first.headers) | {"queued_ms": str(NOW + 1000).encode()}
    assert wire.decode(again).request(b"a text") == request()


def test_a_later_schema_is_not_understood_and_says_what_to_do() -> None:
    later = with_header(wire.encode(request(), TOPIC, NOW, None), "embark-schema", b"2")
    with pytest.raises(PermanentFailure, match="upgrade consumers") as refused:
        wire.decode(later)
    assert refused.value.code == "unsupported_schema"


@pytest.mark.parametrize("size", [b"999999999999999", b"1000000001", b"-1", b"", b"9" * 400])
def test_a_claim_of_more_than_any_input_is_unreadable(size: bytes) -> None:
    claimed = wire.encode(request(), TOPIC, NOW, wire.Claim(b"\x01" * 16, 6))
    with pytest.raises(PermanentFailure) as refused:
        wire.decode(with_header(claimed, "size", size))
    assert refused.value.code == "unreadable"
    assert wire.input_size(with_header(claimed, "size", size)) == 0


def test_a_number_that_is_none_reads_as_zero() -> None:
    record = wire.encode(request(), TOPIC, NOW, None)
    assert record.number("queued_ms") == NOW
    for value in (b"9" * 400, b"-1", b"x", b"", b"\xff"):
        assert with_header(record, "queued_ms", value).number("queued_ms") == 0
    assert record.number("due_ms") == 0


@given(
    st.none() | st.binary(max_size=60),
    st.none() | st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["embark-schema", "kind", "lane", "attempt", "queued_ms", "due_ms", "claim", "size"]
            ),
            st.sampled_from([b"1", b"text", b"bulk", b"-5", b"", b"\xff\xfe", b"9" * 30]),
        ),
        max_size=10,
    ),
)
def test_garbage_is_unreadable_and_nothing_else(
    key: bytes | None, value: bytes | None, headers: wire.Headers
) -> None:
    record = wire.Record(TOPIC, key, value, headers)
    assert wire.due_at(record) >= 0
    with pytest.raises(PermanentFailure) as refused:
        wire.decode(record)
    assert refused.value.code in ("unreadable", "unsupported_schema")
