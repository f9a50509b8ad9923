"""Reading many records out of an archive, checked, in pages. Not for lookups: see `embark.archive`.

The digests of a whole generation are listed first and sorted, 16 bytes each, so that vectors can be
written in their order as they are read: ten million take 160 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from embark.codec import Embedding, Failure, Record, decode
from embark.dataset import digests as digesting
from embark.dataset.digests import Counts, Digests
from embark.errors import ArchiveUnavailable, CorruptRecord
from embark.keys import DIGEST_BYTES, Key
from embark.models import Model
from embark.store.base import LATE, Found, Store

PAGE = 1000
_TIMEOUT_SECONDS = 30.0

Report = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@dataclass(frozen=True)
class Page:
    """Vectors of some digests.

    Attributes:
        digests: what was asked for, shape (n, 16).
        vectors: shape (n, dimension), of the stored type; zeros where there is none.
        written_ms: int64, shape (n,); milliseconds since 1970, 0 where there is none.
        found: which rows are vectors; shape (n,).
    """

    digests: Digests
    vectors: npt.NDArray[np.floating[Any]]
    written_ms: npt.NDArray[np.int64]
    found: npt.NDArray[np.bool_]


class RecordReader:
    """Reads records of one generation, and counts those that are not vectors.

    Attributes:
        model: the generation.
        missing: digests without a record.
        failed: records of failures.
        corrupt: records that fail their checks.
    """

    def __init__(self, store: Store, model: Model) -> None:
        self.model: Final = model
        self.missing = self.failed = self.corrupt = 0
        self._store: Final = store

    def all_digests(self, report: Report) -> Digests:
        """Return the digests of every record, sorted.

        Raises:
            ArchiveUnavailable: a page could not be read.
        """
        found = bytearray()
        for page in self._store.digests(self.model.name, self.model.generation):
            found += b"".join(page)
            report(0, len(found) // DIGEST_BYTES)
        digests = np.frombuffer(found, np.uint8).reshape(-1, DIGEST_BYTES)
        digesting.sort(digests)
        return digests

    def pages(
        self, digests: Digests, report: Report, times: Counts | None = None
    ) -> Iterator[Page]:
        """Yield what the archive holds of digests, in their order.

        Args:
            digests: what is wanted.
            report: told how many were read, of how many.
            times: how often each counts; None for once.

        Raises:
            ArchiveUnavailable: a page could not be read.
        """
        for start in range(0, len(digests), PAGE):
            end = min(start + PAGE, len(digests))
            weights = [1] * (end - start) if times is None else times[start:end].tolist()
            yield self._page(digests[start:end], weights)
            report(end, len(digests))

    def _page(self, digests: Digests, times: list[int]) -> Page:
        facts, wanted = self.model.facts, digesting.as_bytes(digests)
        records = self._store.get_many(facts.name, facts.generation, wanted, _TIMEOUT_SECONDS)
        if LATE in records:
            raise ArchiveUnavailable(
                f"the archive did not give {len(wanted)} records in {_TIMEOUT_SECONDS:.0f} s; try"
                " again when it is less busy"
            )
        page = Page(
            digests,
            np.zeros((len(wanted), facts.dimension), facts.dtype),
            np.zeros(len(wanted), np.int64),
            np.zeros(len(wanted), np.bool_),
        )
        for row, (digest, record) in enumerate(zip(wanted, records, strict=True)):
            decoded = self._decode(digest, record, times[row])
            if isinstance(decoded, Embedding):
                page.vectors[row] = decoded.vector
                page.written_ms[row] = decoded.written_ms
                page.found[row] = True
        return page

    def _decode(self, digest: bytes, record: Found, times: int) -> Record | None:
        if not isinstance(record, bytes):
            self.missing += times
            return None
        key = Key(self.model.name, self.model.generation, digest)
        try:
            decoded = decode(key, record, self.model.facts.dimension)
        except CorruptRecord:
            self.corrupt += times
            return None
        if isinstance(decoded, Failure):
            self.failed += times
        return decoded
