"""What an item's text and picture are: made from its number, the same in every process."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SYLLABLES = tuple(a + b for a in "bcdfglmnprstvz" for b in ("a", "e", "i", "o", "u"))
_WORDS = 14
_BLOCKS = 75
_BLOCK_PIXELS = 4


def text(seed: int, item: int) -> str:
    """Return the item's text: about as long as a headline, and no other item's."""
    rng = np.random.default_rng((seed, item, 0))
    words = [
        "".join(_SYLLABLES[one] for one in rng.integers(0, len(_SYLLABLES), length))
        for length in rng.integers(1, 5, _WORDS)
    ]
    return f"{' '.join(words)} {item}"


def picture(seed: int, item: int) -> bytes:
    """Return the item's picture: a PNG file of 300 by 300 coloured blocks, about 20 kB.

    Written by hand, because Pillow is no dependency of the load tests.
    """
    rng = np.random.default_rng((seed, item, 1))
    blocks = rng.integers(0, 256, (_BLOCKS, _BLOCKS, 3), np.uint8)
    pixels = blocks.repeat(_BLOCK_PIXELS, 0).repeat(_BLOCK_PIXELS, 1)
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter, 0: none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(rows.tobytes(), 1)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
