"""What a client sends: texts, images, URLs and keys, how they are written, how many at a time."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

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


def encoded_all(inputs: Sequence[Sendable]) -> Iterator[Item]:
    """Yield inputs as items of a request.

    Raises:
        BadRequest: it is a single input, or a file cannot be read.
    """
    if isinstance(inputs, Sendable):
        raise BadRequest(
            f"inputs must be a list of inputs, not one {type(inputs).__name__}; put it into a list",
            code="invalid_items",
        )
    return map(encoded, inputs)


def to_json(body: Any) -> bytes:
    """Return the body of a request; a text that is no Unicode is refused by the service, alone."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body).encode("ascii")


def encoded(one: Sendable) -> Item:
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
