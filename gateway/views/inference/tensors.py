"""Tensors: their names and types here, and BYTES and numbers as Triton lays them out.

The names are Retina's where Retina has them, so that a client can be pointed at either. Letter case
in a name does not matter.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embark.errors import BadRequest
from embark.inputs import Modality

CONTENT_TENSOR = {Modality.TEXT: "TEXT", Modality.IMAGE: "IMAGE"}
IMAGE_URL, KEY = "IMAGE_URL", "KEY"
EMBEDDING, STATUS = "EMBEDDING", "STATUS"

OUTPUTS = {
    EMBEDDING: "FP32",
    "GENERATION": "BYTES",
    STATUS: "BYTES",
    "REASON": "BYTES",
    "QUEUED": "BOOL",
    KEY: "BYTES",
}
"""Type of each output; EMBEDDING may be asked for as FP16."""

NUMPY_TYPE = {"FP32": "<f4", "FP16": "<f2"}

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer.

    Attributes:
        name: as it was asked for.
        datatype: `FP32`, `FP16`, `BOOL` or `BYTES`.
        values: numbers or booleans, of the tensor's shape; or the elements of BYTES, shape (n, 1).
    """

    name: str
    datatype: str
    values: npt.NDArray[Any] | Sequence[bytes]

    @property
    def shape(self) -> list[int]:
        """The tensor's shape."""
        values = self.values
        return list(values.shape) if isinstance(values, np.ndarray) else [len(values), 1]

    def binary(self) -> bytes | memoryview:
        """Return the tensor in Triton's binary form."""
        if isinstance(self.values, np.ndarray):
            return self.values.data.cast("B")
        return b"".join(part for one in self.values for part in (_LENGTH.pack(len(one)), one))

    def json(self) -> object:
        """Return the tensor's values in one list, as JSON has them."""
        if not isinstance(self.values, np.ndarray):
            return [one.decode("utf-8") for one in self.values]
        if self.values.dtype == np.bool_:
            return self.values.ravel().tolist()
        # As float32: JSON's encoder knows it, and float16 goes into it exactly.
        return self.values.ravel().astype("<f4", copy=False)


def split_elements(data: memoryview, count: int) -> list[bytes]:
    """Return the `count` elements of a BYTES tensor in Triton's binary form.

    Raises:
        BadRequest: `data` is not exactly these.
    """
    elements: list[bytes] = []
    at = 0
    for index in range(count):
        start = at + _LENGTH.size
        if start > len(data):
            raise _malformed(f"the tensor ends before element {index} of {count}")
        (length,) = _LENGTH.unpack_from(data, at)
        at = start + length
        if at > len(data):
            raise _malformed(
                f"element {index} says it has {length} bytes; {len(data) - start} are left"
            )
        elements.append(bytes(data[start:at]))
    if at != len(data):
        raise _malformed(f"{len(data) - at} bytes are left after the last of {count} elements")
    return elements


def _malformed(message: str) -> BadRequest:
    return BadRequest(message, code="invalid_tensor")
