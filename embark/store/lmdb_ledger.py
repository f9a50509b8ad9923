"""The embedded ledger, in the file of the embedded store.

LMDB knows no expiry: a value carries its own, and every write looks at a few further records and
drops those that have expired, so that all are looked at in turn.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from embark.store.ledger import Kind
from embark.store.lmdb import LmdbStore, keys_from

_EXPIRES = struct.Struct("<d")
_NEVER = float("inf")
_GONE = _EXPIRES.pack(0)
_LOOKED_AT = 64


class LmdbLedger:
    """A ledger in the store's file.

    Args:
        store: whose file; not closed with the ledger.
        clock: seconds since 1970.
    """

    def __init__(self, store: LmdbStore, clock: Callable[[], float] = time.time) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._looked_up_to = b""

    def put(
        self, model: str, kind: Kind, values: Mapping[bytes, bytes], ttl_s: int | None = None
    ) -> None:
        """See `Ledger.put`."""
        prefix, now = _prefix(model, kind), self._clock()
        head = _EXPIRES.pack(_NEVER if ttl_s is None else now + ttl_s)
        with self._store.transaction(write=True, in_ledger=True) as txn:
            for name, value in values.items():
                txn.put(prefix + name, head + value)
            looked_at = keys_from(txn.cursor(), b"", self._looked_up_to or b"\0", _LOOKED_AT)
            for key in looked_at:
                if _expired(_value(txn, key), now):
                    txn.delete(key)
            self._looked_up_to = looked_at[-1] + b"\0" if len(looked_at) == _LOOKED_AT else b""

    def get(self, model: str, kind: Kind, ids: Sequence[bytes]) -> list[bytes | None]:
        """See `Ledger.get`."""
        prefix, now = _prefix(model, kind), self._clock()
        with self._store.transaction(in_ledger=True) as txn:
            found = [_value(txn, prefix + name) for name in ids]
        return [None if _expired(value, now) else value[_EXPIRES.size :] for value in found]

    def delete(self, model: str, kind: Kind, ids: Sequence[bytes]) -> None:
        """See `Ledger.delete`."""
        prefix = _prefix(model, kind)
        with self._store.transaction(write=True, in_ledger=True) as txn:
            for name in ids:
                txn.delete(prefix + name)

    def ids(self, model: str, kind: Kind) -> Iterator[list[bytes]]:
        """See `Ledger.ids`."""
        prefix, now = _prefix(model, kind), self._clock()
        after = prefix
        while True:
            with self._store.transaction(in_ledger=True) as txn:
                page = keys_from(txn.cursor(), prefix, after)
                alive = [key for key in page if not _expired(_value(txn, key), now)]
            if not page:
                return
            yield [key[len(prefix) :] for key in alive]
            after = page[-1] + b"\0"

    def ids_ending(self, model: str, kind: Kind, ending: bytes) -> list[bytes]:
        """See `Ledger.ids_ending`."""
        return [name for page in self.ids(model, kind) for name in page if name.endswith(ending)]


def _prefix(model: str, kind: Kind) -> bytes:
    return f"{model}:{kind.value}:".encode()


def _value(txn: Any, key: bytes) -> bytes:
    """Return a value with its expiry; one that is not there has expired."""
    value: bytes = txn.get(key, _GONE)
    return value


def _expired(value: bytes, now: float) -> bool:
    expires: float
    (expires,) = _EXPIRES.unpack_from(value)
    return expires <= now
