"""Texts to padded token batches. Lengths are rounded up to buckets, so that batches form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from .invalid_input import InvalidInput
from .preparer import Preparer, Tensors


class TextPreparer(Preparer):
    """TEXT → INPUT_IDS, ATTENTION_MASK.

    Args:
        tokenizer: content of a `tokenizer.json`.
        buckets: lengths to pad to, rising; longer texts are cut at the last.
        pad_id: the token to pad with.
        prefix: put before every text.
    """

    def __init__(
        self, tokenizer: str, *, buckets: Sequence[int], pad_id: int = 0, prefix: str = ""
    ) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(buckets[-1])
        self._buckets = tuple(buckets)
        self._pad_id = pad_id
        self._prefix = prefix

    def prepare(self, payload: bytes) -> list[int]:
        """Return the token ids of a text."""
        ids: list[int] = self._tokenizer.encode(self._prefix + decode_text(payload)).ids
        return ids

    def collate(self, prepared: Sequence[Sequence[int]], *, padded: bool = True) -> Tensors:
        """Return INPUT_IDS and ATTENTION_MASK, int64 of shape (len(prepared), length)."""
        longest = max(1, *map(len, prepared))
        length = bucket_of(longest, self._buckets) if padded else longest
        return {**pad(prepared, length, self._pad_id)}

    def batches(self, prepared: Sequence[Sequence[int]]) -> list[tuple[list[int], Tensors]]:
        """Return a batch for each bucket."""
        return [
            (
                positions,
                {**pad([prepared[position] for position in positions], length, self._pad_id)},
            )
            for length, positions in by_bucket(prepared, self._buckets).items()
        ]


def decode_text(payload: bytes) -> str:
    """Return the text of UTF-8 bytes.

    Raises:
        InvalidInput: `invalid_text`.
    """
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("invalid_text", f"not UTF-8 at byte {error.start}") from None


def bucket_of(length: int, buckets: Sequence[int]) -> int:
    """Return the smallest bucket that holds `length` tokens."""
    return next(bucket for bucket in buckets if bucket >= length)


def pad(
    rows: Sequence[Sequence[int]], length: int, pad_id: int = 0
) -> dict[str, npt.NDArray[np.int64]]:
    """Return INPUT_IDS and ATTENTION_MASK, int64 of shape (len(rows), length)."""
    ids = np.full((len(rows), length), pad_id, np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return {"INPUT_IDS": ids, "ATTENTION_MASK": mask}


def by_bucket(rows: Sequence[Sequence[int]], buckets: Sequence[int]) -> dict[int, list[int]]:
    """Return the positions of the rows that each bucket holds."""
    positions: dict[int, list[int]] = {}
    for position, tokens in enumerate(rows):
        positions.setdefault(bucket_of(len(tokens), buckets), []).append(position)
    return positions
