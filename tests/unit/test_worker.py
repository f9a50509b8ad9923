"""Which records end a delivery before it is computed."""

from __future__ import annotations

import numpy as np
import pytest

from consumers.worker import _ends
from embark.archive import LATE, MISSING, Answer
from embark.codec import Embedding, Failure
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.queue.base import Delivery, Lane, Request

QUEUED_S = 1000.0
VECTOR = Embedding(np.zeros(4, np.float32), 0)


def failure(written_ms: int) -> Failure:
    return Failure("not_found", "gone", written_ms, written_ms + 1)


@pytest.mark.parametrize(
    ("record", "ends"),
    [
        (VECTOR, True),
        (MISSING, False),
        (LATE, False),
        (failure(1_000_001), True),
        (failure(999_999), False),  # a dead letter that is replayed shall be tried again
    ],
)
def test_a_vector_ends_a_request_and_a_failure_that_came_after_it(
    record: Answer, ends: bool
) -> None:
    item = text_input("a")
    request = Request(Key("m", "0" * 16, digest(item)), item, Lane.BULK)
    assert _ends(record, Delivery(request, 1, QUEUED_S, b"r"), 0) is ends
