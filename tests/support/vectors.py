"""Vectors as encoders give them: in clusters, on few of the dimensions."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt


def clustered(count: int, dimension: int, seed: int) -> npt.NDArray[np.float32]:
    """Return float32 of shape (count, dimension), each of length 1; no two the same."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, dimension))
    basis = np.random.default_rng(0).normal(size=(8, dimension))
    vectors = centres[rng.integers(0, 8, count)] + rng.normal(size=(count, 8)) @ basis
    vectors += 0.1 * rng.normal(size=(count, dimension))
    unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def digest_of(number: int) -> bytes:
    """A digest as they are: 16 bytes that look random."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest()
