"""The Open Inference Protocol as Triton's own client speaks it, without a socket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from werkzeug.test import TestResponse

from embark.inputs import image_input, image_url_input, text_input
from embark.keys import Key, digest
from embark.models import Vector
from embark.queue.base import Lane
from tests.support.gateway import Service, service, vector_of
from tests.support.models import DIMENSION, GENERATION
from tests.support.stack import wait_until

ALL_OUTPUTS = ["EMBEDDING", "GENERATION", "STATUS", "REASON", "QUEUED", "KEY"]
HEADER = "Inference-Header-Content-Length"
IMAGE = b"\xff\xd8 any bytes: the gateway never decodes"
URL = "https://a.example/b.png"


def words_key(text: str, generation: str = GENERATION) -> Key:
    return Key("words", generation, digest(text_input(text)))


def stored(text: str) -> Vector:
    """The vector of a text as `words` stores it."""
    return vector_of(words_key(text), DIMENSION).astype(np.float16).astype(np.float32)


@contextmanager
def filled(folder: Path) -> Iterator[Service]:
    with service(folder, patient=True, gateway__max_wait_ms=10_000) as opened:
        for number in range(4):
            key = words_key(f"hit {number}")
            opened.put_vector(key, vector_of(key, DIMENSION))
        opened.put_failure(words_key("failed"))
        for content in (image_input(IMAGE), image_url_input(URL)):
            key = Key("pictures", GENERATION, digest(content))
            opened.put_vector(key, vector_of(key, DIMENSION))
        yield opened


def tensor(
    elements: Sequence[str | bytes], name: str = "TEXT", binary: bool = True, flat: bool = False
) -> InferInput:
    content = [one.encode() if isinstance(one, str) else one for one in elements]
    array = np.array(content, np.object_)
    array = array if flat else array.reshape(-1, 1)
    made = InferInput(name, list(array.shape), "BYTES")
    return made.set_data_from_numpy(array, binary_data=binary)


def send(
    here: Service,
    sent: InferInput,
    outputs: Sequence[str] = (),
    path: str = "words",
    binary: bool = True,
    **options: Any,
) -> TestResponse:
    """Send what the stock client would."""
    asked = [InferRequestedOutput(name, binary_data=binary) for name in outputs]
    body, length = InferenceServerClient.generate_request_body([sent], outputs=asked, **options)
    headers = {} if length is None else {HEADER: str(length)}
    return here.http.post(f"/v2/models/{path}/infer", data=body, headers=headers)


def infer(here: Service, sent: InferInput, *args: Any, **options: Any) -> InferResult:
    """Send what the stock client would, and read the answer as it does."""
    answer = send(here, sent, *args, **options)
    assert answer.status_code == 200, answer.text
    length = answer.headers.get(HEADER)
    return InferResult.from_response_body(
        answer.data, header_length=None if length is None else int(length)
    )


def column(found: InferResult, output: str) -> list[Any]:
    values = found.as_numpy(output)
    assert values.shape[1] == 1
    return list(values[:, 0])


def queued_keys(here: Service, expected: int, lane: Lane = Lane.INTERACTIVE) -> list[Key]:
    """The keys in the queue, once there are as many as expected; a miss may be late."""
    found: list[Key] = []

    def take() -> int:
        found.extend(one.request.key for one in here.queue.take(lane, 1000, 10**9))
        return len(found)

    wait_until(lambda: take() >= expected, 60, f"{expected} requests are queued")
    return found
