"""What a store promises. `tests/contract/test_store.py` holds every implementation to it."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from embark.errors import ArchiveUnavailable


class Absent(enum.Enum):
    """Why a record is not in an answer: a value, since a miss is not an error."""

    MISSING = "missing"
    LATE = "late"


MISSING: Final = Absent.MISSING
"""The store holds no record under this key."""

LATE: Final = Absent.LATE
"""The store did not answer for this key before the deadline; it may hold a record."""

Found = bytes | Absent


class Store(Protocol):
    """Records by (model, generation, digest). Safe for many threads; opened after fork.

    A record once acknowledged survives the death of any process. Records are written whole or
    not at all; a later write to the same key replaces the earlier one.
    """

    def get_many(
        self, model: str, generation: str, digests: Sequence[bytes], timeout_s: float
    ) -> list[Found]:
        """Return, in the order asked, each digest's record, or why there is none.

        Raises:
            ArchiveUnavailable: nothing could be read.
        """
        ...

    def put_many(self, model: str, generation: str, records: Mapping[bytes, bytes]) -> None:
        """Write records by digest; durable when this returns. Idempotent.

        Raises:
            ArchiveUnavailable: not all could be written; some may be.
        """
        ...

    def delete_many(self, model: str, generation: str, digests: Sequence[bytes]) -> None:
        """Forget records; durable when this returns. Idempotent.

        Raises:
            ArchiveUnavailable: not all could be forgotten; some may be.
        """
        ...

    def digests(self, model: str, generation: str) -> Iterator[list[bytes]]:
        """Yield the digests of every record, in pages and in no order; it may take hours.

        A record that is there all the while comes exactly once; one that is written or forgotten
        meanwhile may come or not.

        Raises:
            ArchiveUnavailable: the next page could not be read.
        """
        ...

    def check(self) -> None:
        """Return if the store can be read.

        Raises:
            ArchiveUnavailable: it cannot; the message says why.
        """
        ...

    def close(self) -> None:
        """Release everything; idempotent. The store cannot be used afterwards."""
        ...


def scan(
    store: Store, model: str, generation: str, timeout_s: float
) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield every record of a generation with its digest, in pages and in no order.

    Raises:
        ArchiveUnavailable: a page could not be read within `timeout_s`.
    """
    for page in store.digests(model, generation):
        found = store.get_many(model, generation, page, timeout_s)
        if LATE in found:
            raise ArchiveUnavailable(f"a page of {len(page)} records did not come in {timeout_s} s")
        yield [
            (digest, record)
            for digest, record in zip(page, found, strict=True)
            if isinstance(record, bytes)
        ]
