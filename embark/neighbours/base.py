"""What an index of neighbours promises; `tests/contract/test_neighbours.py` holds both to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embark.models import Model

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Near:
    """A record that is near.

    Attributes:
        digest: 16 bytes.
        cosine: of the stored vector and the one asked, from -1 to 1.
    """

    digest: bytes
    cosine: float


class Neighbours(Protocol):
    """The nearest records of one generation. Safe for many threads; opened after fork.

    The answer may lack some of the nearest, for an index is approximate. What it holds is right: a
    record that is in the archive now, with the exact cosine. A record written before the call is
    found, unless the index says that it is behind (`embark_neighbours_behind`).
    """

    def nearest(self, model: Model, queries: Matrix, k: int, timeout_s: float) -> list[list[Near]]:
        """Return up to `k` records for each query, the nearest first.

        A vector of length zero has no direction: it is near nothing, and nothing is near it.

        Args:
            model: the generation.
            queries: float32 of shape (queries, dimension), of any length but zero.
            k: how many, at least 1.
            timeout_s: longest that it may take.

        Raises:
            NotFound: no index is kept for the model.
            Unavailable: the index or the archive does not answer in time, or is being made.
        """
        ...

    def close(self) -> None:
        """Release everything; idempotent. The archive stays open."""
        ...


class Best:
    """The nearest of many vectors that come in blocks.

    Args:
        queries: shape (queries, dimension), of length 1 each.
        k: how many to keep for each query.
    """

    def __init__(self, queries: Matrix, k: int) -> None:
        self._queries = queries
        self._k = k
        self._cosines = np.empty((len(queries), 0), np.float32)
        self._digests: list[list[bytes]] = [[] for _ in queries]

    def add(self, digests: Sequence[bytes], vectors: Matrix) -> None:
        """Take a block into account; `vectors` of shape (len(digests), dimension), of length 1."""
        if not digests:
            return
        block = self._queries @ vectors.T
        cosines = np.concatenate([self._cosines, block], axis=1)
        kept = min(self._k, cosines.shape[1])
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :kept]
        before = self._cosines.shape[1]
        self._digests = [
            [had[at] if at < before else digests[at - before] for at in row]
            for had, row in zip(self._digests, order, strict=True)
        ]
        self._cosines = np.take_along_axis(cosines, order, axis=1)

    def result(self) -> list[list[Near]]:
        """Return the nearest of each query."""
        return [
            [
                Near(digest, float(min(1.0, max(-1.0, cosine))))
                for digest, cosine in zip(digests, cosines, strict=True)
            ]
            for digests, cosines in zip(self._digests, self._cosines, strict=True)
        ]


def directions(vectors: Matrix) -> Matrix:
    """Return vectors, shape (n, dimension), divided by their lengths; zero stays zero."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
