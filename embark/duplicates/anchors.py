"""Inputs that are no item of anybody's: what an encoder makes of the world at large. Pure.

Vectors of a few items say nothing about the directions that an encoder gives to every input. With
the vectors of these inputs beside them, three items can be compared, and a catalogue that is
nothing but copies is not mistaken for one of different items.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

COUNT = 96

_SIDE = 96
_SUBJECTS = (
    "a garden", "the engine", "our report", "her bicycle", "a law", "the kitchen table",
    "an old song", "this medicine", "the river", "my neighbour", "a winter coat", "the market",
)  # fmt: skip
_STATES = (
    "was sold in spring", "needs more time", "is made of glass", "has changed little",
    "can be repaired", "weighs four kilos", "costs less than before", "was lost at sea",
)  # fmt: skip


def texts() -> list[str]:
    """Return `COUNT` texts, the same each time."""
    return [f"{subject} {state}" for subject in _SUBJECTS for state in _STATES]


def pictures() -> list[bytes]:
    """Return `COUNT` pictures as PNG, the same each time: fields of colour, coarse to fine."""
    rng = np.random.default_rng(2018)
    return [_png(_picture(rng, 2 ** (number % 6 + 1))) for number in range(COUNT)]


def _picture(rng: np.random.Generator, cells: int) -> npt.NDArray[np.uint8]:
    """Return shape (side, side, 3): random cells over a slope of colour, half of them greyish."""
    slope = np.linspace(rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), _SIDE)[:, None]
    field = rng.uniform(0, 255, (cells, cells, 3))
    field[rng.random((cells, cells)) < 0.5] = rng.uniform(0, 255)
    places = np.arange(_SIDE) * cells // _SIDE
    strength = rng.uniform(0.2, 0.9)
    mixed = slope * (1 - strength) + field[places][:, places] * strength
    return mixed.astype(np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
