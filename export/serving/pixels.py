"""Encoded images to the square of pixels that a convolutional encoder takes.

The same steps as torchvision's evaluation transform: shorter side to 342, bilinear, then the
central 299 x 299. Transparent images are laid on white; EXIF orientation is applied.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from .invalid_input import InvalidInput

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 50_000_000
RESIZED = 342
SIZE = 299
# Beyond this ratio of sides, the ends that the crop would drop are dropped before resizing.
_MAX_RATIO = 4

# Pixels are counted below; Pillow's own limit warns instead of refusing.
Image.MAX_IMAGE_PIXELS = None
# Pillow loads its readers on first use, which many threads must not do at once.
Image.init()

_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError,
            struct.error, zlib.error)  # fmt: skip


def decode_image(data: bytes) -> npt.NDArray[np.uint8]:
    """Return an image's pixels, uint8 of shape (299, 299, 3), RGB.

    Raises:
        InvalidInput: `not_an_image`, `image_too_large`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
            return np.asarray(_crop(_to_rgb(ImageOps.exif_transpose(image))))
    except InvalidInput:
        raise
    except _DAMAGED as error:
        raise InvalidInput("not_an_image", f"cannot be decoded ({type(error).__name__})") from None


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InvalidInput(
            "image_too_large", f"{width} x {height} pixels; the limit is {MAX_PIXELS}"
        )
    if width == 0 or height == 0:
        raise InvalidInput("not_an_image", "the image has no pixels")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit greyscale: Pillow's own conversion clips instead of scaling.
        grey = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _crop(image: Image.Image) -> Image.Image:
    image = _trim(image)
    width, height = image.size
    if width <= height:
        resized = (RESIZED, int(RESIZED * height / width))
    else:
        resized = (int(RESIZED * width / height), RESIZED)
    image = image.resize(resized, Image.Resampling.BILINEAR)
    left = round((resized[0] - SIZE) / 2)
    top = round((resized[1] - SIZE) / 2)
    return image.crop((left, top, left + SIZE, top + SIZE))


def _trim(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = _MAX_RATIO * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))
