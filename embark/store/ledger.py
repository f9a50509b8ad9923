"""What a ledger promises: small records beside the vectors, that say what is known of them.

Where inputs came from (`embark.sources`), how often they were asked (`embark.usage`), which
generation is live (`embark.generations`), and what was invalidated (`embark.forgotten`). Not for
vectors: those are a store's. It is not read on the way of a lookup.
`tests/contract/test_ledger.py` holds every implementation to it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

ID_BYTES: Final = 16


class Kind(str, enum.Enum):
    """What a record of the ledger is."""

    SOURCE = "source"
    USAGE = "usage"
    STATE = "state"
    FORGOTTEN = "forgotten"


class Ledger(Protocol):
    """Records by (model, kind, id), an id of 16 bytes. Safe for many threads; opened after fork.

    A record once acknowledged is seen by every later read of any process. Values may be as large
    as an input may.
    """

    def put(
        self, model: str, kind: Kind, values: Mapping[bytes, bytes], ttl_s: int | None = None
    ) -> None:
        """Write values by id; durable when this returns. Idempotent.

        Args:
            model: public model name.
            kind: what the values are.
            values: by id; they replace what is there.
            ttl_s: after how many seconds they are forgotten; None for never.

        Raises:
            ArchiveUnavailable: not all could be written; some may be.
        """
        ...

    def get(self, model: str, kind: Kind, ids: Sequence[bytes]) -> list[bytes | None]:
        """Return, in the order asked, each id's value, None where there is none.

        Raises:
            ArchiveUnavailable: not all could be read.
        """
        ...

    def ids_ending(self, model: str, kind: Kind, ending: bytes) -> list[bytes]:
        """Return the ids whose last two bytes are `ending`; cheap enough for once a second.

        Raises:
            ArchiveUnavailable: they could not be read.
        """
        ...

    def delete(self, model: str, kind: Kind, ids: Sequence[bytes]) -> None:
        """Forget values; durable when this returns. Idempotent.

        Raises:
            ArchiveUnavailable: not all could be forgotten; some may be.
        """
        ...

    def ids(self, model: str, kind: Kind) -> Iterator[list[bytes]]:
        """Yield the ids of all values, in pages and in no order.

        Raises:
            ArchiveUnavailable: the next page could not be read.
        """
        ...
