"""What a client sends: texts, images, URLs and keys, and how they are written in a request."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from embark.errors import BadRequest
from embark.keys import Key


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
