"""Inputs too large for a queue's record: kept in the archive's cluster, claimed by their id.

Source: "Claim Check" in G. Hohpe, B. Woolf, "Enterprise Integration Patterns", 2003. A claim ends
when its request does; one that is forgotten ends by itself, with the time the queue keeps requests.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from embark.store.cassandra.session import DELETE_CLAIM, INSERT_CLAIM, SELECT_CLAIM, Connection

ID_BYTES: Final = 16
PART_BYTES = 256 * 1024
_PARTS_AT_ONCE = 8


class Claims:
    """Large inputs of one cluster. Safe for many threads.

    Args:
        connection: not closed with it.
        lasts_s: after how many seconds a claim ends by itself.
    """

    def __init__(self, connection: Connection, lasts_s: float) -> None:
        self._connection = connection
        self._lasts_s: Final = int(lasts_s)

    def put(self, data: bytes, claim: bytes | None = None, lasts_s: int | None = None) -> bytes:
        """Keep `data` and return its claim, 16 bytes; durable when this returns.

        Args:
            data: what to keep.
            claim: the claim it shall have; a new one if None.
            lasts_s: after how many seconds it ends by itself, 0 for never; as for all, if None.

        Raises:
            ArchiveUnavailable: it cannot be kept now.
        """
        claim = claim or os.urandom(ID_BYTES)
        lasts_s = self._lasts_s if lasts_s is None else lasts_s
        rows = [
            (claim, part, data[start : start + PART_BYTES], lasts_s)
            for part, start in enumerate(range(0, len(data), PART_BYTES))
        ]
        self._run(INSERT_CLAIM, rows)
        return claim

    def get(self, claim: bytes, size: int) -> bytes | None:
        """Return the `size` bytes that `claim` stands for, None if they are no longer kept.

        Raises:
            ArchiveUnavailable: it cannot be read now.
        """
        parts: dict[int, bytes] = {}
        for rows in self._run(SELECT_CLAIM, [(claim, [part]) for part in _parts(size)]):
            parts.update(rows)
        data = b"".join(parts.get(part, b"") for part in _parts(size))
        return data if len(data) == size else None

    def delete(self, claims: Iterable[tuple[bytes, int]]) -> None:
        """End claims, each with its size.

        Raises:
            ArchiveUnavailable: not all could be ended; they end by themselves in time.
        """
        self._run(DELETE_CLAIM, [(claim, list(_parts(size))) for claim, size in claims])

    def _run(
        self, text: str, rows: Sequence[tuple[object, ...]]
    ) -> list[Iterable[tuple[int, bytes]]]:
        return self._connection.run_many(
            text, rows, at_once=_PARTS_AT_ONCE, trouble="a large input: Cassandra failed"
        )


def _parts(size: int) -> range:
    return range(-(-size // PART_BYTES))
