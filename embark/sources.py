"""Sources: where vectors came from, so that another generation can be computed of the same inputs.

What is remembered, and how long, is `archive.sources`. A source whose content is not remembered is
still known by its digest. Not for vectors, and not read by lookups.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from embark.inputs import Input, InputKind
from embark.settings import SourceSettings
from embark.store.ledger import Kind, Ledger

_LAYOUT = 1
_HEAD = struct.Struct("<BBH")
_KINDS = (InputKind.TEXT, InputKind.IMAGE, InputKind.IMAGE_URL)
_FORGOTTEN = 128
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of an image, to ask it later whether the image has changed (RFC 9110).

    Attributes:
        etag: its `ETag`, empty if it had none.
        modified: its `Last-Modified`, empty if it had none.
    """

    etag: str = ""
    modified: str = ""

    def __bool__(self) -> bool:
        return bool(self.etag or self.modified)


NOTHING_SAID: Final = Validators()


@dataclass(frozen=True, slots=True)
class Source:
    """One input that was embedded.

    Attributes:
        kind: how `payload` is to be read.
        payload: as in `Input`; None if its content is not remembered.
        validators: of an image by URL.
    """

    kind: InputKind
    payload: bytes | None
    validators: Validators = NOTHING_SAID

    @property
    def item(self) -> Input | None:
        """The input, None if its content is not remembered."""
        return None if self.payload is None else Input(self.kind, self.payload)


class Sources:
    """The sources of an archive. Safe for many threads.

    Args:
        ledger: where they are kept.
        settings: what is remembered.
    """

    def __init__(self, ledger: Ledger, settings: SourceSettings | None = None) -> None:
        settings = settings or SourceSettings()
        self._ledger: Final = ledger
        self._ttl_s: Final = int(settings.days * _DAY_SECONDS) or None
        self._remembered: Final = {
            InputKind.TEXT: settings.texts,
            InputKind.IMAGE: settings.images,
            InputKind.IMAGE_URL: settings.urls,
        }

    def remember(self, model: str, sources: Mapping[bytes, Source]) -> None:
        """Keep sources by digest; durable when this returns.

        Raises:
            ArchiveUnavailable: not all could be kept.
        """
        values = {
            digest: _encode(source, with_payload=self._remembered[source.kind])
            for digest, source in sources.items()
        }
        self._ledger.put(model, Kind.SOURCE, values, self._ttl_s)

    def get_many(self, model: str, digests: Sequence[bytes]) -> list[Source | None]:
        """Return, in the order asked, each digest's source, None if it is not known.

        Raises:
            ArchiveUnavailable: not all could be read.
        """
        found = self._ledger.get(model, Kind.SOURCE, digests)
        return [None if value is None else _decode(value) for value in found]

    def digests(self, model: str) -> Iterator[list[bytes]]:
        """Yield the digests of all known inputs of a model, in pages and in no order.

        Raises:
            ArchiveUnavailable: the next page could not be read.
        """
        return self._ledger.ids(model, Kind.SOURCE)

    def forget(self, model: str, digests: Sequence[bytes]) -> None:
        """Forget sources.

        Raises:
            ArchiveUnavailable: not all could be forgotten.
        """
        self._ledger.delete(model, Kind.SOURCE, digests)


def _encode(source: Source, *, with_payload: bool) -> bytes:
    validators = source.validators
    named = {"etag": validators.etag, "modified": validators.modified} if validators else {}
    facts = orjson.dumps(named)
    kind = _KINDS.index(source.kind)
    payload = source.payload if with_payload else None
    if payload is None:
        return _HEAD.pack(_LAYOUT, kind | _FORGOTTEN, len(facts)) + facts
    return _HEAD.pack(_LAYOUT, kind, len(facts)) + facts + payload


def _decode(value: bytes) -> Source:
    _, kind, length = _HEAD.unpack_from(value)
    end = _HEAD.size + length
    validators = Validators(**orjson.loads(value[_HEAD.size : end]))
    payload = None if kind & _FORGOTTEN else value[end:]
    return Source(_KINDS[kind & ~_FORGOTTEN], payload, validators)
