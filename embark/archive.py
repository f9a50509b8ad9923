"""The archive as gateway and consumers see it: records by key, checked and decoded.

Joins a store (bytes) with the codec (meaning). A corrupt record is counted and reported as
missing, so that it is asked for again and overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from embark.codec import Failure, Record, decode
from embark.errors import CorruptRecord
from embark.keys import Key
from embark.log import logger
from embark.metrics import CORRUPT_RECORDS
from embark.models import Model
from embark.store.base import LATE, MISSING, Absent, Store

Answer = Record | Absent

_log = logger(__name__)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Archive:
    """Checked access to a store.

    Args:
        store: where records are.
        clock_ms: milliseconds since 1970; decides when failures expire.
    """

    def __init__(self, store: Store, clock_ms: Callable[[], int] = now_ms) -> None:
        self.store: Final = store
        self._clock_ms = clock_ms

    def get_many(self, model: Model, digests: Sequence[bytes], timeout_s: float) -> list[Answer]:
        """Return, in the order asked, each digest's record, `MISSING` or `LATE`.

        Corrupt records and expired failures are `MISSING`.

        Raises:
            ArchiveUnavailable: nothing could be read.
        """
        found = self.store.get_many(model.name, model.generation, digests, timeout_s)
        now = self._clock_ms()
        return [
            record if isinstance(record, Absent) else self._decode(model, digest, record, now)
            for digest, record in zip(digests, found, strict=True)
        ]

    def put_many(self, model: Model, records: Mapping[bytes, bytes]) -> None:
        """Write encoded records by digest; durable when this returns.

        Raises:
            ArchiveUnavailable: not all could be written.
        """
        self.store.put_many(model.name, model.generation, records)

    def _decode(self, model: Model, digest: bytes, record: bytes, now: int) -> Answer:
        key = Key(model.name, model.generation, digest)
        try:
            decoded = decode(key, record, model.facts.dimension)
        except CorruptRecord as error:
            CORRUPT_RECORDS.labels(model=model.name).inc()
            _log.error("corrupt_record", key=str(key), reason=error.message)
            return MISSING
        if isinstance(decoded, Failure) and decoded.expires_ms <= now:
            return MISSING
        return decoded


__all__ = ["LATE", "MISSING", "Answer", "Archive", "now_ms"]
