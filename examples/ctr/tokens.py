"""Text to token numbers, by hashing words: `prepare` runs in training and inside Retina alike.

This file is copied into the model repository, so it imports nothing of the example. Hashing needs
no vocabulary file, and knows words that training has not seen by their own number. Digits count as
one word: the number of an offer must not become its identity.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt

VOCABULARY = 8192
LENGTH = 24
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_DIGITS = "0"


def prepare(payload: bytes) -> dict[str, npt.NDArray[np.int64]]:
    """Return IDS and MASK, int64 of shape (LENGTH,), of a UTF-8 text; what is longer is cut.

    A text without a word is one token, 0, because attention needs something to look at.
    """
    words = _WORD.findall(payload.decode("utf-8").lower())[:LENGTH]
    numbers = [_number(word) for word in words] or [0]
    ids, mask = np.zeros(LENGTH, np.int64), np.zeros(LENGTH, np.int64)
    ids[: len(numbers)] = numbers
    mask[: len(numbers)] = 1
    return {"IDS": ids, "MASK": mask}


def _number(word: str) -> int:
    known = _DIGITS if word.isdigit() else word
    return 1 + zlib.crc32(known.encode()) % (VOCABULARY - 1)
