"""What enters L1: hits that were checked, with the time their records were written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embark.archive import Answer
from embark.codec import Embedding
from embark.models import Model
from gateway.l1.cache import L1, packed


def keep(l1: L1, model: Model, digests: Sequence[bytes], answers: Sequence[Answer]) -> int:
    """Keep those of the archive's answers that are vectors; returns how many these are."""
    hits = [
        (digest, answer)
        for digest, answer in zip(digests, answers, strict=True)
        if isinstance(answer, Embedding) and answer.vector.dtype == model.facts.dtype
    ]
    if hits and l1.max_bytes:
        l1.put_many(
            model,
            packed(digest for digest, _ in hits),
            np.stack([answer.vector for _, answer in hits]),
            np.array([answer.written_ms for _, answer in hits], np.int64),
        )
    return len(hits)
