"""Digests in arrays: of inputs, and searching sorted ones. Pure but for reading image files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embark.client import ImageUrl, Sendable, read_file
from embark.errors import BadRequest
from embark.inputs import Input, image_input, image_url_input, text_input
from embark.keys import DIGEST_BYTES, Key, digest

Digests = npt.NDArray[np.uint8]
"""Shape (n, 16)."""

Rows = npt.NDArray[np.int64]
"""Row numbers, shape (n,)."""

Counts = npt.NDArray[np.int64]
"""Shape (n,)."""

_COMPARABLE = f"S{DIGEST_BYTES}"


def input_of(one: str | bytes | Path | ImageUrl) -> Input:
    """Return the canonical input of what a client sends; a file is read.

    Raises:
        BadRequest: it has no canonical form, or the file cannot be read.
    """
    if isinstance(one, str):
        return text_input(one)
    if isinstance(one, ImageUrl):
        return image_url_input(one.url)
    return image_input(read_file(one) if isinstance(one, Path) else one)


def digest_of(one: Sendable, model: str) -> bytes:
    """Return the digest of what a client sends to a model.

    Raises:
        BadRequest: see `input_of`; or it is a key of another model.
    """
    if not isinstance(one, Key):
        return digest(input_of(one))
    if one.model != model:
        raise BadRequest(f"the key {one} is of {one.model}, not of {model}", code="wrong_model")
    return one.digest


def as_array(digests: Iterable[bytes]) -> Digests:
    """Return digests as an array that can be written to."""
    return np.frombuffer(bytearray().join(digests), np.uint8).reshape(-1, DIGEST_BYTES)


def as_bytes(digests: Digests) -> list[bytes]:
    """Return the rows of an array of digests."""
    joined = digests.tobytes()
    return [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]


def sort(digests: Digests) -> None:
    """Sort digests in place, in the order of their bytes."""
    _comparable(digests).sort()


def distinct(digests: Digests) -> tuple[Digests, Counts]:
    """Return the different ones among digests, sorted, and how often each is there."""
    unique, counts = np.unique(_comparable(digests), return_counts=True)
    return unique.view(np.uint8).reshape(-1, DIGEST_BYTES), counts.astype(np.int64)


def find(digests: Digests, wanted: Digests) -> Rows:
    """Return where each of `wanted` is in sorted `digests`, -1 where it is not; shape (wanted,)."""
    if not len(digests):
        return np.full(len(wanted), -1, np.int64)
    sorted_ones, others = _comparable(digests), _comparable(wanted)
    rows = np.searchsorted(sorted_ones, others).astype(np.int64)
    rows[rows == len(digests)] = 0
    rows[sorted_ones[rows] != others] = -1
    return rows


def _comparable(digests: Digests) -> npt.NDArray[Any]:
    # numpy fills shorter strings up with zero bytes, so that equal length makes this exact.
    return digests.reshape(-1).view(_COMPARABLE)
