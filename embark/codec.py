"""Records: the bytes that the archive stores for one key.

A record is a 16-byte header, little-endian, and a payload:

    offset  size  field
    0       1     version of this layout, 1
    1       1     kind: 1 float16 vector, 2 float32 vector, 3 failure
    2       2     dimension of the vector, 0 for a failure
    4       4     CRC-32 (zlib) of the whole record but this field, and of the key it belongs to
    8       8     time of writing, milliseconds since 1970
    16            vector: its numbers, little-endian; failure: JSON with code, message, expires_ms

The key takes part in the checksum, so that a record found under another key is refused: a lookup
never returns another input's vector. The header's length keeps vectors aligned.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from embark.errors import CorruptRecord, PermanentFailure
from embark.keys import Key

LAYOUT_VERSION = 1
HEADER = struct.Struct("<BBHIQ")
_CHECKSUM_AT, _AFTER_CHECKSUM = 4, 8

_KIND_OF_DTYPE = {"float16": 1, "float32": 2}
_DTYPE_OF_KIND: dict[int, np.dtype[Any]] = {1: np.dtype("<f2"), 2: np.dtype("<f4")}
_FAILURE = 3


@dataclass(frozen=True, slots=True)
class Embedding:
    """A stored vector.

    Attributes:
        vector: shape (dimension,), float16 or float32, read-only.
        written_ms: when it was written, milliseconds since 1970.
    """

    vector: npt.NDArray[np.floating[Any]]
    written_ms: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an input cannot be embedded, remembered until it expires.

    Attributes:
        code: machine-readable reason.
        message: the reason for people.
        written_ms: when it was written, milliseconds since 1970.
        expires_ms: from when on the input is asked for again, milliseconds since 1970.
    """

    code: str
    message: str
    written_ms: int
    expires_ms: int


Record = Embedding | Failure


def encode_embedding(
    key: Key, vector: npt.NDArray[np.floating[Any]], dtype: str, now_ms: int
) -> bytes:
    """Return the record of a vector of shape (dimension,), stored as `dtype`.

    Raises:
        PermanentFailure: `not_finite`, when a number is NaN, infinite, or too large for `dtype`.
    """
    with np.errstate(over="ignore"):
        stored = vector.astype(_DTYPE_OF_KIND[_KIND_OF_DTYPE[dtype]])
    if not np.isfinite(stored).all():
        raise PermanentFailure(
            f"the model's vector has numbers that {dtype} cannot hold", code="not_finite"
        )
    return _seal(key, _KIND_OF_DTYPE[dtype], len(stored), stored.tobytes(), now_ms)


def encode_failure(key: Key, failure: Failure) -> bytes:
    """Return the record of a failure."""
    payload = orjson.dumps(
        {"code": failure.code, "message": failure.message, "expires_ms": failure.expires_ms}
    )
    return _seal(key, _FAILURE, 0, payload, failure.written_ms)


def decode(key: Key, record: bytes, dimension: int) -> Record:
    """Read a record found under `key`, which must hold a vector of `dimension` or a failure.

    Raises:
        CorruptRecord: any bit differs from what was written, or it was written for another key.
    """
    if len(record) < HEADER.size:
        raise CorruptRecord(f"record of {key} has {len(record)} bytes, fewer than its header")
    version, kind, length, checksum, written_ms = HEADER.unpack_from(record)
    if checksum != _checksum(key, record):
        raise CorruptRecord(f"record of {key} fails its checksum")
    if version != LAYOUT_VERSION:
        raise CorruptRecord(f"record of {key} has layout {version}; this reads {LAYOUT_VERSION}")
    if kind == _FAILURE:
        return Failure(**orjson.loads(record[HEADER.size :]), written_ms=written_ms)
    dtype = _DTYPE_OF_KIND.get(kind)
    size = len(record) - HEADER.size
    if dtype is None or length != dimension or size != length * dtype.itemsize:
        raise CorruptRecord(
            f"record of {key} has kind {kind}, dimension {length} and {size} bytes of"
            f" payload; expected a vector of dimension {dimension}"
        )
    return Embedding(np.frombuffer(record, dtype, length, HEADER.size), written_ms)


def _seal(key: Key, kind: int, dimension: int, payload: bytes, now_ms: int) -> bytes:
    unsealed = HEADER.pack(LAYOUT_VERSION, kind, dimension, 0, now_ms) + payload
    checksum = _checksum(key, unsealed)
    return HEADER.pack(LAYOUT_VERSION, kind, dimension, checksum, now_ms) + payload


def _checksum(key: Key, record: bytes) -> int:
    of_key = zlib.crc32(key.digest, _checksum_of_names(key.model, key.generation))
    of_head = zlib.crc32(record[:_CHECKSUM_AT], of_key)
    return zlib.crc32(memoryview(record)[_AFTER_CHECKSUM:], of_head)


@lru_cache(64)
def _checksum_of_names(model: str, generation: str) -> int:
    return zlib.crc32(f"{model}:{generation}:".encode())
