"""The log of invalidations: what every gateway must drop from its memory.

An invalidation is noted before the records go, and stays noted for an hour; gateways look every
`retina.follow_seconds`. One that could not look for so long drops everything. Notes of one hour are
listed together, and apart from other hours', so that Cassandra reads no more than two hours'
tombstones. Not for the archive's own records: `embark.invalidation`.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from embark.keys import DIGEST_BYTES
from embark.store.ledger import ID_BYTES, Kind, Ledger

KEPT_SECONDS: Final = 3600

_ENDING_BYTES = 2
_ENDINGS = 2**16
_GENERATION_BYTES = 8
_NOTED_MS = struct.Struct("<Q")
_MOST_IN_ONE = 4096
_READ_AT_ONCE = 256
_MOST_DIGESTS = 100_000


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One entry of the log.

    Attributes:
        generation: of which generation.
        digests: of which inputs; None for all.
        noted_ms: what was written up to then is wrong, milliseconds since 1970.
    """

    generation: str
    digests: Sequence[bytes] | None
    noted_ms: int


def note_forgotten(
    ledger: Ledger,
    model: str,
    generation: str,
    digests: Collection[bytes],
    clock: Callable[[], float] = time.time,
) -> None:
    """Note that the vectors of some inputs are wrong, as far as they were written by now.

    Raises:
        ArchiveUnavailable: it could not be noted, or not all of it.
    """
    listed, now = list(digests), clock()
    head = _NOTED_MS.pack(int(now * 1000))
    entries = {
        _new_name(generation, now): head + b"".join(listed[start : start + _MOST_IN_ONE])
        for start in range(0, len(listed), _MOST_IN_ONE)
    }
    ledger.put(model, Kind.FORGOTTEN, entries, KEPT_SECONDS)


class ForgottenReader:
    """Reads what is new in the log of one model. Not safe for threads.

    Args:
        ledger: where the log is.
        model: public model name.
        clock: seconds since 1970.
    """

    def __init__(self, ledger: Ledger, model: str, clock: Callable[[], float] = time.time) -> None:
        self._ledger: Final = ledger
        self._model: Final = model
        self._clock: Final = clock
        self._seen: set[bytes] = set()

    def read(self) -> list[Forgotten]:
        """Return what was noted since the last time; the first time, all that is kept.

        Raises:
            ArchiveUnavailable: it could not be read; what is new comes the next time.
        """
        now = self._clock()
        names = {
            name
            for hours_ago in (0, 1)
            for name in self._ledger.ids_ending(
                self._model, Kind.FORGOTTEN, _ending(now - hours_ago * KEPT_SECONDS)
            )
        }
        new = sorted(names - self._seen)
        found: list[Forgotten] = []
        count = 0
        for start in range(0, len(new), _READ_AT_ONCE):
            if count > _MOST_DIGESTS:
                generations = sorted({_generation(name) for name in new[start:]})
                found += [Forgotten(one, None, int(now * 1000)) for one in generations]
                break
            page = new[start : start + _READ_AT_ONCE]
            for name, value in zip(page, self._read(page), strict=True):
                if value is not None:
                    found.append(_forgotten(name, value))
                    count += len(found[-1].digests or ())
        self._seen = names
        return found

    def _read(self, names: Sequence[bytes]) -> list[bytes | None]:
        return self._ledger.get(self._model, Kind.FORGOTTEN, names)


def _new_name(generation: str, now: float) -> bytes:
    chance = os.urandom(ID_BYTES - _GENERATION_BYTES - _ENDING_BYTES)
    return bytes.fromhex(generation) + chance + _ending(now)


def _ending(now: float) -> bytes:
    """Return how names of notes of the same hour end."""
    return (int(now // KEPT_SECONDS) % _ENDINGS).to_bytes(_ENDING_BYTES, "big")


def _generation(name: bytes) -> str:
    return name[:_GENERATION_BYTES].hex()


def _forgotten(name: bytes, value: bytes) -> Forgotten:
    (noted_ms,) = _NOTED_MS.unpack_from(value)
    starts = range(_NOTED_MS.size, len(value), DIGEST_BYTES)
    digests = [value[start : start + DIGEST_BYTES] for start in starts]
    return Forgotten(_generation(name), digests, noted_ms)
