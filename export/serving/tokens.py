"""Texts to padded token batches. Lengths are rounded up to buckets, so that batches form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .invalid_input import InvalidInput

MAX_TOKENS = 256
BUCKETS = (16, 32, 64, 128, MAX_TOKENS)


def decode_text(payload: bytes) -> str:
    """Return the text of UTF-8 bytes.

    Raises:
        InvalidInput: `invalid_text`.
    """
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("invalid_text", f"not UTF-8 at byte {error.start}") from None


def bucket_of(length: int) -> int:
    """Return the smallest bucket that holds `length` tokens."""
    return next(bucket for bucket in BUCKETS if bucket >= length)


def pad(rows: Sequence[Sequence[int]], length: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return INPUT_IDS and ATTENTION_MASK, int64 of shape (len(rows), length)."""
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return {"INPUT_IDS": ids, "ATTENTION_MASK": mask}


def by_bucket(rows: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """Return the positions of the rows that each bucket holds."""
    positions: dict[int, list[int]] = {}
    for position, tokens in enumerate(rows):
        positions.setdefault(bucket_of(len(tokens)), []).append(position)
    return positions
