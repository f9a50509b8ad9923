"""What is on the wire: a request as the key, value and headers of a Kafka record.

    key      printed embedding key, `model:generation:digest`
    value    the input: UTF-8 text, the image's bytes, or the URL; empty when it is claimed
    headers  all UTF-8 text
      embark-schema  version of this layout, 1
      kind           text, image, image_url
      lane           interactive, bulk
      attempt        1 the first time
      queued_ms      when it was queued, milliseconds since 1970
      due_ms         retries: not before this time
      traceparent    the trace that the request is part of, W3C; absent if it is not followed
      claim, size    a claimed input: hexadecimal id in the archive's cluster, and its bytes
      reason, detail, died_ms, origin
                     dead letters: code, message, time, and topic/partition/offset it came from

Headers that are not known are kept when a record moves on, and otherwise ignored. A record of a
later version is not understood and must not be dropped: it becomes a dead letter as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embark.errors import BadRequest, PermanentFailure
from embark.inputs import Input, InputKind
from embark.keys import Key, digest, parse_key
from embark.queue.base import Lane, Request

SCHEMA_VERSION = 1
MAX_CLAIM_BYTES = 10**9
"""No input is larger; a record that claims more would cost its consumer memory."""

_DIGITS = 15
_ORIGIN_MARK = b"#"
_OF_DEATH = ("reason", "detail", "died_ms", "origin")

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record, as it is read or to be written.

    Attributes:
        topic: where it is or goes.
        key: its key.
        value: its value; None is a tombstone.
        headers: in order; names may repeat, the last one counts.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """Return a header's text, None if it is absent."""
        for known, value in reversed(self.headers):
            if known == name:
                return (value or b"").decode("utf-8", "replace")
        return None

    def number(self, name: str) -> int:
        """Return a header's number, 0 if it is absent or none: a stranger may have written it."""
        text = self.header(name) or ""
        return int(text) if text.isdecimal() and len(text) <= _DIGITS else 0


@dataclass(frozen=True, slots=True)
class Claim:
    """Where a large input is kept: id and length in bytes."""

    name: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Message:
    """A record understood.

    Attributes:
        key: embedding key.
        kind: how the input is to be read.
        lane: who waits.
        attempt: from 1.
        queued_ms, due_ms: milliseconds since 1970; due at once if 0.
        payload: the input; None if it is claimed.
        claim: where the input is, if not in the record.
        trace: what asked, see `Request.trace`.
    """

    key: Key
    kind: InputKind
    lane: Lane
    attempt: int
    queued_ms: int
    due_ms: int
    payload: bytes | None
    claim: Claim | None
    trace: str

    def request(self, payload: bytes) -> Request:
        """Return the request, given its input.

        Raises:
            PermanentFailure: `unreadable`, the input is not the one that the key names.
        """
        item = Input(self.kind, payload)
        if digest(item) != self.key.digest:
            raise PermanentFailure("the input is not the one its key names", code="unreadable")
        return Request(self.key, item, self.lane, self.trace)


def encode(request: Request, topic: str, now_ms: int, claim: Claim | None) -> Record:
    """Return the record of a request that is queued for the first time."""
    fields: dict[str, object] = {
        "embark-schema": SCHEMA_VERSION,
        "kind": request.item.kind.value,
        "lane": request.lane.value,
        "attempt": 1,
        "queued_ms": now_ms,
    }
    if request.trace:
        fields["traceparent"] = request.trace
    if claim is not None:
        fields |= {"claim": claim.name.hex(), "size": claim.size}
    value = b"" if claim is not None else request.item.payload
    return Record(topic, str(request.key).encode(), value, _with([], fields))


def decode(record: Record) -> Message:
    """Understand a record.

    Raises:
        PermanentFailure: `unsupported_schema`, of a later version; `unreadable`, anything else.
    """
    try:
        version = int(record.header("embark-schema") or "")
    except ValueError:
        raise PermanentFailure(
            "the record has no embark-schema header", code="unreadable"
        ) from None
    if version > SCHEMA_VERSION:
        raise PermanentFailure(
            f"the record has schema {version}; this consumer reads up to {SCHEMA_VERSION}:"
            " upgrade consumers, then replay it",
            code="unsupported_schema",
        )
    try:
        return _decode(record)
    except (ValueError, BadRequest) as error:
        raise PermanentFailure(f"the record is damaged: {error}", code="unreadable") from None


def due_at(record: Record) -> float:
    """Return when a record is due, seconds since 1970; 0, at once, if it does not say."""
    return record.number("due_ms") / 1000


def input_size(record: Record) -> int:
    """Return the bytes of a record's input, in it or claimed, as far as it says so."""
    claimed = record.number("size")
    return max(len(record.value or b""), claimed if claimed <= MAX_CLAIM_BYTES else 0)


def retried(record: Record, topic: str, attempt: int, due_ms: int) -> Record:
    """Return the record that tries again later; its other headers travel on."""
    headers = _with(record.headers, {"attempt": attempt, "due_ms": due_ms})
    return Record(topic, record.key, record.value, headers)


def buried(record: Record, topic: str, origin: str, marks: Mapping[str, object]) -> Record:
    """Return the dead letter of a record; all its headers stay.

    Its key is the record's and where that was, so that a letter which is removed takes no other
    with it: what is replayed may die again before its old letter is gone.
    """
    name = (record.key or b"") + _ORIGIN_MARK + origin.encode()
    headers = _with(record.headers, {**marks, "origin": origin})
    return Record(topic, name, record.value or b"", headers)


def original_key(letter: Record) -> bytes:
    """Return the key of the record that a dead letter was."""
    return (letter.key or b"").rpartition(_ORIGIN_MARK)[0]


def revived(letter: Record, topic: str, now_ms: int) -> Record:
    """Return the record that a dead letter was, to be tried as if for the first time."""
    kept = [(name, value) for name, value in letter.headers if name not in (*_OF_DEATH, "due_ms")]
    key = original_key(letter) or None
    return Record(topic, key, letter.value, _with(kept, {"attempt": 1, "queued_ms": now_ms}))


def _decode(record: Record) -> Message:
    key = parse_key((record.key or b"").decode("ascii"))
    kind = InputKind(record.header("kind"))
    lane = Lane(record.header("lane"))
    claim = None
    name = record.header("claim")
    if name is not None:
        claim = Claim(bytes.fromhex(name), _number(record, "size"))
        if claim.size > MAX_CLAIM_BYTES:
            raise ValueError(f"header size is over {MAX_CLAIM_BYTES}")
    return Message(
        key=key,
        kind=kind,
        lane=lane,
        attempt=max(1, _number(record, "attempt", 1)),
        queued_ms=_number(record, "queued_ms"),
        due_ms=_number(record, "due_ms", 0),
        payload=None if claim is not None else record.value or b"",
        claim=claim,
        trace=record.header("traceparent") or "",
    )


def _number(record: Record, name: str, default: int | None = None) -> int:
    text = record.header(name)
    if text is None and default is not None:
        return default
    value = int(text or "")
    if not 0 <= value < 2**53:
        raise ValueError(f"header {name} is out of range")
    return value


def _with(headers: Sequence[tuple[str, bytes]], fields: Mapping[str, object]) -> Headers:
    kept = [(name, value) for name, value in headers if name not in fields]
    return kept + [(name, str(value).encode()) for name, value in fields.items()]
