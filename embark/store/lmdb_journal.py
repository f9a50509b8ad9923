"""The journal of the embedded store: which records changed, in order, kept beside them.

An entry is written in the transaction of the change, so that none is lost and writers of several
processes need no lock but LMDB's own. The index of nearest neighbours is kept up to date by it
(`embark.neighbours.embedded`). Not for what changed to what: whoever reads an entry reads the
record.

    h <space>            epoch, number of the next entry, whether the journal tells all
    e <space> <number>   digests of 16 bytes each, one after another

A space is the prefix of a generation's records. Functions work inside a transaction of the caller.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

JOURNAL = b"journal"
"""Name of the database that holds it."""

_HEAD = struct.Struct(">8sQ?")
_NUMBER = struct.Struct(">Q")
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Head:
    """What a generation's journal is.

    Attributes:
        epoch: 8 random bytes, drawn when the journal was begun.
        end: number of the next entry.
        whole: whether there were no records when it was begun, so that it tells all.
    """

    epoch: bytes
    end: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """Entries of a journal.

    Attributes:
        digests: what changed, in order; may repeat.
        upto: number of the first entry that is not among them.
    """

    digests: list[bytes]
    upto: int


def head(txn: Any, db: Any, space: bytes) -> Head | None:
    """Return what a generation's journal is, None if there is none."""
    value: bytes | None = txn.get(b"h" + space, db=db)
    return None if value is None else Head(*_HEAD.unpack(value))


def begin(txn: Any, db: Any, space: bytes) -> Head:
    """Begin a journal, unless there is one; `txn` is on the records by default."""
    found = head(txn, db, space)
    if found is None:
        cursor = txn.cursor()
        there = cursor.set_range(space) and cursor.key().startswith(space)
        found = Head(os.urandom(8), 0, not there)
        _save(txn, db, space, found)
    return found


def append(txn: Any, db: Any, space: bytes, digests: Iterable[bytes]) -> None:
    """Write that records are about to change; call it before they do."""
    now, value = begin(txn, db, space), b"".join(digests)
    if not value:
        return
    txn.put(b"e" + space + _NUMBER.pack(now.end), value, db=db)
    _save(txn, db, space, Head(now.epoch, now.end + 1, now.whole))


def changes(txn: Any, db: Any, space: bytes, after: int, most: int) -> Changes | None:
    """Return the entries from number `after` on, up to `most` digests or a little more.

    None if some of them are no longer there.
    """
    digests: list[bytes] = []
    upto = after
    for number, value in _entries(txn, db, space, after):
        if number != upto:
            return None
        digests += [value[at : at + _DIGEST_BYTES] for at in range(0, len(value), _DIGEST_BYTES)]
        upto += 1
        if len(digests) >= most:
            return Changes(digests, upto)
    found = head(txn, db, space)
    return Changes(digests, upto) if found is not None and found.end == upto else None


def trim(txn: Any, db: Any, space: bytes, before: int, most: int) -> int:
    """Forget up to `most` entries with numbers below `before`; returns how many."""
    gone: list[int] = []
    for number, _ in _entries(txn, db, space, 0):
        if number >= before or len(gone) == most:
            break
        gone.append(number)
    for number in gone:
        txn.delete(b"e" + space + _NUMBER.pack(number), db=db)
    return len(gone)


def end(txn: Any, db: Any, space: bytes) -> None:
    """Have no journal from now on: changes that follow are not in it."""
    if txn.delete(b"h" + space, db=db):
        for number, _ in list(_entries(txn, db, space, 0)):
            txn.delete(b"e" + space + _NUMBER.pack(number), db=db)


def spaces(txn: Any, db: Any) -> list[bytes]:
    """Return the spaces that have a journal."""
    cursor = txn.cursor(db=db)
    found: list[bytes] = []
    if cursor.set_range(b"h"):
        for key in cursor.iternext(keys=True, values=False):
            if not key.startswith(b"h"):
                break
            found.append(key[1:])
    return found


def _entries(txn: Any, db: Any, space: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    prefix = b"e" + space
    cursor = txn.cursor(db=db)
    if cursor.set_range(prefix + _NUMBER.pack(first)):
        for key, value in cursor:
            if not key.startswith(prefix):
                return
            yield _NUMBER.unpack_from(key, len(prefix))[0], value


def _save(txn: Any, db: Any, space: bytes, now: Head) -> None:
    txn.put(b"h" + space, _HEAD.pack(now.epoch, now.end, now.whole), db=db)
