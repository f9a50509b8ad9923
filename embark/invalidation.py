"""Invalidation: forget vectors that are wrong, and have them computed again.

For an image that has changed behind its URL, or vectors that should never have been written. Until
the new vector is there, lookups answer as for any miss. Gateways drop what they hold in memory a
moment later: `embark.forgotten`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from embark.archive import Archive
from embark.backends import Backends
from embark.forgotten import note_forgotten
from embark.inputs import Input
from embark.keys import DIGEST_BYTES, Key
from embark.models import Catalogue, Model
from embark.queue.base import Lane, Request
from embark.sources import Sources
from embark.store.base import MISSING

_TIMEOUT_SECONDS = 10.0
_CHUNK = 500
# The second finds what lookups had computed during the first, maybe of records that still stood.
_SCANS = 2


class Invalidation:
    """Invalidates inputs in an archive. Safe for many threads.

    Args:
        backends: archive, ledger and queue; not closed with it.
    """

    def __init__(self, backends: Backends) -> None:
        self._archive: Final = Archive(backends.store)
        self._sources: Final = Sources(backends.ledger)
        self._ledger: Final = backends.ledger
        self._queue: Final = backends.queue

    def inputs(
        self, catalogue: Catalogue, name: str, contents: Mapping[bytes, Input | None]
    ) -> set[bytes]:
        """Forget the records of inputs in every served generation of a model, and queue them anew.

        Args:
            catalogue: the models.
            name: public model name.
            contents: the inputs by digest; None where only the digest is known.

        Returns:
            The digests that are queued; of the others nobody knows the content, so that the next
            lookup that brings it is a miss.

        Raises:
            ArchiveUnavailable: not all records could be forgotten.
            QueueUnavailable: the inputs could not be queued; the next lookup asks for them.
        """
        items = self._with_contents(name, contents)
        for model in catalogue.generations(name):
            held = self._held(model, list(contents))
            self._forget(model, list(contents))
            wanted = (
                items if model.generation == catalogue[name].generation else items.keys() & held
            )
            self._queue.put(
                [
                    Request(Key(name, model.generation, digest), items[digest], Lane.INTERACTIVE)
                    for digest in wanted
                ]
            )
        return set(items)

    def generation(
        self, model: Model, report: Callable[[int, int], None] = lambda forgotten, queued: None
    ) -> tuple[int, int]:
        """Forget every record of a generation, then queue the inputs that are known, as bulk work.

        Queued last: the vector of an image by URL is taken from the record of the image's bytes, so
        nothing is to be computed while such a record stands. Holds 16 bytes for each record.

        Args:
            model: the generation.
            report: told after each page how many are forgotten and queued so far.

        Raises:
            ArchiveUnavailable, QueueUnavailable: it ended half-way; run it again. What is forgotten
                and not queued is asked for by the next lookup, or by a filling.
        """
        forgotten = bytearray()
        for _ in range(_SCANS):
            for page in self._archive.store.digests(model.name, model.generation):
                self._forget(model, page)
                forgotten += b"".join(page)
                report(len(forgotten) // DIGEST_BYTES, 0)
        count, queued = len(forgotten) // DIGEST_BYTES, 0
        for digests in _chunks(forgotten):
            items = self._with_contents(model.name, dict.fromkeys(digests))
            self._queue.put(
                [
                    Request(Key(model.name, model.generation, digest), item, Lane.BULK)
                    for digest, item in items.items()
                ]
            )
            queued += len(items)
            report(count, queued)
        return count, queued

    def _forget(self, model: Model, digests: Sequence[bytes]) -> None:
        # Noted first: should this end here, gateways read again what is still right to be read.
        note_forgotten(self._ledger, model.name, model.generation, digests)
        self._archive.store.delete_many(model.name, model.generation, digests)

    def _with_contents(
        self, name: str, contents: Mapping[bytes, Input | None]
    ) -> dict[bytes, Input]:
        """Return the inputs whose content is given, or remembered."""
        found = {digest: item for digest, item in contents.items() if item is not None}
        unknown = [digest for digest in contents if digest not in found]
        for digest, source in zip(unknown, self._sources.get_many(name, unknown), strict=True):
            if source is not None and source.item is not None:
                found[digest] = source.item
        return found

    def _held(self, model: Model, digests: Sequence[bytes]) -> set[bytes]:
        answers = self._archive.get_many(model, digests, _TIMEOUT_SECONDS)
        return {
            digest for digest, answer in zip(digests, answers, strict=True) if answer is not MISSING
        }


def _chunks(packed: bytearray) -> Iterator[list[bytes]]:
    """Yield the digests that are packed one after the other, some hundred at a time."""
    for start in range(0, len(packed), _CHUNK * DIGEST_BYTES):
        chunk = bytes(packed[start : start + _CHUNK * DIGEST_BYTES])
        yield [chunk[at : at + DIGEST_BYTES] for at in range(0, len(chunk), DIGEST_BYTES)]
