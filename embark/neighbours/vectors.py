"""The vectors of records, as directions, from the archive; and candidates in order by them.

Every answer goes through here, so that it holds what the archive holds now, with exact cosines.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from embark.archive import LATE, Archive
from embark.codec import Embedding
from embark.errors import ArchiveUnavailable
from embark.models import Model
from embark.neighbours.base import Best, Matrix, Near, directions


def read_directions(
    archive: Archive, model: Model, digests: Sequence[bytes], timeout_s: float
) -> tuple[list[bytes], Matrix]:
    """Return those digests that have a vector, and the vectors' directions.

    Records that are missing, corrupt or failures, and vectors of length zero, are left out.

    Returns:
        The digests, and float32 of shape (digests, dimension), each row of length 1.

    Raises:
        ArchiveUnavailable: not all could be read in time.
    """
    answers = archive.get_many(model, digests, timeout_s)
    if LATE in answers:
        raise ArchiveUnavailable(f"{len(digests)} records did not all come in {timeout_s:.3g} s")
    found: list[bytes] = []
    rows = np.empty((len(digests), model.facts.dimension), np.float32)
    for digest, answer in zip(digests, answers, strict=True):
        if isinstance(answer, Embedding) and answer.vector.any():
            rows[len(found)] = answer.vector
            found.append(digest)
    return found, directions(rows[: len(found)])


def rank(
    archive: Archive,
    model: Model,
    queries: Matrix,
    candidates: Sequence[Collection[bytes]],
    *,
    k: int,
    timeout_s: float,
) -> list[list[Near]]:
    """Return the `k` nearest of each query's candidates, with their exact cosines.

    Args:
        archive: where vectors are.
        model: the generation.
        queries: shape (queries, dimension), of length 1 each, or zero.
        candidates: digests for each query.
        k: how many.
        timeout_s: longest that reading may take.

    Raises:
        ArchiveUnavailable: not all could be read in time.
    """
    wanted = list(dict.fromkeys(digest for some in candidates for digest in some))
    found, vectors = read_directions(archive, model, wanted, timeout_s)
    row_of = {digest: row for row, digest in enumerate(found)}
    ranked: list[list[Near]] = []
    for query, some in zip(queries, candidates, strict=True):
        known = [digest for digest in dict.fromkeys(some) if digest in row_of]
        best = Best(query[None], k)
        if query.any():
            best.add(known, vectors[[row_of[digest] for digest in known]])
        ranked += best.result()
    return ranked
