"""What a client sends: texts, images, URLs and keys, how they are written, how many at a time."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embark.errors import BadRequest
from embark.keys import Key

_BATCH_BYTES = 32 * 2**20

Item = dict[str, str]


@dataclass(frozen=True)
class ImageUrl:
    """The URL of an image, to tell it from a text."""

    url: str

    def __str__(self) -> str:
        return self.url


Sendable = str | bytes | Path | ImageUrl | Key
"""A text, an image's bytes, an image file, an image's URL, or a key."""


def encoded(one: Sendable) -> dict[str, str]:
    """Return an input as an item of a request.

    Raises:
        BadRequest: a file cannot be read.
    """
    if isinstance(one, str):
        return {"text": one}
    if isinstance(one, ImageUrl):
        return {"image_url": one.url}
    if isinstance(one, Key):
        return {"key": str(one)}
    if isinstance(one, Path):
        one = read_file(one)
    return {"image": base64.b64encode(one).decode("ascii")}


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        BadRequest: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}", code="unreadable") from None


def missing_fields(on_miss: str, wait_ms: int | None) -> dict[str, Any]:
    """Return the fields of a request that say what happens to what is missing."""
    fields: dict[str, Any] = {"on_miss": on_miss}
    if wait_ms is not None:
        fields["wait_ms"] = wait_ms
    return fields


def batches(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    """Yield items in lists of at most `most`, and of at most 32 MiB."""
    batch: list[Item] = []
    size = 0
    for item in items:
        length = sum(map(len, item.values()))
        if batch and (len(batch) == most or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch
