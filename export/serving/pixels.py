"""Encoded images to the square of pixels that an image encoder takes.

The same steps as torchvision's evaluation transform: the shorter side to a length, then the
central square; or the whole image stretched to the square. Transparent images are laid on white;
EXIF orientation is applied.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from .invalid_input import InvalidInput
from .preparer import Preparer, Tensors

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
MAX_PIXELS = 50_000_000
# Beyond this ratio of sides, the ends that the crop would drop are dropped before resizing.
_MAX_RATIO = 4

# Pixels are counted below; Pillow's own limit warns instead of refusing.
Image.MAX_IMAGE_PIXELS = None
# Pillow loads its readers on first use, which many threads must not do at once.
Image.init()

_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError,
            struct.error, zlib.error)  # fmt: skip


class ImagePreparer(Preparer):
    """IMAGE → PIXELS.

    Args:
        resize: length that the shorter side gets; None stretches the image to the square.
        crop: side of the square, at most `resize`.
        interpolation: a name of `INTERPOLATIONS`.
    """

    def __init__(self, resize: int | None, crop: int, interpolation: str) -> None:
        self._resize = resize
        self._size = crop
        self._filter = INTERPOLATIONS[interpolation]

    def prepare(self, payload: bytes) -> npt.NDArray[np.uint8]:
        """Return an image's pixels, uint8 of shape (crop, crop, 3), RGB.

        Raises:
            InvalidInput: `not_an_image`, `image_too_large`.
        """
        try:
            with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
                _check_size(image)
                return np.asarray(self._square(_to_rgb(ImageOps.exif_transpose(image))))
        except InvalidInput:
            raise
        except _DAMAGED as error:
            reason = f"cannot be decoded ({type(error).__name__})"
            raise InvalidInput("not_an_image", reason) from None

    def collate(self, prepared: Sequence[npt.NDArray[np.uint8]], *, padded: bool = True) -> Tensors:
        """Return PIXELS, uint8 of shape (len(prepared), crop, crop, 3)."""
        return {"PIXELS": np.stack(prepared)}

    def _square(self, image: Image.Image) -> Image.Image:
        size = self._size
        if self._resize is None:
            return image.resize((size, size), self._filter)
        image = _trim(image)
        width, height = image.size
        if width <= height:
            resized = (self._resize, int(self._resize * height / width))
        else:
            resized = (int(self._resize * width / height), self._resize)
        image = image.resize(resized, self._filter)
        left = round((resized[0] - size) / 2)
        top = round((resized[1] - size) / 2)
        return image.crop((left, top, left + size, top + size))


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


def _trim(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = _MAX_RATIO * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))
