"""The binary form of a lookup, as gateway and client both write and read it.

    request   n digests of 16 bytes
    answer    n vectors, little-endian, row after row; then n bytes, a `Status` each

What is the same for all of an answer is in one header, `Embark-Vectors`:

    items=100, dimension=384, dtype=fp16, generation=minilm:0123456789abcdef, hit=98, queued=2

docs/api.md describes it for others.
"""

from __future__ import annotations

import enum
from typing import Final

KEYS_TYPE: Final = "application/vnd.embark.keys"
VECTORS_TYPE: Final = "application/vnd.embark.vectors"

HEADER: Final = "Embark-Vectors"

NUMPY_TYPE: Final = {"fp16": "<f2", "fp32": "<f4"}


class Status(enum.IntEnum):
    """What the answer says of one item; its row is the out-of-vocabulary vector unless it is a hit.

    Attributes:
        HIT: the row is the vector of exactly this input.
        OOV: not there, and not known to be queued.
        QUEUED: not there, and known to be in the queue.
        FAILED: the input cannot be embedded; a lookup in JSON says why.
        INVALID: the item cannot be served as sent; its row is zeros.
    """

    HIT = 0
    OOV = 1
    QUEUED = 2
    FAILED = 3
    INVALID = 4
