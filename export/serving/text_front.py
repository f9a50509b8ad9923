"""The front of text models: tokenises, and sends each bucket of lengths as one batch."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer

from .front import Front
from .tokens import MAX_TOKENS, by_bucket, decode_text, pad


class TextFront(Front):
    """TEXT → INPUT_IDS, ATTENTION_MASK."""

    input_name = "TEXT"

    def load(self) -> None:
        """Read the tokenizer."""
        self._tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def prepare(self, payload: bytes) -> list[int]:
        """Return the token ids of a text."""
        ids: list[int] = self._tokenizer.encode(decode_text(payload)).ids
        return ids

    def batches(self, prepared: list[list[int]]) -> list[tuple[list[int], dict[str, Any]]]:
        """Return a batch for each bucket."""
        return [
            (positions, pad([prepared[position] for position in positions], length))
            for length, positions in by_bucket(prepared).items()
        ]
