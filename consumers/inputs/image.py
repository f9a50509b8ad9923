"""Cheap checks of an image before Retina sees it: format and dimensions, from its header alone.

Never decodes pixels; that is Retina's work.
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from embark.errors import PermanentFailure
from embark.settings import InputSettings

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

# Pixels are counted below, against the settings; Pillow's own limit warns instead of refusing.
Image.MAX_IMAGE_PIXELS = None
# Pillow loads its readers on first use, which many threads must not do at once.
Image.init()

# What Pillow's readers raise on damaged headers.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError,
            struct.error, zlib.error)  # fmt: skip


def inspect(data: bytes, settings: InputSettings) -> None:
    """Return if `data` may be an image within the limits.

    Raises:
        PermanentFailure: `not_an_image`, `image_too_large`.
    """
    if len(data) > settings.max_image_bytes:
        raise PermanentFailure(
            f"the image has {len(data)} bytes; the limit is {settings.max_image_bytes}",
            code="image_too_large",
        )
    width, height = _dimensions(data)
    if width * height > settings.max_pixels:
        raise PermanentFailure(
            f"the image has {width} x {height} pixels; the limit is {settings.max_pixels}",
            code="image_too_large",
        )


def _dimensions(data: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            return width, height
    except _DAMAGED:
        raise PermanentFailure(
            f"the bytes are no readable {', '.join(FORMATS)} image", code="not_an_image"
        ) from None
