"""From a user and candidates to scores: one lookup, then the head.

A lookup that fails or is late leaves every candidate with the learned OOV vectors: scores get
coarser, never missing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embark.client import Client, Lookup
from embark.errors import ServiceError
from examples.ctr.serving.inputs import ItemInputs
from examples.ctr.serving.missing import MissingPictures

LATE = "late"
"""Status of every item when there was no answer in time."""

_Floats = npt.NDArray[np.float32]
_Flags = npt.NDArray[np.bool_]


class Scores(Protocol):
    """What the service needs of `examples.ctr.scorer.Scorer`."""

    text_model: str
    image_model: str
    text_dimension: int
    image_dimension: int

    def score(  # noqa: PLR0917 - as the scorer has it
        self,
        user: int,
        items: npt.NDArray[np.int64],
        text: _Floats,
        text_hit: _Flags,
        image: _Floats,
        image_hit: _Flags,
    ) -> _Floats:
        """Return the expected CTR of each candidate, shape (n,)."""


@dataclass(frozen=True)
class Scored:
    """The answer to one request.

    Attributes:
        ctr: expected click-through rate of each candidate, float32 of shape (n,).
        text, image: status of each candidate's text and picture.
        lookup_ms, head_ms: where the time went.
    """

    ctr: _Floats
    text: Sequence[str]
    image: Sequence[str]
    lookup_ms: float
    head_ms: float

    def found(self, service: ScoringService) -> dict[str, dict[str, int]]:
        """Return how many texts and pictures have which status, by model."""
        return {
            service.scorer.text_model: dict(Counter(self.text)),
            service.scorer.image_model: dict(Counter(self.image)),
        }


@dataclass
class ScoringService:
    """Scores requests; safe for many threads.

    Attributes:
        scorer: the head.
        inputs: what to send for an item.
        client: for EmbArk, without retries: a second attempt would be too late.
        missing: sends the pictures that are not there.
        deadline_s: longest wait for the lookup.
        threads: most lookups at once.
    """

    scorer: Scores
    inputs: ItemInputs
    client: Client
    missing: MissingPictures
    deadline_s: float
    threads: int
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, "lookup")

    def score(self, user: int, items: Sequence[int]) -> Scored:
        """Return the score of each candidate.

        Args:
            user: the user's segment.
            items: indices in the catalogue; checked by the caller.
        """
        began = time.perf_counter()
        text, image = self._look_up(items)
        looked_up = time.perf_counter()
        text_rows, text_hit = _rows(text, len(items), self.scorer.text_dimension)
        image_rows, image_hit = _rows(image, len(items), self.scorer.image_dimension)
        ctr = self.scorer.score(
            user, np.asarray(items, np.int64), text_rows, text_hit, image_rows, image_hit
        )
        ended = time.perf_counter()
        statuses = [
            [LATE] * len(items) if found is None else [one.status for one in found.items]
            for found in (text, image)
        ]
        self.missing.ask(
            [item for item, status in zip(items, statuses[1], strict=True) if status == "oov"]
        )
        return Scored(
            ctr, statuses[0], statuses[1], (looked_up - began) * 1e3, (ended - looked_up) * 1e3
        )

    def close(self) -> None:
        """Release threads and connections; idempotent."""
        self.missing.close()
        self._pool.shutdown()
        self.client.close()

    def _look_up(self, items: Sequence[int]) -> tuple[Lookup | None, Lookup | None]:
        """Return what EmbArk has, or None for all when it does not answer in time."""
        # The client's timeout is for each step of an exchange; this one is for the whole.
        answer = self._pool.submit(
            self.client.lookup_all,
            {
                self.scorer.text_model: [self.inputs.text(item) for item in items],
                self.scorer.image_model: [self.inputs.picture_key(item) for item in items],
            },
        )
        try:
            found = answer.result(self.deadline_s)
        except (ServiceError, TimeoutError, FutureTimeoutError):
            answer.cancel()
            return None, None
        return found[self.scorer.text_model], found[self.scorer.image_model]


def _rows(found: Lookup | None, count: int, dimension: int) -> tuple[_Floats, _Flags]:
    """Return vectors and which rows are hits; rows without a hit may hold anything."""
    if found is None or found.embeddings.shape[1] != dimension:
        return np.zeros((count, dimension), np.float32), np.zeros(count, np.bool_)
    return found.embeddings, found.hits
