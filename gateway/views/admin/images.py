"""GET /v1/admin/images/<key>: the file of an image that was sent as bytes and is remembered.

Somebody's upload, so it goes out as an image of a known type or not at all, in a sandbox, and no
cache keeps it. Not for images by URL: the gateway fetches nothing.
"""

from __future__ import annotations

from flask import Blueprint, Response

from embark.errors import NotFound
from embark.inputs import InputKind
from embark.keys import parse_key
from embark.sources import Sources

_MARKS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def add(blueprint: Blueprint, sources: Sources) -> None:
    """Add the endpoint."""

    @blueprint.get("/images/<printed>")
    def image(printed: str) -> Response:
        key = parse_key(printed)
        (source,) = sources.get_many(key.model, [key.digest])
        if source is None or source.kind is not InputKind.IMAGE or source.payload is None:
            raise NotFound(
                "no image's file is remembered under this key; archive.sources.images says"
                " whether files are",
                code="image_not_remembered",
            )
        kind = image_type(source.payload)
        if kind is None:
            raise NotFound("what is remembered is no JPEG, PNG, WebP or GIF", code="not_an_image")
        return Response(source.payload, content_type=kind, headers=_HEADERS)


def image_type(data: bytes) -> str | None:
    """Return the media type that a file's first bytes claim, None if it is none that is shown."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _MARKS if data.startswith(mark)), None)
